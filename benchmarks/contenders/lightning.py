"""Lightning's Trainer, one per fold, with everything off that can be (`barebones`)."""

import logging
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contenders.loader import loaders
from benchmarks.work import LEARNING_RATE, Case, FoldRows, fold_rows, net_of


class FoldModule(LightningModule):
    """One fold's model; sums of the validation pass are kept here, as `barebones` allows no logging."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.loss, self.right, self.count = 0.0, 0, 0

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def on_validation_epoch_start(self) -> None:
        self.loss, self.right, self.count = 0.0, 0, 0

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, y = batch
        answers = self.net(x)
        self.loss += F.cross_entropy(answers, y).item() * len(y)
        self.right += int((answers.argmax(1) == y).sum())
        self.count += len(y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE)


class LightningFolds:
    """The folds of one trial; every call trains them afresh. See `Trainer` of this package."""

    def __init__(self, case: Case) -> None:
        self.case, self.folds = case, fold_rows(case.data)
        self.scores: list[float] = []

    def train(self, units: int) -> int:
        self.scores = [self.fit(fold, units) for fold in self.folds]
        return units * len(self.folds)

    def accuracy(self) -> float:
        return sum(self.scores) / len(self.scores)

    def fit(self, fold: FoldRows, epochs: int) -> float:
        """Train one fold; its accuracy after the last epoch."""
        module = FoldModule(net_of(self.case, self.folds))
        Trainer(max_epochs=epochs, accelerator="cpu", devices=1, barebones=True).fit(
            module, *loaders(fold, self.case.batch_size)
        )
        return module.right / module.count


def start(case: Case, index: int, processes: int) -> LightningFolds:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # it advises loader processes, which cost more than they give
    return LightningFolds(case)
