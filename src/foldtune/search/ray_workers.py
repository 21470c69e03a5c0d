"""Search loops on a Ray cluster: the functions of `search.run` and `search.work`, with a cluster where they run.

Ray places actors and starts them again when a node dies. All else is as with search loops that were started by hand:
they meet in the database, and take the trials of one that died over.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from threading import Event
from typing import Any

from foldtune import trust
from foldtune.errors import FoldtuneError, LeaseLostError, SpecError, StoreError
from foldtune.search import run
from foldtune.search.interrupts import interrupted_by, interruptible
from foldtune.search.result import StudyResult, read_result
from foldtune.search.run import STORAGE, Session, Watch
from foldtune.search.spectator import Spectator
from foldtune.search.work import work as work_here
from foldtune.spec.load import StudyFile, read_spec
from foldtune.store.border import redact
from foldtune.store.store import Store

logger = logging.getLogger("foldtune")

LOCAL = "local"
"""The address of a cluster that is started on this machine and ends with the search."""

OBJECT_STORE_BYTES = 80 * 2**20
"""Of a local cluster: nearly the least that Ray takes; trials go through the database."""

LOOKED_EVERY_S = 0.5
"""How often the database is read for progress."""

ANSWER_S = 10.0
"""How soon an actor answers that was asked to end, unless it waits for a place to run."""

Task = Callable[[], str | None]
"""What an actor does: search until there is nothing left to do, and say why there is not."""


@dataclass(frozen=True)
class Cluster:
    """Where on a Ray cluster search loops run.

    Args:
        address: `auto`, `host:port` or `ray://host:port`; `local` starts a cluster on this machine for the search.
        replicas: search loops, an actor each.
        cpus: CPUs that each declares.
        gpus: GPUs that each declares, at most 1; parts of one may be shared.
    """

    address: str = LOCAL
    replicas: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


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
    with _joined(cluster, storage) as ray:
        _drive(ray, cluster, _Work(storage, _placed(cluster, options)), lambda: None)


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
    with _joined(cluster, session.storage) as ray:
        with _held_to(allowed):
            run.create_study(file, session)
        session = replace(session, retry_failed=False)  # that is done
        with closing(Store(session.storage, create=False)) as store:
            spectator = Spectator(store, file.spec.name)
            show = watch or (lambda status: None)
            ending = _drive(ray, cluster, _Search(file, session, allowed), lambda: show(spectator.look()))
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


class SearchLoop:
    """A Ray actor with one search loop. Signals do not reach actors: it is asked to end in another thread.

    Args:
        folder: the driver's working folder, to which paths are relative, where this machine has it.
    """

    def __init__(self, folder: str) -> None:
        self._asked_to_end = Event()
        if os.path.isdir(folder):
            os.chdir(folder)

    def run(self, task: Task) -> str | None:
        """Carry a task out."""
        with interrupted_by(self._asked_to_end.is_set):
            return task()

    def end(self) -> None:
        """End the task after the epoch in training."""
        self._asked_to_end.set()


@dataclass(eq=False)
class _Handle:
    """An actor as the driver knows it.

    Args:
        actor: Ray's handle.
        ending: Ray's reference to its task's end.
        answer: the same, to its answer to the last call that asks it to end.
        asked_at: when that call was made.
    """

    actor: Any
    ending: Any
    answer: Any = None
    asked_at: float = 0.0

    def ask_to_end(self, ray: Any) -> bool:
        """Ask it to end, again and again, as an actor that was started anew knows nothing of it.

        Returns:
            Whether it answers; one that waits for a place to run does not.
        """
        now = time.monotonic()
        if self.answer is None or ray.wait([self.answer], timeout=0)[0]:
            self.answer, self.asked_at = self.actor.end.remote(), now
        return now - self.asked_at < ANSWER_S


def _drive(ray: Any, cluster: Cluster, task: Task, look: Callable[[], None]) -> str | None:
    """Have actors carry a task out until one has come to its end, or all have failed.

    Returns:
        Why the search ended.

    Raises:
        FoldtuneError: all failed; the last one's error.
    """
    options = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(SearchLoop).options(max_concurrency=2, scheduling_strategy="SPREAD", **options)
    working = [_start(actor.remote(os.getcwd()), task) for _ in range(cluster.replicas)]
    endings, errors = list[str | None](), list[FoldtuneError]()
    with interruptible() as interrupted:
        while working:
            ended, _ = ray.wait([handle.ending for handle in working], timeout=LOOKED_EVERY_S)
            for handle in [handle for handle in working if handle.ending in ended]:
                working.remove(handle)
                try:
                    endings.append(_outcome(ray, handle))
                except FoldtuneError as error:
                    logger.warning("a search loop on the cluster ended: %s", error)
                    errors.append(error)
                ray.kill(handle.actor)
            look()
            if interrupted() or any(endings):
                working = [handle for handle in working if handle.ask_to_end(ray)]
    if errors and not endings:
        raise errors[-1]
    return next((ending for ending in endings if ending != "interrupted"), "interrupted")


def _start(actor: Any, task: Task) -> _Handle:
    return _Handle(actor, actor.run.remote(task))


def _outcome(ray: Any, handle: _Handle) -> str | None:
    """Why an actor's search ended.

    Raises:
        FoldtuneError: it failed, as foldtune or Ray says.
    """
    try:
        ending: str | None = ray.get(handle.ending)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FoldtuneError):
            raise error.cause from None
        raise FoldtuneError(f"an actor failed:\n{error}") from error
    except ray.exceptions.RayError as error:
        raise FoldtuneError(f"an actor could not run:\n{error}") from error
    return ending


@contextmanager
def _joined(cluster: Cluster, storage: str) -> Iterator[Any]:
    """Ray, connected to the cluster.

    Raises:
        RequestError: Ray is not installed, the cluster does not answer, or it cannot share the database.
    """
    try:
        import ray
    except ImportError as error:
        rule, hint = "`--launcher ray` needs the package ray", "Run `pip install 'foldtune[ray]'`."
        raise SpecError.of((), rule, f"{error}", hint) from error

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a local cluster tells nobody that it runs
    try:
        _check_answers(cluster.address)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR, **_own(cluster))
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        hint = "Start one with `ray start --head`, or leave `--address` out."
        rule = "a Ray cluster must answer at `--address`"
        raise SpecError.of((), rule, f"{cluster.address} ({_first_line(error)})", hint) from error
    try:
        _check_database(ray, storage)
        _check_room(ray, cluster)
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Knock at `host:port`, where Ray would try for two minutes.

    Raises:
        OSError: nobody answers.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()


def _own(cluster: Cluster) -> dict[str, Any]:
    """What is asked of a cluster that is started here; of another nothing may be."""
    if cluster.address != LOCAL:
        return {}
    return {
        "num_cpus": math.ceil(cluster.replicas * cluster.cpus),
        "num_gpus": math.ceil(cluster.replicas * cluster.gpus),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _check_database(ray: Any, storage: str) -> None:
    """Refuse a SQLite file where nodes of the cluster are other machines.

    Raises:
        StoreError: they cannot see it, or not lock it.
    """
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    others = sorted(hosts - {socket.gethostname()})
    if storage.startswith("sqlite") and others:
        rule = "a SQLite file serves one machine, and the cluster has others"
        hint = "Name a PostgreSQL or MariaDB database with `--storage`."
        raise StoreError.of((), rule, f"{redact(storage)} and {', '.join(others)}", hint)


def _check_room(ray: Any, cluster: Cluster) -> None:
    """Say when some of the actors will have to wait."""
    has = ray.cluster_resources()
    wanted = {"CPU": cluster.replicas * cluster.cpus, "GPU": cluster.replicas * cluster.gpus}
    for kind, count in wanted.items():
        if count > has.get(kind, 0.0):
            text = "%d search loops want %g %s, and the cluster has %g: some wait until there are more"
            logger.warning(text, cluster.replicas, count, f"{kind}s", has.get(kind, 0.0))
