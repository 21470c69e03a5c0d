"""Run a study from start to end, or go on with one."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from foldtune import refs, trust
from foldtune.errors import ResumeError, SpecError
from foldtune.search.gpus import leased_devices
from foldtune.search.heartbeat import beating
from foldtune.search.interrupts import interruptible
from foldtune.search.pool import LocalPool, Pool, ProcessPool
from foldtune.search.process import TrainingProcess, training_processes
from foldtune.search.result import StudyResult, read_result
from foldtune.search.status import Status
from foldtune.spec.load import StudyFile, read_spec, validate
from foldtune.store.artifacts import Artifacts
from foldtune.store.store import Store
from foldtune.train.engine import TrainingSetup

STORAGE = "sqlite:///foldtune.db"

CHECKPOINT_EVERY_S = 10.0

Watch = Callable[[Status], None]


@dataclass(frozen=True)
class Session:
    """Where and how a study is searched, whatever it is; see `run_study`."""

    storage: str = field(default=STORAGE, repr=False)  # it may hold a password
    workers: int | None = None
    device: str = "cpu"
    artifacts: str | None = None
    checkpoint_every: float = CHECKPOINT_EVERY_S
    retry_failed: bool = False
    watch: Watch | None = None


def run_study(
    study: str | FilePath | Mapping[str, Any] | StudyFile,
    *,
    storage: str = STORAGE,
    workers: int | None = None,
    device: str = "cpu",
    artifacts: str | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY_S,
    retry_failed: bool = False,
    overrides: Sequence[str] = (),
    watch: Watch | None = None,
) -> StudyResult:
    """Create the study of a file's name, or go on with it, until its budget is spent.

    Any number of processes and machines may run one study at once. Ctrl-C, or SIGTERM, ends it after the epoch that is
    being trained, with everything saved; a second one at once.

    Args:
        study: path of a study file, or the same tree as a dict, where tables and arrays may be objects.
        storage: SQLAlchemy URL of the database.
        workers: training processes; default one per core. 0 trains in this process. Scripts that use processes need
            the usual `if __name__ == "__main__":`.
        device: where nets train, as torch names it.
        artifacts: folder or fsspec URL of checkpoints; default `foldtune-artifacts` beside a SQLite file, else here.
        checkpoint_every: seconds between checkpoints; 0: one after every epoch.
        retry_failed: train failed trials again, under their numbers and with their parameters, before new ones; and
            what failed in confirmation.
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
    return search(file, Session(storage, workers, device, artifacts, checkpoint_every, retry_failed, watch))


def resume_study(
    name: str,
    *,
    storage: str = STORAGE,
    workers: int | None = None,
    device: str = "cpu",
    artifacts: str | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY_S,
    retry_failed: bool = False,
    overrides: Sequence[str] = (),
    data: Any = None,
    allow_imports: Sequence[str] = (),
    watch: Watch | None = None,
) -> StudyResult:
    """Go on with a stored study; its definition comes from the database.

    Args:
        name: the study's name.
        storage: SQLAlchemy URL of the database.
        workers: training processes; default one per core. 0 trains in this process.
        device: where nets train, as torch names it.
        artifacts: folder or fsspec URL of checkpoints; the same for all that work on the study.
        checkpoint_every: seconds between checkpoints; 0: one after every epoch.
        retry_failed: train failed trials again, under their numbers and with their parameters, before new ones; and
            what failed in confirmation.
        overrides: `path=value` texts; `search.trials`, `timeout`, `patience`, `confirm` and `prefer` alone may change.
        data: the folder where relative data paths now live, or the table or arrays of a study made from Python objects.
        allow_imports: packages or modules that its classes may come from, beside torch, torchvision, sklearn, optuna
            and foldtune; those that stood beside the study file are then found there.
        watch: called with a `Status` after every epoch.

    Raises:
        RequestError: there is no such study, the data or anything else changed since it was created, or it names a
            class that may not be imported.
    """
    allowed = trust.prefixes(allow_imports)
    file = stored_file(name, storage, overrides=overrides, data=data, allowed=allowed)
    with trust.libraries_only(allowed):
        return search(file, Session(storage, workers, device, artifacts, checkpoint_every, retry_failed, watch))


