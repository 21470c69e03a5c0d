"""Metrics of predicted classes equal scikit-learn's, on folds with ties, padding and absent classes."""

from functools import partial

import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foldtune.metrics import build_metric
from tests.metrics.checks import check_of_classes

pytestmark = pytest.mark.filterwarnings("ignore:(y_pred contains|A single label|.*only one label):UserWarning")

LAW = settings(deadline=None, max_examples=40)

PLAIN = {
    "accuracy": sklearn.metrics.accuracy_score,
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
    "matthews_corrcoef": sklearn.metrics.matthews_corrcoef,
    "cohen_kappa": sklearn.metrics.cohen_kappa_score,
    "hamming_loss": sklearn.metrics.hamming_loss,
}
AVERAGED = {
    "precision": sklearn.metrics.precision_score,
    "recall": sklearn.metrics.recall_score,
    "f1": sklearn.metrics.f1_score,
    "jaccard": sklearn.metrics.jaccard_score,
}


@pytest.mark.parametrize("name", PLAIN)
@LAW
@given(seed=st.integers(0, 2**16), n_classes=st.integers(2, 5), n_rows=st.integers(1, 30))
def test_equals_sklearn(name: str, seed: int, n_classes: int, n_rows: int) -> None:
    check_of_classes(name, PLAIN[name], seed, n_classes, n_rows)


@pytest.mark.parametrize("name", AVERAGED)
@LAW
@given(
    seed=st.integers(0, 2**16),
    n_classes=st.integers(2, 5),
    n_rows=st.integers(1, 30),
    average=st.sampled_from(["binary", "macro", "micro", "weighted", None]),
)
def test_averages_equal_sklearn(name: str, seed: int, n_classes: int, n_rows: int, average: str | None) -> None:
    if average == "binary":
        n_classes = 2
    default = "binary" if n_classes == 2 else "macro"
    reference = partial(AVERAGED[name], average=average or default, zero_division=0)
    check_of_classes({"use": name, "average": average} if average else name, reference, seed, n_classes, n_rows)


def test_no_predicted_positives_give_zero() -> None:
    metric = build_metric("precision", task="classification", n_classes=2, path=())
    prediction = torch.tensor([[[0.9, 0.1], [0.8, 0.2]]], dtype=torch.float64)
    assert metric(torch.tensor([[0, 1]]), prediction, torch.ones(1, 2, dtype=torch.bool)).tolist() == [0.0]
