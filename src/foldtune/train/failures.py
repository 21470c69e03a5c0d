"""What an error in training is called."""

import torch

from foldtune.errors import DataError, DivergedError
from foldtune.values import FailureKind

_NO_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch says where it raises a bare RuntimeError."""


def kind_of(error: Exception) -> FailureKind:
    """The kind of failure that an error is."""
    if isinstance(error, DivergedError):
        return "diverged"
    if is_out_of_memory(error):
        return "out of memory"
    return "data" if isinstance(error, DataError) else "user code"


def is_out_of_memory(error: Exception) -> bool:
    """Whether less work at once might have done.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError())
        (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)
