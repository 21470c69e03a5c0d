"""Rows that go through a net together: halved where memory does not do for more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foldtune.train.failures import is_out_of_memory

ROWS_AT_ONCE = 8192
"""Validation rows that go through a net together."""


@dataclass(eq=False)
class Portions:
    """How many rows the nets of one job take at once, at most.

    Args:
        training: of a batch; 0: all of them.
        answering: of the validation rows.
        least: rows that a net needs to train: 2 in front of a batch norm, else 1.
        notes: what is to be said of halvings.
    """

    training: int = 0
    answering: int = ROWS_AT_ONCE
    least: int = 1
    notes: list[str] = field(default_factory=list)

    def train(self, rows: int, step: Callable[[], Tensor]) -> Tensor:
        """A step over a batch of so many rows, tried again with smaller portions while it runs out of memory.

        Raises:
            MemoryError: or what else says that not even the smallest portion fits.
        """
        while (found := _tried(step, can_halve=self._size(rows) > self.least)) is None:
            self.training = -(-self._size(rows) // 2)
            self._say(f"batches pass through the net in portions of {self.training} rows")
        return found

    def answer(self, rows: int, step: Callable[[], Tensor]) -> Tensor:
        """The same for validation rows."""
        while (found := _tried(step, can_halve=min(rows, self.answering) > 1)) is None:
            self.answering = -(-min(rows, self.answering) // 2)
            self._say(f"validation rows pass through the net in portions of {self.answering}")
        return found

    def split(self, rows: int) -> int:
        """Into how many portions a batch falls."""
        return max(1, min(-(-rows // self._size(rows)), rows // self.least))

    def said(self) -> tuple[str, ...]:
        """What is new to be said."""
        notes, self.notes = tuple(self.notes), []
        return notes

    def state_dict(self) -> dict[str, int]:
        return {"training": self.training, "answering": self.answering}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.training, self.answering = int(state["training"]), int(state["answering"])
        if self.training < 0 or self.answering < 1:
            raise ValueError("a portion has no rows")

    def _size(self, rows: int) -> int:
        return min(rows, self.training or rows)

    def _say(self, what: str) -> None:
        normed = "; its batch norms now see one portion at a time" if self.least > 1 and "batches" in what else ""
        self.notes.append(f"out of memory: {what}{normed}")


def in_portions(model: nn.Module, inputs: Sequence[Tensor], count: int) -> Tensor:
    """A net's answers to a batch that goes through it in portions, each of them again when gradients are wanted.

    The loss sees the whole batch, so it is the same whatever the loss computes. Random numbers are drawn again as they
    were; buffers, which the second pass changes too, are put back by `kept_buffers`.

    Args:
        model: the net.
        inputs: of a batch.
        count: of portions, of equal size up to one row.
    """
    parts = zip(*(torch.tensor_split(part, count) for part in inputs), strict=True)
    return torch.cat([checkpoint(model, *part, use_reentrant=False) for part in parts])


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """Leave a net's buffers as they are now."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    yield
    with torch.no_grad():
        for name, values in before.items():
            model.get_buffer(name).copy_(values)


def _tried(step: Callable[[], Tensor], *, can_halve: bool) -> Tensor | None:
    """What a step gives; None where it ran out of memory and may try again, which is free once the error is gone."""
    try:
        return step()
    except Exception as error:
        if not (can_halve and is_out_of_memory(error)):
            raise
    return None
