"""A job's answers for its validation rows, kept at the epochs that may be chosen and at the last one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from foldtune.train.states import check_tensors
from foldtune.train.stopping import eligible_epochs
from foldtune.values import AnswerKind, Job, OutOfFold, Rows, Task

Read = Callable[[], Tensor]
"""Gives an epoch's answers, (n, C) of the kind's dtype on the processor, in memory of their own."""

KINDS: Mapping[Task, AnswerKind] = {
    "classification": "logits",
    "multilabel": "label logits",
    "regression": "values",
}
DTYPES: Mapping[AnswerKind, torch.dtype] = {
    "logits": torch.float16,
    "label logits": torch.float16,
    "values": torch.float32,
}


class Answers:
    """What a job answered so far.

    Args:
        job: the job.
        planned: the epochs it may train.
        kind: what the answers are.
        outputs: C.
    """

    def __init__(self, job: Job, planned: int, *, kind: AnswerKind, outputs: int) -> None:
        self.sizes = [len(fold.valid) for fold in job.folds]
        self.planned, self.kind, self.outputs = planned, kind, outputs
        self.grid = frozenset(eligible_epochs(planned, planned))
        self._kept: dict[int, Tensor] = {}
        self._last: tuple[int, Read] | None = None  # not read yet: few epochs outside of the grid are ever asked for

    def add(self, epoch: int, read: Read) -> None:
        """Take in an epoch's answers.

        Args:
            epoch: one more than the last.
            read: may be called until the next epoch.
        """
        if epoch - 1 not in self.grid:
            self._kept.pop(epoch - 1, None)
        self._last = (epoch, read)
        if epoch in self.grid:
            self._read()

    def at(self, epochs: Rows) -> OutOfFold:
        """Those of each fold at its epoch, (K,): one that may be chosen, or the last."""
        self._read()
        folds = [torch.split(self._kept[int(epoch)], self.sizes)[fold] for fold, epoch in enumerate(epochs)]
        return OutOfFold(self.kind, torch.cat(folds).numpy(), epochs)

    def state_dict(self) -> dict[int, Tensor]:
        """Answers by epoch."""
        self._read()
        return {epoch: answers.clone() for epoch, answers in self._kept.items()}

    def load_state_dict(self, state: Mapping[int, Any], *, epochs: int) -> None:
        """Take the answers of a `state_dict`.

        Args:
            state: the answers.
            epochs: trained so far.

        Raises:
            CheckpointError: they are not those of this job after so many epochs.
        """
        like = torch.empty(sum(self.sizes), self.outputs, dtype=DTYPES[self.kind])
        check_tensors({epoch: like for epoch in eligible_epochs(self.planned, epochs)}, state, "answers")
        self._kept = {epoch: state[epoch].clone() for epoch in sorted(state)}

    def _read(self) -> None:
        if self._last is not None:
            epoch, read = self._last
            self._kept[epoch], self._last = read(), None
