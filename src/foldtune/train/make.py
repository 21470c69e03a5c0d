"""The engine that a study asks for."""

from foldtune.train.engine import Engine, TrainingSetup
from foldtune.train.lockstep import LockstepEngine
from foldtune.train.packed import PackedEngine


def make_engine(setup: TrainingSetup) -> Engine:
    """Build the engine that `setup.engine` names; the packed one leaves to lockstep what it cannot pack.

    Args:
        setup: the study's data, metrics and seed.
    """
    return LockstepEngine(setup) if setup.engine == "lockstep" else PackedEngine(setup)
