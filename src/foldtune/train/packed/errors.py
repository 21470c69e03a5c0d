"""Why a job is left to the lockstep engine."""

from foldtune.errors import FoldtuneError


class NotPackable(FoldtuneError):
    """The packed engine cannot train this exactly as PyTorch would; the message says why."""
