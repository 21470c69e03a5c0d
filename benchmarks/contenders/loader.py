"""The loop of most tutorials: TensorDataset, DataLoader, torch's default AdamW."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.work import LEARNING_RATE, Case, FoldRows, fold_rows, net_of


def loaders(fold: FoldRows, batch_size: int) -> tuple[DataLoader[tuple[torch.Tensor, ...]], ...]:
    """Shuffled training batches, and all validation rows as one batch."""
    train, valid = TensorDataset(fold.x, fold.y), TensorDataset(fold.valid_x, fold.valid_y)
    return DataLoader(train, batch_size=batch_size, shuffle=True), DataLoader(valid, batch_size=len(valid))


class LoaderLoop:
    """The folds of one trial, one after the other; see `Trainer`."""

    def __init__(self, case: Case) -> None:
        folds = fold_rows(case.data)
        self.nets = [net_of(case, folds) for _ in folds]
        self.optimizers = [torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE) for net in self.nets]
        self.loaders = [loaders(fold, case.batch_size) for fold in folds]
        self.loss = nn.CrossEntropyLoss()
        self.accuracies = [0.0 for _ in folds]

    def train(self, units: int) -> int:
        for fold in range(len(self.nets)):
            for _ in range(units):
                self.train_epoch(fold)
                self.validate(fold)
        return units * len(self.nets)

    def accuracy(self) -> float:
        return sum(self.accuracies) / len(self.accuracies)

    def train_epoch(self, fold: int) -> None:
        """One pass over a fold's training rows."""
        net, optimizer = self.nets[fold].train(), self.optimizers[fold]
        for x, y in self.loaders[fold][0]:
            optimizer.zero_grad()
            self.loss(net(x), y).backward()
            optimizer.step()

    @torch.no_grad()
    def validate(self, fold: int) -> float:
        """Loss and accuracy on a fold's validation rows."""
        net = self.nets[fold].eval()
        total, right, count = 0.0, 0, 0
        for x, y in self.loaders[fold][1]:
            answers = net(x)
            total += self.loss(answers, y).item() * len(y)
            right += int((answers.argmax(1) == y).sum())
            count += len(y)
        self.accuracies[fold] = right / count
        return total / count


def start(case: Case, index: int, processes: int) -> LoaderLoop:
    return LoaderLoop(case)
