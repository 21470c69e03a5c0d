"""Small studies with locked rows, whose rows know their number."""

from typing import Any

import numpy as np

from foldtune.values import Floats

N_ROWS = 96


def noise(rows: int = N_ROWS, seed: int = 0) -> dict[str, Any]:
    """Coin-flip labels that no feature knows of; the first feature is the row's number."""
    random = np.random.default_rng(seed)
    features: Floats = random.standard_normal((rows, 6))
    features[:, 0] = np.arange(rows)
    return {"X": features, "y": random.integers(0, 2, rows)}


def study(**sections: Any) -> dict[str, Any]:
    """A search of seconds."""
    tree: dict[str, Any] = {
        "name": "noise",
        "data": {"arrays": noise(), "test_fraction": 0.25},
        "validation": {"use": "StratifiedKFold", "n_splits": 3},
        "objective": "accuracy",
        "model": {"use": "MLP", "n_blocks": 1, "d_block": {"int": [4, 32]}},
        "optimizer": {"use": "AdamW", "lr": {"float": [1e-3, 1e-1], "log": True}},
        "training": {"epochs": 3, "batch_size": 32},
        "search": {"trials": 3, "cohort": 3, "confirm": 0},
    }
    return {**tree, **sections}
