"""Which engine trains a job: a rule from measurements, of shapes and parameter counts alone, so that a study that goes
on decides as it did before.

Measured against lockstep on one core (digits, AdamW with torch's fused kernel): nets of stacked kernels gain at every
size, from 11 times (width 32, batch 32) over 1.6 (256, 128) to 1.06 (2048, 128), and a single job gains, too. Nets
that `vmap` runs as a whole (a transformer layer) gain 1.4 times at 2,000 parameters and batches of 32, nothing at
9,000 and 64, and lose a tenth beyond.

Recurrent layers (400 rows of 8 features, 5 folds; one job, then eight): over 16 steps in batches of 32, 7.0 and 12.7
times for an RNN of hidden size 16, 4.2 and 4.7 (64), 2.5 and 2.0 (128), 1.4 and 1.06 (256); a GRU 8.0 and 14 (16), 3.5
and 3.4 (64), 1.8 and 1.6 (128), 1.3 and 0.8 (192); an LSTM 3.2 and 5.6 (16), 1.9 and 1.7 (64), 1.3 and 1.3 (96), 1.2
and 0.9 (128), in batches of 64 1.4 and 1.2 (64), 1.1 and 1.0 (96), 1.0 and 0.8 (128). Over 64 steps in batches of 64,
hidden size 64: RNN 2.6 and 1.9, GRU 2.1 and 2.0, LSTM 0.9 and 0.9.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from foldtune.train.packed.member import Member
from foldtune.train.packed.size import job_bytes

WIDEST: Mapping[str, int] = {"RNN_TANH": 256, "RNN_RELU": 256, "GRU": 128, "LSTM": 96}
"""Hidden sizes up to which recurrent layers are worth it, by torch's own names."""

MOST_STATES = 2**17
"""Numbers of `h_t` in a batch, of all steps, up to which an LSTM is worth it."""

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
    if (large := _too_large(member)) is not None:
        return Choice(False, large)
    if member.training.whole is None:
        size = job_bytes(member) / len(member.keys) / 2**20
        return Choice(True, f"stacked kernels, {parameters:,} parameters, {size:.2f} MiB per model")
    work = f"{parameters:,} parameters and batches of {batch} rows"
    if parameters * batch <= MOST_AT_ONCE:
        return Choice(True, f"run as a whole by vmap, {work}")
    return Choice(False, f"vmap is slower at {work}; no stacked kernels, for {member.training.whole}")


def _too_large(member: Member) -> str | None:
    """Why torch's own loop over time is faster, if it is."""
    batch, state = member.config.training.batch_size, member.shares[0].state
    for op in member.training.ops:
        if state is not None and "weight_hh" in op.params:
            kind, hidden = op.text.partition("(")[0], state.params[op.params["weight_hh"]].shape[2]
            if hidden > WIDEST[kind] or (kind == "LSTM" and op.shape[0] * batch > MOST_STATES):
                return f"stacked kernels are slower for `{op.name}`, {op.text}, in batches of {batch} rows"
    return None
