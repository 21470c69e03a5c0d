"""Laws of out-of-fold answers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, hamming_loss, log_loss, mean_squared_error, r2_score

from foldtune.models.builder import build_on_meta, n_parameters
from foldtune.testing.engine_laws.runs import MakeEngine, assert_same_results, going, saved, train
from foldtune.testing.engine_laws.states import refused
from foldtune.testing.engine_laws.studies import make_job
from foldtune.train.checkpoint import dump
from foldtune.train.engine import Run, TrainingSetup
from foldtune.train.stopping import eligible_epochs
from foldtune.values import Config, DataShape, Floats, Job, TrialResult

Array = NDArray[Any]


def check_answers_give_the_scores(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Whenever a job ends, its answers are those that its scores were computed from, and go on bitwise with it.

    Args:
        make: the engine under test.
        setup: as `make_setup` gives it.
        config: planned for more epochs than may be chosen.
    """
    job, planned = make_job(config), int(config["training"]["epochs"])
    between = min({*range(1, planned)} - {*eligible_epochs(planned, planned)}, default=0)
    assert between, "the law needs an epoch that may not be chosen"
    whole = make(setup).start([job])
    states: dict[int, dict[str, Any]] = {}
    for epoch in range(1, planned + 1):
        assert whole.step()[0].failure is None
        if epoch in (1, between, planned):
            state = states[epoch] = saved(whole)[0]
            assert tuple(state["answers"]) == eligible_epochs(planned, epoch)
            dropped, finished = (going(make, setup, job, state) for _ in range(2))
            _check_scores(setup, job, finished.finish(0))
            _check_scores(setup, job, result := dropped.drop(0))
            assert (result.chosen == epoch).all(), "a dropped job's answers are those of its last epoch"
    dropped, restored = (going(make, setup, job, states[between]) for _ in range(2))
    assert_same_results(_after(make, setup, job, between).drop(0), dropped.drop(0))
    for _ in range(planned - between):
        restored.step()
    assert dump(restored.state_dict()[0]) == dump(states[planned])
    assert_same_results(restored.finish(0), whole.finish(0))


def check_answers_not_kept(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """Where answers are not kept there are none, in states neither; all else is as ever."""
    job, without = make_job(config), replace(setup, keeps_answers=False)
    run = _after(make, without, job, 2)
    state = saved(run)[0]
    assert state["answers"] == {}, "a state holds answers that nobody asked for"
    assert run.drop(0).out_of_fold is None
    plain, bare = (train(make(each).start([job]), 0).result for each in (setup, without))
    assert plain.out_of_fold is not None and bare.out_of_fold is None
    assert_same_results(replace(plain, out_of_fold=None), bare)
    assert_same_results(train(going(make, without, job, state), 0).result, bare)
    assert refused(make(setup).start([]), job, state), "a state without answers is taken where they are kept"
    full = saved(_after(make, setup, job, 2))[0]
    assert refused(make(without).start([]), job, full), "a state with answers is taken where none are kept"


def check_counts_parameters(make: MakeEngine, setup: TrainingSetup, config: Config) -> None:
    """A result says how many parameters one of its models has."""
    job, results = make_job(config), []
    for stop in ("finish", "drop"):
        run = _after(make, setup, job, 1)
        results.append(getattr(run, stop)(0))
    outputs = _answers(results[0]).shape[1]
    model = build_on_meta(config["model"], DataShape(setup.dataset.numeric.shape[1:], (), outputs))
    assert [result.n_parameters for result in results] == [n_parameters(model)] * 2


def _after(make: MakeEngine, setup: TrainingSetup, job: Job, epochs: int) -> Run:
    """A run whose job has trained so many epochs."""
    run = make(setup).start([job])
    for _ in range(epochs):
        assert run.step()[0].failure is None
    return run


def _check_scores(setup: TrainingSetup, job: Job, result: TrialResult) -> None:
    """Scikit-learn's scores of the answers are the result's, to the precision that answers are kept in."""
    answers = _answers(result)
    assert result.out_of_fold is not None and np.array_equal(result.out_of_fold.epochs, result.chosen)
    sizes = [len(fold.valid) for fold in job.folds]
    assert len(answers) == sum(sizes)
    parts = np.split(answers, np.cumsum(sizes)[:-1])
    for fold, part, found in zip(job.folds, parts, result.scores, strict=True):
        y = setup.dataset.target[fold.valid]
        expected, tolerance = _SCORES[setup.dataset.task](y, part)
        names = [str(metric["use"]) for metric in setup.metrics]
        for name, score in zip(names, found, strict=True):
            assert abs(expected[name] - score) <= tolerance[name], f"{name}: {expected[name]} from answers, not {score}"


def _answers(result: TrialResult) -> Floats:
    kept = result.out_of_fold
    assert kept is not None, "no answers are kept"
    form = {"logits": np.float16, "label logits": np.float16, "values": np.float32}
    assert kept.answers.dtype == form[kept.kind] and np.isfinite(kept.answers).all()
    return kept.answers.astype(np.float64)


def _of_classes(y: Array, logits: Floats) -> tuple[dict[str, float], dict[str, float]]:
    """Scores and what half of float16's last bit may change in them."""
    rounding = float(np.abs(logits).max()) * 2.0**-11
    both = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    powers = np.exp(both - both.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    least, most = np.sort(both, axis=1)[:, -2:].T
    scores = {
        "log_loss": float(log_loss(y, p, labels=np.arange(both.shape[1]))),
        "accuracy": float(accuracy_score(y, p.argmax(axis=1))),
    }
    return scores, {"log_loss": 2 * rounding + 1e-6, "accuracy": float((most - least <= 2 * rounding).mean()) + 1e-9}


def _of_labels(y: Array, logits: Floats) -> tuple[dict[str, float], dict[str, float]]:
    """The same of several labels."""
    rounding = float(np.abs(logits).max()) * 2.0**-11
    p = 1 / (1 + np.exp(-logits))
    each = [log_loss(truth, chance, labels=[0, 1]) for truth, chance in zip(y.T, p.T, strict=True)]
    scores = {"log_loss": float(np.mean(each)), "hamming_loss": float(hamming_loss(y, p > 0.5))}
    return scores, {"log_loss": rounding + 1e-6, "hamming_loss": float((np.abs(logits) <= rounding).mean()) + 1e-9}


def _of_values(y: Array, values: Floats) -> tuple[dict[str, float], dict[str, float]]:
    """Scores and what half of float32's last bit may change in them."""
    y = y.reshape(values.shape)
    rounding = float(np.abs(values).max()) * 2.0**-24
    scores = {"mean_squared_error": float(mean_squared_error(y, values)), "r2": float(r2_score(y, values))}
    squares = 2 * rounding * float(np.abs(y - values).max()) + rounding**2 + 1e-9
    return scores, {"mean_squared_error": squares, "r2": squares / float(y.var(axis=0).min())}


_SCORES: Mapping[str, Callable[[Array, Floats], tuple[dict[str, float], dict[str, float]]]] = {
    "classification": _of_classes,
    "multilabel": _of_labels,
    "regression": _of_values,
}
