"""Run a study from start to end, or go on with one."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from foldtune.errors import SpecError
from foldtune.search import optuna_parts
from foldtune.search.loop import Search
from foldtune.search.plan import Plan, make_plan
from foldtune.search.pool import LocalPool, Pool, ProcessPool
from foldtune.search.result import StudyResult, read_result
from foldtune.search.status import Status
from foldtune.search.study import open_study
from foldtune.spec.load import StudyFile, load_spec, validate
from foldtune.store.store import Store

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
        >>> tree = {"name": "doc", "data": {"use": "iris"}, "model": "MLP", "training": {"epochs": 2}}
        >>> result = run_study(tree, storage="sqlite://", workers=0, overrides=["search.trials=2"])
        >>> [trial.state for trial in result.trials]
        ['complete', 'complete']
    """
    file = study if isinstance(study, StudyFile) else load_spec(study, overrides=overrides)
    return _run(make_plan(file), storage, workers=workers, device=device, watch=watch)


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
    tree, folder = record.spec, FilePath(record.folder)
    if isinstance(data, str | FilePath):
        folder = FilePath(data).resolve()
    elif data is not None:
        key = "arrays" if tree["data"].get("arrays") is not None else "table"
        tree = {**tree, "data": {**tree["data"], key: data}}
    file = load_spec(tree, overrides=overrides, folder=folder)
    return _run(make_plan(file), storage, workers=workers, device=device, watch=watch)


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


def _run(plan: Plan, storage: str, *, workers: int | None, device: str, watch: Watch | None) -> StudyResult:
    check_device(device)
    optuna_parts.quiet()
    workers = default_workers(device) if workers is None else workers
    with closing(Store(storage)) as store, closing(open_study(plan, store, storage, workers=workers)) as study:
        with _interruptible() as interrupted, closing(_pool(plan, workers, device)) as pool:
            ending = Search(study, pool, interrupted, watch or (lambda status: None)).run()
        return read_result(store, plan.spec.name, ending)


def _pool(plan: Plan, workers: int, device: str) -> Pool:
    setup = plan.setup(device)
    return ProcessPool(setup, workers) if workers > 0 else LocalPool(setup)


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
