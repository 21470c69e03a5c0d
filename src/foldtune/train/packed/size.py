"""How much memory stacked models take, counted before they are built."""

import math
from collections.abc import Sequence

import torch

from foldtune.data.preprocess import FoldData
from foldtune.train.engine import TrainingSetup
from foldtune.train.packed.masks import STEPS_AT_ONCE
from foldtune.train.packed.member import Member, Share
from foldtune.train.packed.program import Program
from foldtune.train.packed.stack import ROWS_AT_ONCE
from foldtune.values import Job

_PER_PARAMETER = 4
"""Numbers kept for each: itself, its gradient, and two that update rules keep."""

_LOOPS = {"RNN_TANH": 3, "RNN_RELU": 3, "GRU": 7, "LSTM": 9}
"""Numbers that a recurrent layer keeps for each that it gives: what it reads, gates, states, and their gradients."""

_SCORING = 40
"""Bytes for each answer on validation rows while metrics are computed, in float64."""

_FIXED = 2**16
"""Bytes of a model whatever its size: generators, orders of rows, views."""


def memory_of(setup: TrainingSetup, jobs: Sequence[Job]) -> int:
    """Bytes that a packed Run needs for these jobs: state, activations with their gradients, and the rows they read.

    Raises:
        NotPackable: one of them cannot be stacked.

    Example:
        >>> from foldtune.testing.engine_laws import make_config, make_job, make_setup
        >>> one, two = (memory_of(make_setup(), [make_job(make_config(), i) for i in range(n)]) for n in (1, 2))
        >>> one < two < 2 * one
        True
    """
    from foldtune.train.packed.engine import PackedEngine

    engine = PackedEngine(setup)
    members = [engine.member(job) for job in jobs]
    tables = {id(data): data for member in members for data in member.data}
    return sum(map(job_bytes, members)) + sum(map(_table_bytes, tables.values()))


def job_bytes(member: Member) -> int:
    """Bytes of one job's models, the rows that they read aside."""
    return sum(len(share.folds) * _model_bytes(member, share) for share in member.shares)


def _model_bytes(member: Member, share: Share) -> int:
    assert share.state is not None
    params = list(share.state.params.values())
    itemsize = params[0].element_size() if params else torch.float32.itemsize
    copies = 1 if not params or params[0].device.type == "cpu" else 2  # elsewhere all lie end to end once more
    numbers = copies * _PER_PARAMETER * sum(param[0].numel() for param in params)
    sizes = sorted({stop - start for start, stop in share.bounds}, reverse=True)
    numbers += sizes[0] * _per_row(member.training) + sum(_scratch(member.training, size) for size in sizes)
    weights = {name for op in member.training.ops if "weight_hh" in op.params for name in op.params.values()}
    numbers += (2 * len(sizes) + 1) * sum(share.state.params[name][0].numel() for name in weights)  # as one matrix
    if sizes[0] < ROWS_AT_ONCE:  # else answers are computed in the memory of a batch
        numbers += ROWS_AT_ONCE * _per_row(member.answering) // 2
    most = max(len(member.job.folds[fold].valid) for fold in share.folds)
    return numbers * itemsize + _SCORING * most * member.shape.outputs + _FIXED


def _per_row(program: Program) -> int:
    """Numbers of values and their gradients, for one row of a batch."""
    slots = {program.slots[op.name]: math.prod(op.shape) for op in program.ops if not op.integer}
    return sum(map(math.prod, program.shapes.values())) + 2 * sum(slots.values())


def _scratch(program: Program, batch: int) -> int:
    """Numbers that kernels keep for themselves: norms that are no batch norms one for each of theirs, recurrent layers
    what every step leaves, all of them the largest value once, and dropout its factors, and for some steps at once 16
    random bits and what they decide."""
    sizes = [(op, batch * math.prod(op.shape)) for op in program.ops]
    norms = sum(size for op, size in sizes if "Norm" in op.text and not op.text.startswith("BatchNorm"))
    bits = sum((1 + STEPS_AT_ONCE) * size for op, size in sizes if op.dropout is not None)
    loops = sum(_LOOPS.get(op.text.partition("(")[0], 0) * size for op, size in sizes)
    return norms + bits + loops + max((size for _, size in sizes), default=0)


def _table_bytes(data: FoldData) -> int:
    return data.numeric.nbytes + data.codes.nbytes + data.target.nbytes
