"""Mixed precision: matrix products in bfloat16, on devices that have it in hardware."""

from contextlib import AbstractContextManager, nullcontext

import torch

from foldtune.errors import SpecError
from foldtune.spec.schema import Precision


def autocast(precision: Precision, device: str) -> AbstractContextManager[object]:
    """What a forward pass runs in; may be entered again, but not twice at once.

    Args:
        precision: as the study file names it.
        device: where nets live, as torch names it.

    Raises:
        SpecError: see `check_precision`.

    Example:
        >>> with autocast("32-true", "cpu"):
        ...     torch.is_autocast_enabled("cpu")
        False
    """
    check_precision(precision, device)
    return nullcontext() if precision == "32-true" else torch.autocast(torch.device(device).type, torch.bfloat16)


def check_precision(precision: Precision, device: str) -> None:
    """Refuse bfloat16 where it is slower than what it replaces.

    Raises:
        SpecError: the device would only imitate it.
    """
    if precision == "bf16-mixed" and not has_bf16(device):
        rule = f"the device `{device}` must have bfloat16 in hardware"
        raise SpecError.of(("training", "precision"), rule, precision, "Leave `precision` out, or train elsewhere.")


def has_bf16(device: str) -> bool:
    """Whether a device computes with bfloat16 in hardware."""
    kind = torch.device(device).type
    if kind == "cpu":
        return any(there is True for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    return kind != "cuda" or bool(torch.cuda.is_bf16_supported(including_emulation=False))
