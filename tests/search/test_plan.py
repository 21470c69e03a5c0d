from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldtune import space
from foldtune.errors import DataError, RequestError, SpecError
from foldtune.search.plan import Plan, make_plan
from foldtune.spec.load import read_spec, validate

STUDY: dict[str, Any] = {
    "name": "plan",
    "data": {"use": "make_classification", "n_samples": 60, "n_features": 4, "random_state": 0},
    "model": {"use": "MLP", "n_blocks": 1, "d_block": 8},
    "training": {"epochs": 2},
}


def plan(**sections: Any) -> Plan:
    return make_plan(read_spec({**STUDY, **sections}))


def problems(**sections: Any) -> dict[str, str]:
    """What is wrong, by path."""
    with pytest.raises(RequestError) as caught:
        plan(**sections)
    return {".".join(map(str, problem.path)): problem.text() for problem in caught.value.problems}


def table(folder: Path, rows: int = 30) -> Mapping[str, Any]:
    lines = [f"{i},{'no' if i % 2 else 'yes'}" for i in range(rows)]
    (folder / "t.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    return {"table": str(folder / "t.csv"), "target": "y"}


def test_a_plan_is_the_same_every_time_and_complete() -> None:
    first, second = plan(), plan()
    assert first.tree == second.tree and validate(first.tree) == first.spec
    assert first.split_fingerprint == second.split_fingerprint
    assert first.data_fingerprint == second.data_fingerprint
    assert first.metrics[0].label == "log_loss" and first.directions == ("minimize",)
    assert len(first.folds) == 5 and len(first.locked) == 0
    assert space.configure(first.space, space.defaults(first.space))["model"]["use"] == "MLP"


def test_locked_rows_are_in_no_fold() -> None:
    made = plan(data={**STUDY["data"], "test_fraction": 0.2})
    assert len(made.locked) == 12 and made.dataset.n_rows == 48
    assert np.unique(np.concatenate([fold.valid for fold in made.folds])).tolist() == list(range(48))


def test_another_seed_splits_otherwise() -> None:
    assert plan(search={"seed": 1}).split_fingerprint != plan().split_fingerprint


def test_parameters_are_counted_over_all_corners() -> None:
    checked = plan(model={"use": "MLP", "n_blocks": 1, "d_block": {"int": [2, 8]}, "norm": None}).checked
    few, many = (4 * d + d + 2 * d + 2 for d in (2, 8))
    assert (checked.fewest, checked.most) == (few, many) and few < checked.default < many


def test_problems_of_all_kinds_come_at_once(tmp_path: Path) -> None:
    found = problems(
        data={"table": "gone.csv", "target": "y"},
        validation={"use": "StratifiedKFold", "splits": 3},
        objective="logloss",
        metrics=["accuracy", {"use": "f1", "avg": "macro"}],
        model={"choice": [{"use": "MLP", "d_blok": 8, "dropout": {"float": [1, 0]}}, {"use": "Nett"}]},
        loss="CrossEntropy",
        optimizer={"use": "SGD", "lr": -1},
        scheduler={"choice": []},
        regularization={"clipnorm": 1},
        preprocessing={"numeric": ["StandardScalar"]},
        training={"epochs": "many"},
        search={"trails": 3, "sampler": "TPE", "pruner": "WilcoxonPruner"},
    )
    assert set(found) == {
        "data.table",
        "validation.splits",
        "objective",
        "metrics.1.avg",
        "model.choice.0.d_blok",
        "model.choice.0.dropout",
        "model.choice.1",
        "loss",
        "optimizer",
        "scheduler",
        "regularization.clipnorm",
        "preprocessing.numeric.0",
        "training.epochs",
        "search.trails",
        "search.sampler",
        "search.pruner",
    }


def test_a_problem_that_only_follows_from_another_is_not_reported(tmp_path: Path) -> None:
    assert set(problems(scheduler={"use": "StepLR", "step_size": {"int": [9, 1]}})) == {"scheduler.step_size"}
    found = problems(optimizer={"use": "SGD", "lr": {"float": [1, 0.1]}}, search={"enqueue": [{"optimizer.lr": 0.5}]})
    assert set(found) == {"optimizer.lr"}


def test_columns_are_not_looked_for_when_the_reader_was_misled(tmp_path: Path) -> None:
    assert set(problems(data={**table(tmp_path), "target": "z", "seperator": ";"})) == {"data.seperator"}


def test_the_kind_of_error_says_what_is_to_be_changed(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        plan(data={**table(tmp_path), "target": "z"})
    for wrong in ({"model": "Nett"}, {"search": {"trails": 1}}, {"objective": "logloss"}, {"scheduler": "StepLR"}):
        with pytest.raises(SpecError):
            plan(**wrong)


def test_names_of_metrics_are_checked_although_the_task_is_not_known() -> None:
    gone = {"table": "gone.csv", "target": "y"}
    assert set(problems(data=gone, objective="r2")) == {"data.table"}
    assert set(problems(data=gone, objective="roc_auc")) == {"data.table"}
    assert set(problems(data=gone, objective="rocauc")) == {"data.table", "objective"}
    assert set(problems(data={**gone, "task": "regression"}, objective="roc_auc")) == {"data.table", "objective"}


def test_objectives_are_different() -> None:
    assert "an objective can stand only once" in problems(objective=["log_loss", "log_loss"])["objective.1"]
    assert plan(objective=["log_loss", "accuracy"], metrics=["log_loss"]).n_objectives == 2


@pytest.mark.parametrize(
    ("layers", "path", "text"),
    [
        ([{"use": "LSTM", "hiden_size": 4}, "Linear"], "model.layers.0.hiden_size", "Did you mean hidden_size"),
        (
            [{"use": "torch.nn:LSTM", "hiden_size": 4}, "Linear"],
            "model.layers.0.hiden_size",
            "Did you mean hidden_size",
        ),
        ([{"use": "LSTM", "hidden_size": 4}, "Linear"], "model", "its answer is a tuple, not a tensor"),
        ([{"use": "Linear", "in_features": 9, "out_features": 2}], "model", "layer 0"),
        ([{"use": "Linear", "out_features": 9}], "model", "leave its out_features out"),
        (["Relu", "Linear"], "model.layers.0", "there is no layer `Relu`"),
        ([{"use": "Linear", "out_features": {"choice": [2, "x"]}}, "Linear"], "model", "`Sequential` must accept"),
    ],
)
def test_nets_are_built_before_any_training(layers: list[Any], path: str, text: str) -> None:
    assert text in problems(model={"use": "Sequential", "layers": layers})[path]


def test_every_reachable_branch_is_built() -> None:
    found = problems(
        model={
            "choice": {
                "good": {"use": "MLP", "d_block": 4},
                "bad": {"use": "MLP", "dropout": {"choice": [0.1, 2]}},
                "worse": {"use": "Sequential", "layers": [{"use": "Linear", "out_features": {"int": [2, 3]}}]},
            }
        },
        optimizer={"choice": [{"use": "SGD", "lr": 0.1}, {"use": "Adam", "lr": {"float": [-1, 1]}}]},
    )
    assert set(found) == {"model.choice.bad", "model.choice.worse", "optimizer.choice.1"}


@pytest.mark.parametrize(
    ("sections", "path", "text"),
    [
        ({"loss": "MSELoss"}, "loss", "a classification target needs one of CrossEntropyLoss"),
        (
            {"loss": "BCEWithLogitsLoss", "data": {"use": "iris"}},
            "loss",
            "`BCEWithLogitsLoss` needs a target with two classes, however: 3 classes. Use CrossEntropyLoss.",
        ),
        (
            {"scheduler": "ReduceLROnPlateau", "validation": {"use": "ShuffleSplit", "n_splits": 1}},
            "scheduler",
            "`ReduceLROnPlateau` reads the other folds' scores, and there is only one fold",
        ),
        (
            {
                "scheduler": {"use": "torch.optim.lr_scheduler:ReduceLROnPlateau"},
                "validation": {"use": "ShuffleSplit", "n_splits": 1},
            },
            "scheduler",
            "there is only one fold",
        ),
        ({"optimizer": {"use": "SGD", "lr": "1e-4"}}, "optimizer.lr", "must be a number, as its default 0.001 is"),
        ({"optimizer": {"use": "SGD", "nesterov": True}}, "optimizer", "Nesterov momentum requires a momentum"),
        ({"data": {"use": "irris"}}, "data.use", "there is no data set `irris`. Did you mean iris?"),
        ({"data": {"use": "make_moons", "samples": 9}}, "data.samples", "Did you mean n_samples?"),
        ({"validation": {"use": "GroupKFold"}}, "validation", "`GroupKFold` needs groups"),
        ({"validation": {"use": "LeavePOut"}}, "validation", "`LeavePOut` needs the argument `p`"),
        ({"data": {"use": "iris", "test": "gone.csv"}}, "data.test", "the locked test file must exist"),
    ],
)
def test_what_does_not_go_together_is_refused(sections: dict[str, Any], path: str, text: str) -> None:
    assert text in problems(**sections)[path]


def test_nets_are_checked_although_the_rows_cannot_be_split() -> None:
    found = problems(validation={"use": "GroupKFold"}, model={"use": "MLP", "dropout": 2})
    assert set(found) == {"validation", "model"}


def test_a_locked_file_is_read_when_asked_for(tmp_path: Path) -> None:
    data = {**table(tmp_path), "test": "t2.csv"}
    (tmp_path / "t2.csv").write_text("z,y\n1,yes\n")
    file = read_spec({**STUDY, "data": data}, folder=tmp_path)
    made = make_plan(file)
    with pytest.raises(DataError, match=r"^data\.test: .* it lacks `x`"):
        made.locked_dataset()
    (tmp_path / "t2.csv").write_text("y,x\nyes,99\n")
    whole, fold = make_plan(file).with_locked()
    assert whole.n_rows == 31 and fold.train.tolist() == list(range(30)) and fold.valid.tolist() == [30]
    assert whole.numeric[30, 0] == 99 and whole.target[30] == 1


def test_locked_rows_follow_the_development_rows() -> None:
    made = plan(data={**STUDY["data"], "test_fraction": 0.2})
    whole, fold = made.with_locked()
    everything = plan().dataset
    assert np.array_equal(whole.numeric[fold.valid], everything.numeric[made.locked])
    assert np.array_equal(whole.numeric[fold.train], made.dataset.numeric)


def test_without_locked_rows_there_is_no_test() -> None:
    assert plan().locked_dataset() is None
    with pytest.raises(DataError, match=r"^data\.test_fraction: rows must be locked away for a test"):
        plan().with_locked()


def test_columns_that_a_splitter_names_are_no_features(tmp_path: Path) -> None:
    lines = [f"{i},{i % 2},{i % 3 - 1},2024-01-{i + 1:02},2024-01-{i + 3:02}" for i in range(28)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,fold,day,known", *lines]) + "\n")
    data = {"table": str(tmp_path / "t.csv"), "target": "y", "drop": ["day", "known"]}
    made = plan(data=data, validation={"use": "PredefinedSplit", "test_fold": "fold"})
    assert made.dataset.numeric_names == ("x",) and made.tree["validation"]["test_fold"] == "fold"
    assert [fold.valid.tolist() for fold in made.folds] == [list(range(1, 28, 3)), list(range(2, 28, 3))]
    purged = {"use": "PurgedTimeSeriesSplit", "n_splits": 3, "label_end": "known"}
    made = plan(data={**data, "drop": ["fold"], "time": "day"}, validation=purged)
    assert made.dataset.numeric_names == ("x",)
    assert [(fold.train[-1], fold.valid[0]) for fold in made.folds] == [(4, 7), (11, 14), (18, 21)]


@pytest.mark.parametrize(
    ("validation", "cell", "text"),
    [
        ({"use": "PredefinedSplit", "test_fold": "folds"}, "0", "must be there, however: 'folds'. Did you mean"),
        ({"use": "PredefinedSplit", "test_fold": "fold"}, "", "`fold` must hold a number or an ISO 8601 date"),
        ({"use": "PredefinedSplit", "test_fold": "fold"}, "first", "for every row, however: 'first' in 1 of 9 rows"),
        ({"use": "PredefinedSplit", "test_fold": "fold"}, "0.5", "folds must be whole numbers from 0, or -1"),
    ],
)  # fmt: skip
def test_columns_that_a_splitter_names_are_checked(
    validation: Mapping[str, Any], cell: str, text: str, tmp_path: Path
) -> None:
    rows = [f"{i},{i % 2},{i % 2}" for i in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,fold", *rows, f"9,1,{cell}"]) + "\n")
    found = problems(data={"table": str(tmp_path / "t.csv"), "target": "y"}, validation=validation)
    assert text in found["validation.test_fold"]


def test_an_array_may_hold_the_folds(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    np.savez(tmp_path / "a.npz", X=rng.rand(12, 3), y=np.arange(12) % 2, split=np.arange(12) // 6)
    made = plan(data={"arrays": str(tmp_path / "a.npz")}, validation={"use": "PredefinedSplit", "test_fold": "split"})
    assert [fold.valid.tolist() for fold in made.folds] == [list(range(6)), list(range(6, 12))]


def test_rows_locked_away_take_their_predefined_folds_with_them(tmp_path: Path) -> None:
    lines = [f"{i},{i % 2},{i // 10}" for i in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,fold", *lines]) + "\n")
    data = {"table": str(tmp_path / "t.csv"), "target": "y", "test_fraction": 0.2, "task": "classification"}
    made = plan(data=data, validation={"use": "PredefinedSplit", "test_fold": "fold"})
    for number, fold in enumerate(made.folds):
        assert set(made.dataset.numeric[fold.valid, 0] // 10) == {number}
