"""All metrics of all folds at once, on padded validation rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foldtune.data.dataset import Dataset
from foldtune.data.preprocess import FoldData
from foldtune.errors import DivergedError
from foldtune.metrics import Metric
from foldtune.train.losses import Head
from foldtune.values import Floats, Fold


class Scorer:
    """Scores a job's folds in original units.

    Args:
        dataset: where the true targets are.
        data: the folds' transformed rows, for the scale of a regression target.
        folds: the rows each fold is scored on.
        head: how answers become predictions.
        metrics: what to compute, objectives first.
        device: where the answers live.
    """

    def __init__(
        self,
        dataset: Dataset,
        data: Sequence[FoldData],
        folds: Sequence[Fold],
        *,
        head: Head,
        metrics: Sequence[Metric],
        device: str,
    ) -> None:
        self.head, self.metrics = head, metrics
        target = _pad([torch.from_numpy(dataset.target[fold.valid]) for fold in folds])
        self.target = target.to(device)  # (K, N) or (K, N, T)
        self.mask = _pad([torch.ones(len(fold.valid), dtype=torch.bool) for fold in folds]).to(device)  # (K, N)
        self.scales = [
            (torch.from_numpy(fold.location).to(device), torch.from_numpy(fold.scale).to(device)) for fold in data
        ]
        self.regression = dataset.task == "regression"

    @torch.no_grad()
    def score(self, answers: Sequence[Tensor]) -> Floats:  # K x (n_valid, outputs) -> (K, n_metrics)
        """Every metric of every fold.

        Raises:
            DivergedError: a net answers with NaN or infinity.
        """
        for fold, answer in enumerate(answers):
            if not bool(torch.isfinite(answer).all()):
                raise DivergedError(f"the net of fold {fold} answers with NaN or infinity")
        predictions = _pad([self._predict(fold, answer.double()) for fold, answer in enumerate(answers)])
        columns = [metric(self.target, predictions, self.mask) for metric in self.metrics]
        scores: Floats = torch.stack(columns, dim=1).cpu().numpy()
        return scores

    def _predict(self, fold: int, answers: Tensor) -> Tensor:
        predictions = self.head.predict(answers)
        location, scale = self.scales[fold]
        return predictions * scale + location if self.regression else predictions


def _pad(rows: Sequence[Tensor]) -> Tensor:
    """Stack tensors of different first sizes, zeros after the shorter ones."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
