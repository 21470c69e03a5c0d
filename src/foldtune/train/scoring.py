"""All metrics of all folds at once, on padded validation rows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foldtune.data.dataset import Dataset
from foldtune.data.preprocess import FoldData
from foldtune.metrics import Metric, Predictions
from foldtune.train.answers import DTYPES, KINDS
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
        self.answers = torch.zeros(*self.mask.shape, head.outputs, dtype=torch.float64, device=device)
        self.location, self.scale = (  # (K, 1, T) each
            torch.stack([torch.from_numpy(row) for row in rows]).to(device).unsqueeze(1)
            for rows in ([fold.location for fold in data], [fold.scale for fold in data])
        )
        self.regression = dataset.task == "regression"
        self.sizes = [len(fold.valid) for fold in folds]
        self.dtype = DTYPES[KINDS[dataset.task]]  # of answers that results hold
        self._kept: Tensor | None = None  # the last answers as results hold them, once asked for

    @torch.no_grad()
    def score(self, answers: Sequence[Tensor]) -> Floats:  # K x (n_valid, outputs) -> (K, n_metrics)
        """Every metric of every fold; those of a net that answers with NaN or infinity are NaN."""
        for row, answer in zip(self.answers, answers, strict=True):
            row[: len(answer)] = answer
        self._kept = None
        finite = self.answers.sum(dim=(1, 2)).isfinite()  # (K,); NaN and infinity pass on to the sum
        values = self._original(self.head.predict(self.answers))
        predictions = Predictions(self.target, values, self.mask & finite[:, None])
        scores: Floats = torch.stack([metric.score(predictions) for metric in self.metrics], dim=1).cpu().numpy()
        return scores

    @torch.no_grad()
    def kept(self, start: int, stop: int) -> Tensor:  # (n, outputs) on the processor
        """The last answers of some folds, one after another, as `OutOfFold` holds them."""
        if self._kept is None:
            most = torch.finfo(self.dtype).max
            self._kept = self._original(self.answers).float().clamp_(-most, most).to("cpu", self.dtype)
        return torch.cat([self._kept[fold, : self.sizes[fold]] for fold in range(start, stop)])

    def _original(self, values: Tensor) -> Tensor:
        """In the units of the target."""
        return values * self.scale + self.location if self.regression else values


def _pad(rows: Sequence[Tensor]) -> Tensor:
    """Stack tensors of different first sizes, zeros after the shorter ones."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
