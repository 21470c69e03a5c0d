"""Run a study from start to end, or go on with one."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from foldtune import refs
from foldtune.errors import ResumeError, SpecError
from foldtune.search.pool import LocalPool, Pool, ProcessPool
from foldtune.search.process import TrainingProcess, training_processes
from foldtune.search.result import StudyResult, read_result
from foldtune.search.status import Status
from foldtune.spec.load import StudyFile, read_spec, validate
from foldtune.store.store import Store
from foldtune.train.engine import TrainingSetup

STORAGE = "sqlite:///foldtune.db"

Watch = Callable[[Status], None]


def run_study(
    study: str | FilePath | Mapping[str, Any] | StudyFile,
    *,
    storage: str = STORAGE,
    workers: int | None = None,
    device: str = "cpu",
    overrides: Sequence[str] = (),
    watch: Watch | None = None,
) -> StudyResult:
    """Create the study of a file's name, or go on with it, until its budget is spent.

    Ctrl-C ends it after the epoch that is being trained, with everything saved; a second one at once.

    Args:
        study: path of a study file, or the same tree as a dict, where tables and arrays may be objects.
        storage: SQLAlchemy URL of the database.
        workers: training processes; default one per core. 0 trains in this process. Scripts that use processes need
            the usual `if __name__ == "__main__":`.
        device: where nets train, as torch names it.
        overrides: `path=value` texts that replace parts of the study file.
        watch: called with a `Status` after every epoch.

    Returns:
        The study and its trials as stored.

    Raises:
        RequestError: the file, the data or the database are not as they must be; all problems at once, nothing written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> tree = {"name": "doc", "data": {"use": "iris"}, "model": "MLP", "training": {"epochs": 2}}
        >>> with TemporaryDirectory() as folder:
        ...     storage = f"sqlite:///{folder}/foldtune.db"
        ...     result = run_study(tree, storage=storage, workers=0, overrides=["search.trials=2"])
        >>> [trial.state for trial in result.trials]
        ['complete', 'complete']
    """
    file = study if isinstance(study, StudyFile) else read_spec(study, overrides=overrides)
    return _run(file, storage, workers=workers, device=device, watch=watch)


def resume_study(
    name: str,
    *,
    storage: str = STORAGE,
    workers: int | None = None,
    device: str = "cpu",
    overrides: Sequence[str] = (),
    data: Any = None,
    watch: Watch | None = None,
) -> StudyResult:
    """Go on with a stored study; its definition comes from the database.

    Args:
        name: the study's name.
        storage: SQLAlchemy URL of the database.
        workers: training processes; default one per core. 0 trains in this process.
        device: where nets train, as torch names it.
        overrides: `path=value` texts; only `search.trials`, `search.timeout` and `search.patience` may change.
        data: the folder where relative data paths now live, or the table or arrays of a study made from Python objects.
        watch: called with a `Status` after every epoch.

    Raises:
        RequestError: there is no such study, or the data or anything else changed since it was created.
    """
    with closing(Store(storage, create=False)) as store:
        record = store.study(name)
    folder = FilePath(data if isinstance(data, str | FilePath) else record.folder)
    home = FilePath(record.file).parent if record.file else None
    file = read_spec(_with_data(record.spec, data), overrides=overrides, folder=folder, home=home)
    return _run(file, storage, workers=workers, device=device, watch=watch)


def fork(file: StudyFile, name: str) -> StudyFile:
    """The same study under another name."""
    tree = {**file.tree, "name": name}
    return replace(file, tree=tree, spec=validate(tree))


def default_workers(device: str) -> int:
    """One training process per core, or one per GPU."""
    if device == "cpu":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or this machine does not have.

    Raises:
        SpecError: it cannot be used.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise SpecError.of((), f"the device `{device}` must be usable here", reason, "Try --device cpu.") from error


def check_precisions(training: Any, device: str) -> None:
    """Refuse a search that may ask for a precision which the device does not have.

    Args:
        training: the study file's section, with domains.
        device: where nets train, as torch names it.

    Raises:
        SpecError: the device would only imitate it.
    """
    from foldtune.space import configure, corners
    from foldtune.train.precision import check_precision

    for params in corners(training):
        check_precision(configure(training, params).get("precision", "32-true"), device)


def _with_data(tree: dict[str, Any], data: Any) -> dict[str, Any]:
    """A stored tree with the Python objects of which it holds only a description."""
    key = "arrays" if tree["data"].get("arrays") is not None else "table"
    stored = tree["data"].get(key)
    described = stored if isinstance(stored, str) else next(iter(stored.values())) if stored else ""
    if data is not None and not isinstance(data, str | FilePath):
        return {**tree, "data": {**tree["data"], key: data}}
    if described.startswith("<"):
        hint = "Call `resume_study(name, data=...)` with the same table or arrays."
        raise ResumeError.of(
            ("data", key), "the study was made from Python objects, which are not stored", described, hint
        )
    return tree


def _run(file: StudyFile, storage: str, *, workers: int | None, device: str, watch: Watch | None) -> StudyResult:
    workers = default_workers(device) if workers is None else workers
    refs.importable(str(file.home))  # before the processes start, which inherit it
    with training_processes(workers, device=device) as processes:
        from foldtune.search import optuna_parts  # these import torch, as the processes do at the same time
        from foldtune.search.loop import Search
        from foldtune.search.plan import make_plan
        from foldtune.search.study import open_study

        plan = make_plan(file)
        check_device(device)
        check_precisions(plan.space["training"], device)
        optuna_parts.quiet()
        with closing(Store(storage)) as store, closing(open_study(plan, store, workers=workers)) as study:
            with _interruptible() as interrupted:
                pool = _pool(study.setup(device), processes)
                ending = Search(study, pool, interrupted, watch or (lambda status: None)).run()
            return read_result(store, file.spec.name, ending)


def _pool(setup: TrainingSetup, processes: list[TrainingProcess]) -> Pool:
    return ProcessPool(setup, processes) if processes else LocalPool(setup)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed since; pressed twice, it interrupts at once."""
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, press)
    except ValueError:  # not the main thread: Ctrl-C goes elsewhere
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
