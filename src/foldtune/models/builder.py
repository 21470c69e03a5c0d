"""From a reference and a data shape to a net, and a check of it that costs nothing."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foldtune import refs
from foldtune.errors import Path, SpecError
from foldtune.values import DataShape


def widths(shape: DataShape) -> dict[str, Any]:
    """What a model class is given when it asks for it by one of these names and the study file leaves it out."""
    flat = math.prod(shape.features)
    names: dict[str, Any] = dict.fromkeys(("in_features", "d_in", "input_size", "n_features"), flat)
    names |= dict.fromkeys(("out_features", "d_out", "num_classes", "n_classes"), shape.outputs)
    codes = list(shape.cardinalities)
    names |= {"cardinalities": codes, "cat_cardinalities": codes}
    return names | {"in_channels": shape.features[0], "input_shape": shape.features}


def build_model(node: Mapping[str, Any], shape: DataShape, path: Path = ("model",)) -> nn.Module:
    """Build the net that a reference describes, for data of that shape.

    Raises:
        SpecError: a name is unknown, or the class refuses its arguments.

    Example:
        >>> build_model({"use": "MLP", "d_block": 8}, DataShape((4,), (), 3)).head
        Linear(in_features=8, out_features=3, bias=True)
    """
    name, given = refs.split(node)
    known = refs.parameters(refs.resolve(name, refs.MODEL, path))
    filled = {key: value for key, value in widths(shape).items() if key in known}  # for this class, not for its layers
    model = refs.build({"use": name, **filled, **given}, refs.MODEL, path)
    if not isinstance(model, nn.Module):
        raise SpecError.of(path, f"`{refs.label(node)}` must return a torch.nn.Module", type(model).__name__)
    return model


def build_on_meta(node: Mapping[str, Any], shape: DataShape, path: Path = ("model",)) -> nn.Module:
    """Build a net without memory or arithmetic, and put two rows through it.

    Raises:
        SpecError: it cannot be built, does not accept the data, or gives another shape than (B, outputs).
    """
    try:
        return _build_and_run(node, shape, path, "meta")
    except SpecError as error:
        if "meta" not in str(error):
            raise
    return _build_and_run(node, shape, path, "cpu")  # the net looks at values, which the meta device does not have


def example_rows(shape: DataShape, device: str) -> tuple[Tensor, ...]:
    """Two rows of zeros as a model gets them: (2, *features) float32, and (2, Q) int64 codes where there are any."""
    numeric = torch.zeros(2, *shape.features, device=device)
    codes = torch.zeros(2, len(shape.cardinalities), dtype=torch.int64, device=device)
    return (numeric, codes) if shape.cardinalities else (numeric,)


def n_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _build_and_run(node: Mapping[str, Any], shape: DataShape, path: Path, device: str) -> nn.Module:
    with torch.device(device):
        model = build_model(node, shape, path)
    try:
        out = model(*example_rows(shape, device))
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        raise SpecError.of(path, f"`{refs.label(node)}` must accept the data ({_inputs(shape)})", error) from error
    found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if found != (2, shape.outputs):
        rule = (
            f"`{refs.label(node)}` must answer with {shape.outputs} numbers per row, shape (2, {shape.outputs}) for two"
        )
        raise SpecError.of(path, rule, found, _width_hint(node))
    return model


def _width_hint(node: Mapping[str, Any]) -> str | None:
    name, given = refs.split(node)
    taken = [key for key in refs.parameters(refs.resolve(name, refs.MODEL)) if key in ("out_features", "d_out")]
    fixed = [key for key in taken if key in given]
    return f"Leave `{fixed[0]}` out: it follows from the target and the loss." if fixed else None


def _inputs(shape: DataShape) -> str:
    numeric = f"numeric (B, {', '.join(map(str, shape.features))})"
    return f"{numeric} and codes (B, {len(shape.cardinalities)})" if shape.cardinalities else numeric
