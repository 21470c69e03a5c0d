"""Hyperparameter search for PyTorch in which every trial is a cross-validation.

    import foldtune

    result = foldtune.run_study("studies/digits.yaml")
    print(result.best.params, result.best.values)

Names are imported when they are first used, so that `import foldtune` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldtune.errors import DataError as DataError
    from foldtune.errors import FoldtuneError as FoldtuneError
    from foldtune.errors import RequestError as RequestError
    from foldtune.errors import ResumeError as ResumeError
    from foldtune.errors import SpecError as SpecError
    from foldtune.errors import StoreError as StoreError
    from foldtune.errors import TrainingError as TrainingError
    from foldtune.search.result import StudyResult as StudyResult
    from foldtune.search.result import load_study as load_study
    from foldtune.search.run import resume_study as resume_study
    from foldtune.search.run import run_study as run_study
    from foldtune.spec.load import load_spec as load_spec

__version__ = "0.1.0"

_HOMES = {
    "DataError": "foldtune.errors",
    "FoldtuneError": "foldtune.errors",
    "RequestError": "foldtune.errors",
    "ResumeError": "foldtune.errors",
    "SpecError": "foldtune.errors",
    "StoreError": "foldtune.errors",
    "StudyResult": "foldtune.search.result",
    "TrainingError": "foldtune.errors",
    "load_spec": "foldtune.spec.load",
    "load_study": "foldtune.search.result",
    "resume_study": "foldtune.search.run",
    "run_study": "foldtune.search.run",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'foldtune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
