"""Categories as integer codes for embeddings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldtune.errors import SpecError
from foldtune.spec.schema import CategoricalSpec

MISSING, UNSEEN, FIRST = 0, 1, 2
"""The codes of a missing cell, of a category that no training row has, and of the first category."""


@dataclass(frozen=True, eq=False)
class Codes:
    """The fitted codes of one column.

    Args:
        encoder: scikit-learn's `OrdinalEncoder`; None when no training row has a value.
        cardinality: number of codes, those of missing and unseen cells included.
    """

    encoder: Any
    cardinality: int

    def transform(self, column: NDArray[np.object_]) -> NDArray[np.int64]:
        """Codes of a column of str or None, shape (N,)."""
        present = np.array([value is not None for value in column], dtype=bool)
        codes = np.full(len(column), MISSING, dtype=np.int64)
        if present.any():
            codes[present] = self._encode(column[present])
        return codes

    def _encode(self, values: NDArray[np.object_]) -> NDArray[np.int64]:
        if self.encoder is None:
            return np.full(len(values), UNSEEN, dtype=np.int64)
        encoded: NDArray[np.int64] = self.encoder.transform(values[:, None])[:, 0]
        return encoded + FIRST


def fit_codes(column: NDArray[np.object_], spec: CategoricalSpec) -> Codes:
    """Number the categories of the training rows: 2, 3, ... in sorted order, the rare ones sharing the last code.

    Args:
        column: training rows, str or None, shape (n,).
        spec: when a category is rare.

    Example:
        >>> codes = fit_codes(np.array(["b", "a", "a", None, "b", "c"], dtype=object), CategoricalSpec(min_frequency=2))
        >>> codes.transform(np.array(["a", "b", "c", "new", None], dtype=object)).tolist(), codes.cardinality
        ([2, 3, 4, 1, 0], 5)
    """
    from sklearn.preprocessing import OrdinalEncoder

    present = np.array([value for value in column if value is not None], dtype=object)
    if not len(present):
        return Codes(None, FIRST)
    encoder = OrdinalEncoder(
        min_frequency=spec.min_frequency,
        max_categories=spec.max_categories,
        handle_unknown="use_encoded_value",
        unknown_value=UNSEEN - FIRST,
        dtype=np.int64,
    )
    try:
        codes = encoder.fit_transform(present[:, None])
    except ValueError as error:
        rule = "`OrdinalEncoder` must accept its arguments"
        raise SpecError.of(("preprocessing", "categorical"), rule, error) from error
    return Codes(encoder, FIRST + int(codes.max()) + 1)
