"""Processes of one torch thread each, in which contenders live; those of one contender train together."""

import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.contenders import Contender, Trainer, start
from benchmarks.timing import Timed
from benchmarks.work import Case

PRELOADED = ["torch", "torch._dynamo", "sklearn.datasets", "sklearn.model_selection"]
"""What every contender needs: imported once, which takes seconds, and not used before processes are forked."""


class Host:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def receive(self) -> Any:
        """The answer to the last command.

        Raises:
            RuntimeError: the contender failed.
        """
        answer = self.connection.recv()
        if isinstance(answer, _Crash):
            raise RuntimeError(f"a contender failed:\n{answer.text}")
        return answer


class ProcessTeam:
    """A contender's processes; all take every command at once.

    Args:
        contender: who trains.
    """

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.hosts = [Host() for _ in range(contender.processes)]

    @property
    def pids(self) -> list[int]:
        return [host.process.pid for host in self.hosts if host.process.pid is not None]

    def start(self, case: Case) -> float:
        """Make ready for a case and forget the one before; seconds that this took."""
        began = time.perf_counter()
        for index, host in enumerate(self.hosts):
            host.connection.send(("start", (self.contender.start, case, index, len(self.hosts))))
        self.receive()
        return time.perf_counter() - began

    def train(self, units: int) -> Timed:
        """Train so many units in every process."""
        began = time.perf_counter()
        trained = self.call("train", units)
        return Timed(time.perf_counter() - began, sum(trained))

    def accuracy(self) -> float:
        """Mean over the processes."""
        return float(sum(self.call("accuracy")) / len(self.hosts))

    def call(self, command: str, *args: Any) -> list[Any]:
        """One command to every process, and their answers."""
        self.send(command, *args)
        return self.receive()

    def send(self, command: str, *args: Any) -> None:
        for host in self.hosts:
            host.connection.send((command, args))

    def receive(self) -> list[Any]:
        return [host.receive() for host in self.hosts]


@contextmanager
def teams_of(contenders: Sequence[Contender]) -> Iterator[list[ProcessTeam]]:
    """A team for each contender; their processes end with the block."""
    teams: list[ProcessTeam] = []
    try:
        teams += [ProcessTeam(contender) for contender in contenders]
        for team in teams:
            team.send("load", team.contender.start)
        for team in teams:
            team.receive()
        yield teams
    finally:
        for host in (host for team in teams for host in team.hosts):
            host.connection.close()  # a process that waits ends by itself
            host.process.join(timeout=10)
            host.process.kill()
            host.process.join()


class _Crash:
    """An error inside of a host."""

    def __init__(self, text: str) -> None:
        self.text = text


def _serve(connection: Connection) -> None:
    """The life of a host: commands until the pipe closes."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    trainer: Trainer | None = None
    while True:
        try:
            command, args = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            if command == "load":
                _load(*args)
                connection.send(None)
            elif command == "start":
                trainer = None  # its memory goes before the next one's comes
                trainer = start(*args)
                connection.send(None)
            else:
                connection.send(getattr(trainer, command)(*args))
        except Exception:  # raised again where the command came from
            connection.send(_Crash(traceback.format_exc()))


def _load(reference: str) -> None:
    """Import a contender's module."""
    from importlib import import_module

    import_module(f"benchmarks.contenders.{reference.split(':')[0]}")
