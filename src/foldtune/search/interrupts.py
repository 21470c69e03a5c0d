"""Ctrl-C and SIGTERM: the first ends a search after its epoch, the second at once."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_asked_instead: ContextVar[Callable[[], bool] | None] = ContextVar("asked instead", default=None)


class _Handler:
    """Counts the signals that came."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, number: int, frame: Any) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def interrupted(self) -> bool:
        return self.count > 0


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed since, or SIGTERM came; the second one interrupts at once.

    A block within another one shares its answer. In a thread other than the main one, signals go elsewhere.
    """
    if (asked := _asked_instead.get()) is not None:
        yield asked
        return
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, _Handler):
        yield handler.interrupted
        return
    handler = _Handler()
    try:
        before = {number: signal.signal(number, handler) for number in _SIGNALS}
    except ValueError:  # not the main thread
        yield handler.interrupted
        return
    try:
        yield handler.interrupted
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def pause(seconds: float, interrupted: Callable[[], bool]) -> None:
    """Sleep, or until an interruption."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not interrupted():
        time.sleep(0.1)


@contextmanager
def interrupted_by(asked: Callable[[], bool]) -> Iterator[None]:
    """In this thread, `interruptible` blocks inside of this one ask a function, and listen to no signal.

    Example:
        >>> with interrupted_by(lambda: True), interruptible() as interrupted:
        ...     interrupted()
        True
    """
    token = _asked_instead.set(asked)
    try:
        yield
    finally:
        _asked_instead.reset(token)
