"""Training processes: one per core with one thread each, alive as long as the search."""

import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from foldtune import trust
from foldtune.errors import FoldtuneError, TrainingError
from foldtune.search.gpus import dealt
from foldtune.values import Failure

# For glibc: giving memory back to the kernel after each step and asking for it again takes 8 % of a packed step.
KEEP_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "67108864",
}

PRELOADED = ("foldtune.search.trainer", "sklearn.impute", "sklearn.preprocessing", "torch._dynamo")
"""What training imports sooner or later, `torch._dynamo` for the first optimizer: seconds in which nobody waits yet."""


class LostWorkerError(TrainingError):
    """The process that trained a job died."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"the training process died with exit code {exitcode}")

    @property
    def failure(self) -> Failure:
        return Failure("lost worker", str(self), "")


@contextmanager
def training_processes(workers: int, devices: Sequence[str] = ("cpu",)) -> "Iterator[list[TrainingProcess]]":
    """Processes that end with the block. They import torch, which takes seconds, while the block does other things.

    Args:
        workers: how many.
        devices: where they will train, in turn, as torch names them.
    """
    processes = [TrainingProcess(device) for device in dealt(devices, workers)]
    try:
        _begin(processes)
        yield processes
    finally:
        for process in processes:
            process.kill()  # they hold nothing that is not stored
        for process in processes:
            process.end()


def _begin(processes: "list[TrainingProcess]") -> None:
    """Begin with the imports, which nobody waits for here."""
    if processes and isinstance(processes[0].context, ForkServerContext):
        with _without_interrupts(), _keeping_memory():
            ensure_running()  # `start` would wait for its imports
    else:
        for process in processes:
            process.start()


class TrainingProcess:
    """A training process and the pipe to it.

    Args:
        device: where it will train, as torch names it.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.context = _context(device)
        self.connection, self._theirs = self.context.Pipe()
        self.process: BaseProcess = self.context.Process(target=_serve, args=(self._theirs,), daemon=True)

    def start(self) -> None:
        """Start it, if it was not."""
        if self.process.pid is None:
            with _without_interrupts(), _keeping_memory():
                self.process.start()
            self._theirs.close()

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def send(self, command: str, *args: Any) -> None:
        """Send without waiting; that a process is dead shows when its answer is awaited."""
        try:
            self.connection.send((command, args))
        except ConnectionError:
            return

    def receive(self) -> Any:
        try:
            answer = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.process.kill()
            self.process.join()
            raise LostWorkerError(self.process.exitcode) from error
        if isinstance(answer, _Crash):
            raise FoldtuneError(f"a training process failed:\n{answer.traceback}")
        return answer

    def call(self, command: str, *args: Any) -> Any:
        self.send(command, *args)
        return self.receive()

    def wait_until_ready(self) -> None:
        """Wait until the process has its setup.

        Raises:
            FoldtuneError: it ended before.
        """
        try:
            self.receive()
        except LostWorkerError as error:
            advice = 'A script that trains in processes must start under `if __name__ == "__main__":`'
            raise FoldtuneError(f"{error} before it could train. {advice}; or use `workers=0`.") from error

    def kill(self) -> None:
        """Kill the process, if it lives, without waiting for its end."""
        if self.process.pid is not None:
            self.process.kill()

    def end(self) -> None:
        """End the process, whatever it does."""
        self.kill()
        if self.process.pid is not None:
            self.process.join()
        self._theirs.close()
        self.connection.close()


class _Crash:
    """A bug inside of a training process, to be raised in the search."""

    def __init__(self, text: str) -> None:
        self.traceback = text


def _context(device: str) -> ForkServerContext | SpawnContext:
    """How training processes start, so that neither database engines nor torch's threads cross a fork.

    On Linux all are forked from one fresh process that has imported what they need and does nothing else: torch is
    imported once, not once for each. CUDA does not survive a fork, nor do macOS's frameworks.
    """
    if device != "cpu" or sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back: they reach the whole group, but the search alone decides what they mean.

    A process that starts meanwhile inherits this; here it comes through at the end.
    """
    resource_tracker.ensure_running()  # when it starts, it lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _keeping_memory() -> Iterator[None]:
    """A process that starts meanwhile keeps what it frees, unless the user's environment says else."""
    ours = {name: value for name, value in KEEP_MEMORY.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _serve(connection: Connection) -> None:
    """The life of a training process: commands until the pipe closes, or until the search dies."""
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        for name in PRELOADED:
            import_module(name)
        import torch

        from foldtune.search.trainer import Trainer

        torch.set_num_threads(1)  # two are slower on small nets, and collapse beside a busy neighbour
        _, (setup, artifacts) = connection.recv()
        trust.adopt(setup.allowed)
        trainer = Trainer(setup, artifacts)
        gc.freeze()  # what was imported stays; looking through it again and again would take a twentieth of the time
        connection.send("ready")
        while True:
            command, args = connection.recv()
            answer = getattr(trainer, command)(*args)
            if command != "add":
                connection.send(answer)
    except (EOFError, ConnectionError):
        return
    except Exception:  # told to the search, which raises it
        connection.send(_Crash(traceback.format_exc()))


def _end_with_parent() -> None:
    """A search that was killed cannot end its processes, and an epoch may take minutes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
