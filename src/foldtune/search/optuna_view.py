"""A plan as Optuna sees it: in memory, for its sampler and pruner, and in its own tables, for the dashboard."""

from foldtune.search.mirror import Mirror
from foldtune.search.optuna_copy import make_copy
from foldtune.search.optuna_parts import most_epochs, rungs
from foldtune.search.plan import Plan
from foldtune.store.publishing import Copy


def make_mirror(plan: Plan) -> Mirror:
    """Optuna's sampler and pruner for a plan that has no trials yet."""
    search = plan.spec.search
    return Mirror(
        plan.spec.name,
        plan.directions,
        tree=plan.space,
        seed=search.seed,
        sampler=search.sampler.node if search.sampler else None,
        pruner=search.pruner.node if search.pruner else None,
    )


def make_view(plan: Plan, mirror: Mirror) -> Copy:
    """What Optuna's tables shall show of a plan."""
    labels = (metric.label for metric in plan.metrics)
    objectives = dict(zip(labels, plan.directions, strict=False))  # the objectives come first
    steps = rungs(most_epochs(plan.space))
    return make_copy(plan.spec.name, objectives=objectives, distributions=mirror.distributions, rungs=steps)
