"""Stacks that do not fit into memory: whose they are, and what is said of jobs that leave them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from foldtune.train.failures import is_out_of_memory
from foldtune.train.packed.member import Member

NO_MEMORY = "its stack does not fit into memory"
"""Why a job trains in lockstep that could be stacked."""

LEAVES = "out of memory: it leaves its stack and goes on in lockstep"


class NoMemoryError(Exception):
    """What jobs do together does not fit into memory."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.trials = tuple(dict.fromkeys(member.job.trial for member in members))
        super().__init__(self.trials)


@contextmanager
def blaming(members: Iterable[Member]) -> Iterator[None]:
    """Say of which jobs there were too many at once."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise NoMemoryError(members) from None
        raise
