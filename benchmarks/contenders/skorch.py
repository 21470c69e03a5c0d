"""skorch inside of scikit-learn's `cross_validate`, validating every epoch as it does by default."""

import numpy as np
import torch
from sklearn.model_selection import cross_validate
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from benchmarks.work import LEARNING_RATE, Case, FoldRows, fold_rows, make_net, n_classes


class SkorchFolds:
    """The folds of one trial; every call trains them afresh. See `Trainer`."""

    def __init__(self, case: Case) -> None:
        self.case, self.folds = case, fold_rows(case.data)
        self.scores: list[float] = []

    def train(self, units: int) -> int:
        self.scores = [self.fit(fold, units) for fold in self.folds]
        return units * len(self.folds)

    def accuracy(self) -> float:
        return float(np.mean(self.scores))

    def fit(self, fold: FoldRows, epochs: int) -> float:
        """Cross-validation on one split: the rows that each epoch is validated on are other ones in every fold."""
        x, y = torch.cat([fold.x, fold.valid_x]).numpy(), torch.cat([fold.y, fold.valid_y]).numpy()
        train, valid = np.split(np.arange(len(y)), [len(fold.y)])
        net = NeuralNetClassifier(
            make_net,
            module__features=x.shape[1],
            module__width=self.case.width,
            module__classes=n_classes(self.folds),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            lr=LEARNING_RATE,
            max_epochs=epochs,
            batch_size=self.case.batch_size,
            iterator_train__shuffle=True,
            iterator_valid__batch_size=len(valid),
            train_split=predefined_split(Dataset(x[valid], y[valid])),
            classes=np.unique(y),
            verbose=0,
        )
        found = cross_validate(net, x, y, cv=[(train, valid)], scoring="accuracy", error_score="raise")
        return float(found["test_score"][0])


def start(case: Case, index: int, processes: int) -> SkorchFolds:
    return SkorchFolds(case)
