"""Search loops on a Ray cluster: the functions of `search.run` and `search.work`, with a cluster where they run.

Ray places actors and starts them again when a node dies. All else is as with search loops that were started by hand:
they meet in the database, and take the trials of one that died over.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from foldtune import trust
from foldtune.errors import LeaseLostError
from foldtune.search import run
from foldtune.search.ray_actors import drive
from foldtune.search.ray_cluster import Cluster, joined
from foldtune.search.result import StudyResult, read_result
from foldtune.search.run import STORAGE, Session, Watch
from foldtune.search.spectator import Spectator
from foldtune.search.work import work as work_here
from foldtune.spec.load import StudyFile, read_spec
from foldtune.store.store import Store

logger = logging.getLogger("foldtune")


def run_study(
    study: str | FilePath | Mapping[str, Any] | StudyFile,
    *,
    cluster: Cluster,
    overrides: Sequence[str] = (),
    watch: Watch | None = None,
    **where: Any,
) -> StudyResult:
    """`foldtune.run_study` on a cluster: every node must reach the database, the data and the study's own modules.

    Args:
        study: path of a study file, or the same tree as a dict.
        cluster: where it runs.
        overrides: `path=value` texts that replace parts of the study file.
        watch: called with a `Status` twice a second.
        where: as of `foldtune.run_study`. `workers` are training processes of each search loop, by default one per
            declared CPU, or one for a GPU. `device` is `cuda` for search loops with a GPU. `artifacts` that all nodes
            see let trials of a node that died go on.

    Raises:
        RequestError: as for `foldtune.run_study`; Ray is not installed, or the database is a file on another machine.
    """
    file = study if isinstance(study, StudyFile) else read_spec(study, overrides=overrides)
    return _search(file, cluster, _session(cluster, where), watch, None)


def resume_study(
    name: str,
    *,
    cluster: Cluster,
    storage: str = STORAGE,
    overrides: Sequence[str] = (),
    data: Any = None,
    allow_imports: Sequence[str] = (),
    watch: Watch | None = None,
    **where: Any,
) -> StudyResult:
    """`foldtune.resume_study` on a cluster; arguments as there and of `run_study` here."""
    allowed = trust.prefixes(allow_imports)
    file = run.stored_file(name, storage, overrides=overrides, data=data, allowed=allowed)
    return _search(file, cluster, _session(cluster, {"storage": storage, **where}), watch, allowed)


def work(storage: str, *, cluster: Cluster, watch: Watch | None = None, **options: Any) -> None:
    """`foldtune.search.work.work` on a cluster: each search loop works on the open studies until it is interrupted.

    Args:
        storage: SQLAlchemy URL of the database.
        cluster: where they run.
        watch: never called: there may be many studies.
        options: others of `foldtune.search.work.work`; `workers` and `device` as of `run_study`.
    """
    with joined(cluster, storage) as ray:
        drive(ray, cluster, _Work(storage, _placed(cluster, options)), lambda: None)


def _session(cluster: Cluster, where: Mapping[str, Any]) -> Session:
    return Session(**_placed(cluster, where))


def _placed(cluster: Cluster, where: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a search loop, with the device and the training processes that the cluster has for it."""
    device, workers = where.get("device", "cpu"), where.get("workers")
    return {**where, "device": _device(cluster, device), "workers": _processes(cluster, workers)}


def _device(cluster: Cluster, device: str) -> str:
    return "cuda" if cluster.gpus and device == "cpu" else device


def _processes(cluster: Cluster, workers: int | None) -> int:
    """Training processes of a search loop."""
    if workers is not None:
        return workers
    return 1 if cluster.gpus else max(1, int(cluster.cpus))


def _search(
    file: StudyFile, cluster: Cluster, session: Session, watch: Watch | None, allowed: tuple[str, ...] | None
) -> StudyResult:
    with joined(cluster, session.storage) as ray:
        with _held_to(allowed):
            run.create_study(file, session)
        session = replace(session, retry_failed=False)  # that is done
        with closing(Store(session.storage, create=False)) as store:
            spectator = Spectator(store, file.spec.name)
            show = watch or (lambda status: None)
            ending = drive(ray, cluster, _Search(file, session, allowed), lambda: show(spectator.look()))
            return read_result(store, file.spec.name, ending)


def _held_to(allowed: tuple[str, ...] | None) -> Any:
    """What a study may import: anything where the user gave its file."""
    return nullcontext() if allowed is None else trust.libraries_only(allowed)


@dataclass(frozen=True)
class _Search:
    """A search loop's task: one study, until no trial of it is left to train anywhere."""

    file: StudyFile = field(repr=False)
    session: Session
    allowed: tuple[str, ...] | None

    def __call__(self) -> str | None:
        with _held_to(self.allowed):
            while True:
                try:
                    return run.search(self.file, self.session).ending
                except LeaseLostError as error:
                    logger.warning("%s", error)


@dataclass(frozen=True)
class _Work:
    """A search loop's task: the open studies of a database."""

    storage: str = field(repr=False)  # it may hold a password
    options: Mapping[str, Any]

    def __call__(self) -> str | None:
        work_here(self.storage, **self.options)
        return None
