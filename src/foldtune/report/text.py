"""Numbers, durations and configurations as people read them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from foldtune.store.records import TrialRecord
from foldtune.values import Floats

LINE_WIDTH = 76


def duration(seconds: float | None) -> str:
    """A time span in its two largest units.

    Example:
        >>> duration(7325), duration(75), duration(3.21)
        ('2 h 2 min', '1 min 15 s', '3.2 s')
    """
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def spread(scores: Floats) -> float:
    """The standard deviation over folds of the first objective; scores (K, n_metrics)."""
    return float(np.std(scores[:, 0], ddof=1)) if len(scores) > 1 else 0.0


def scalar(value: Any) -> str:
    """A parameter's value, floats short."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def parameters(trial: TrialRecord, names: Sequence[str]) -> str:
    """A trial's parameters of these names in one line, each by the shortest ending that is its own."""
    mine = [name for name in names if name in trial.params]
    short = short_names(mine)
    return "  ".join(f"{short[name]}={scalar(trial.params[name])}" for name in mine)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """For each dotted name the shortest ending that no other name shares.

    Example:
        >>> short_names(["optimizer.AdamW.lr", "model.norm", "model"])
        {'optimizer.AdamW.lr': 'lr', 'model.norm': 'norm', 'model': 'model'}
    """
    return {name: _shortest(name, [other for other in names if other != name]) for name in names}


def yaml(tree: Mapping[str, Any]) -> str:
    """A tree as YAML, as it can be pasted into a study file: a section in one line where it fits.

    Example:
        >>> print(yaml({"optimizer": {"use": "SGD", "lr": 0.1}}))
        optimizer: {use: SGD, lr: 0.1}
    """
    sections = []
    for key, part in tree.items():
        line = _dump({key: part}, flow=True)[1:-1]  # without the braces of the outermost mapping
        sections.append(line if len(line) <= LINE_WIDTH and "\n" not in line else _dump({key: part}, flow=False))
    return "\n".join(sections)


def _dump(tree: Mapping[str, Any], *, flow: bool) -> str:
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = flow
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 4096
    writer.dump(dict(tree), stream)
    return stream.getvalue().rstrip()


def _shortest(name: str, others: Sequence[str]) -> str:
    parts = name.split(".")
    endings = [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]
    return next((e for e in endings if not any(o == e or o.endswith(f".{e}") for o in others)), name)