def stored_file(name: str, storage: str, *, overrides: Sequence[str], data: Any, allowed: tuple[str, ...]) -> StudyFile:
    """A stored study as if its file had been read; arguments as of `resume_study`.

    Raises:
        RequestError: there is no such study, or it needs Python objects that were not given.
    """
    with closing(Store(storage, create=False)) as store:
        record = store.study(name)
    folder = FilePath(data if isinstance(data, str | FilePath) else record.folder)
    home = FilePath(record.file).parent if record.file and allowed else None
    tree = _with_data(trust.check_tree(record.spec), data)
    return read_spec(tree, overrides=overrides, folder=folder, home=home)


def create_study(file: StudyFile, session: Session) -> None:
    """Store a study, or the budget that is now asked of a stored one; nothing is trained.

    Raises:
        RequestError: as for `run_study`.
    """
    from foldtune.search import optuna_parts
    from foldtune.search.plan import make_plan
    from foldtune.search.study import open_study

    refs.importable(str(file.home))
    plan = make_plan(file)
    optuna_parts.quiet()
    workers = session.workers or default_workers(session.device)
    with closing(Store(session.storage)) as store:
        open_study(plan, store, workers=workers, artifacts=session.artifacts, retry_failed=session.retry_failed).close()


def fork(file: StudyFile, name: str) -> StudyFile:
    """The same study under another name."""
    tree = {**file.tree, "name": name}
    return replace(file, tree=tree, spec=validate(tree))


def default_workers(device: str, gpus: int = 1) -> int:
    """One training process per core, or one per GPU."""
    if device == "cpu":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, gpus)


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


def _with_data(tree: Mapping[str, Any], data: Any) -> Mapping[str, Any]:
    """A stored tree with the Python objects of which it holds only a description."""
    key = "arrays" if tree["data"].get("arrays") is not None else "table"
    stored = tree["data"].get(key)
    described = str(stored if isinstance(stored, str) else next(iter(stored.values())) if stored else "")
    if data is not None and not isinstance(data, str | FilePath):
        return {**tree, "data": {**tree["data"], key: data}}
    if described.startswith("<"):
        hint = "Call `resume_study(name, data=...)` with the same table or arrays."
        raise ResumeError.of(
            ("data", key), "the study was made from Python objects, which are not stored", described, hint
        )
    return tree


def search(file: StudyFile, session: Session) -> StudyResult:
    """Create a file's study, or go on with it, until its budget is spent; see `run_study`."""
    refs.importable(str(file.home))  # before the processes start, which inherit it
    with leased_devices(session.device, session.workers) as devices:
        return _run_on(devices, file, session)


def _run_on(devices: Sequence[str], file: StudyFile, session: Session) -> StudyResult:
    device = devices[0] if devices else session.device  # which is then refused
    workers = default_workers(device, len(devices)) if session.workers is None else session.workers
    with training_processes(workers, devices=devices or [device]) as processes:
        from foldtune.search import optuna_parts  # these import torch, as the processes do at the same time
        from foldtune.search.confirm import Confirmation
        from foldtune.search.loop import Search
        from foldtune.search.plan import make_plan
        from foldtune.search.study import LEASE_S, open_study

        plan = make_plan(file)
        check_device(device)
        check_precisions(plan.space["training"], device)
        optuna_parts.quiet()
        with (
            closing(Store(session.storage)) as store,
            closing(
                open_study(
                    plan,
                    store,
                    workers=workers,
                    artifacts=session.artifacts,
                    retry_failed=session.retry_failed,
                )
            ) as study,
        ):
            with beating(store, study.lease, LEASE_S), interruptible() as interrupted:
                pool = _pool(study.setup(device), processes, study.artifacts)
                watch = session.watch or (lambda status: None)
                how = (study, pool, interrupted, watch, session.checkpoint_every)
                ending = Search(*how).run()
                if ending != "interrupted" and not Confirmation(*how).run():
                    ending = "interrupted"
                study.leave()
            return read_result(store, file.spec.name, ending)


def _pool(setup: TrainingSetup, processes: list[TrainingProcess], artifacts: Artifacts) -> Pool:
    return ProcessPool(setup, processes, artifacts) if processes else LocalPool(setup, artifacts)
