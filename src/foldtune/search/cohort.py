"""How many trials of a new study train at once."""

import os

from foldtune.search.plan import Plan

PACK = 8
"""Trials at once where they can be packed. Asked together, they cost the search next to nothing; more gain little."""

_BYTES_PER_PARAMETER = 32
"""Of a packed model: its parameters, their gradients, what update rules keep, and as much again for activations."""


def default_cohort(plan: Plan, workers: int) -> int:
    """Trials at once where the study file does not say: as many as fill packs and fit into half of the memory, and one
    per process at least.

    Args:
        plan: the study.
        workers: training processes.
    """
    if plan.spec.search.engine == "lockstep":
        return max(1, workers)
    job = _BYTES_PER_PARAMETER * plan.checked.most * len(plan.folds)
    return max(1, workers, min(PACK, _memory() // 2 // max(1, job)))


def _memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
