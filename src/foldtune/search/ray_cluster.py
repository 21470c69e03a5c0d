"""A Ray cluster: what is asked of it, and whether it can be had."""

import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from foldtune.errors import SpecError, StoreError
from foldtune.store.border import redact

logger = logging.getLogger("foldtune")

LOCAL = "local"
"""The address of a cluster that is started on this machine and ends with the search."""

OBJECT_STORE_BYTES = 80 * 2**20
"""Of a local cluster: nearly the least that Ray takes; trials go through the database."""

KNOCK_S = 10.0
"""How soon a cluster at `host:port` answers."""


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


@contextmanager
def joined(cluster: Cluster, storage: str) -> Iterator[Any]:
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
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


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
