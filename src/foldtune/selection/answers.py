"""From what nets answer to what metrics read."""

import numpy as np

from foldtune.selection.calibrate import sigmoid, softmax, two_columns
from foldtune.values import Floats, OutOfFold


def predictions(found: OutOfFold) -> Floats:
    """Probabilities, shape (n, C), of logits; of several labels each one's, shape (n, T); values as they are.

    Example:
        >>> logits = np.array([[0.0], [-65504.0]], np.float16)
        >>> predictions(OutOfFold("logits", logits, np.array([1])))
        array([[0.5, 0.5],
               [1. , 0. ]])
    """
    answers = found.answers.astype(np.float64)
    if found.kind == "label logits":
        return sigmoid(answers)
    return softmax(two_columns(answers)) if found.kind == "logits" else answers
