"""The loop a careful person writes by hand: rows picked by index, one validation pass per epoch."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.work import LEARNING_RATE, Case, FoldRows, fold_rows, net_of


class FoldLoop:
    """One fold's model.

    Args:
        fold: its rows.
        net: what is trained.
        batch_size: rows of a batch.
        fused: torch's fused AdamW instead of its default.
    """

    def __init__(self, fold: FoldRows, net: nn.Module, batch_size: int, *, fused: bool) -> None:
        self.fold, self.net, self.batch_size = fold, net, batch_size
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, fused=fused or None)
        self.loss, self.accuracy = float("nan"), 0.0

    def epoch(self) -> None:
        """Train on every training row, then validate."""
        self.net.train()
        for rows in torch.split(torch.randperm(len(self.fold.y)), self.batch_size):
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(self.fold.x[rows]), self.fold.y[rows]).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.net.eval()
        with torch.no_grad():
            answers = self.net(self.fold.valid_x)
            self.loss = F.cross_entropy(answers, self.fold.valid_y).item()
            self.accuracy = (answers.argmax(1) == self.fold.valid_y).float().mean().item()


class FoldLoops:
    """The folds of one trial, one after the other; see `Trainer`."""

    def __init__(self, case: Case, *, fused: bool) -> None:
        folds = fold_rows(case.data)
        self.loops = [FoldLoop(fold, net_of(case, folds), case.batch_size, fused=fused) for fold in folds]

    def train(self, units: int) -> int:
        for loop in self.loops:
            for _ in range(units):
                loop.epoch()
        return units * len(self.loops)

    def accuracy(self) -> float:
        return sum(loop.accuracy for loop in self.loops) / len(self.loops)


def plain(case: Case, index: int, processes: int) -> FoldLoops:
    """With torch's default AdamW."""
    return FoldLoops(case, fused=False)


def fused(case: Case, index: int, processes: int) -> FoldLoops:
    """With torch's fused AdamW; each process trains a trial of its own."""
    return FoldLoops(case, fused=True)
