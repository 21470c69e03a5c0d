"""Which engine trains a job: a rule from measurements, of shapes and parameter counts alone, so that a study that goes
on decides as it did before.

Measured against lockstep on one core (digits, AdamW with torch's fused kernel): nets of stacked kernels gain at every
size, from 11 times (width 32, batch 32) over 1.6 (256, 128) to 1.06 (2048, 128), and a single job gains, too. Nets
that `vmap` runs as a whole (a transformer layer) gain 1.4 times at 2,000 parameters and batches of 32, nothing at
9,000 and 64, and lose a tenth beyond.
"""

from dataclasses import dataclass

from foldtune.train.packed.member import Member
from foldtune.train.packed.size import job_bytes

MOST_AT_ONCE = 500_000
"""Parameters times rows of a batch up to which a net that `vmap` runs as a whole is worth it."""


@dataclass(frozen=True)
class Choice:
    """An engine and why.

    Args:
        packed: whether it is the packed one.
        reason: in words, with the figures that decided.
    """

    packed: bool
    reason: str


def choose(member: Member) -> Choice:
    """The faster engine for a job."""
    state, batch = member.shares[0].state, member.config.training.batch_size
    parameters = sum(param[0].numel() for param in state.params.values()) if state else 0
    if member.training.whole is None:
        size = job_bytes(member) / len(member.keys) / 2**20
        return Choice(True, f"stacked kernels, {parameters:,} parameters, {size:.2f} MiB per model")
    work = f"{parameters:,} parameters and batches of {batch} rows"
    if parameters * batch <= MOST_AT_ONCE:
        return Choice(True, f"run as a whole by vmap, {work}")
    return Choice(False, f"vmap is slower at {work}; no stacked kernels, for {member.training.whole}")
