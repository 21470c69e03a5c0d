from pathlib import Path
from typing import Any

import pytest

from foldtune.errors import SpecError
from foldtune.spec.domains import Choice, Float
from foldtune.spec.load import load_spec, read_spec, validate

STUDY: dict[str, Any] = {"name": "a", "data": {"use": "iris"}, "model": "MLP"}
TEXT = "name: a\ndata: {use: iris}\nmodel:\n  use: MLP\n  dropout: {float: [0, 0.5]}\noptimizer: SGD\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(TEXT)
    return tmp_path / "study.yaml"


def test_a_file_and_a_dict_are_the_same_study(file: Path) -> None:
    from_file, from_dict = load_spec(file), load_spec(load_spec(file).tree)
    assert from_file.spec == from_dict.spec
    assert from_file.spec.model["dropout"] == Float(0.0, 0.5)
    assert from_file.folder == file.parent and from_dict.folder == Path.cwd()
    assert load_spec(file, folder="/elsewhere").folder == Path("/elsewhere")


def test_only_name_data_and_model_must_be_given() -> None:
    assert load_spec(STUDY).spec.search.trials == 100
    with pytest.raises(SpecError) as caught:
        load_spec({})
    assert str(caught.value).splitlines() == [
        "name: the key `name` must be given.",
        "data: the key `data` must be given.",
        "model: the key `model` must be given.",
    ]


@pytest.mark.parametrize("section", ["search", "data", "validation", "objective", "metrics"])
def test_only_some_sections_can_be_searched(section: str) -> None:
    nodes: dict[str, Any] = {
        "search": {"trials": {"int": [1, 3]}},
        "data": {"use": "make_moons", "noise": {"float": [0, 1]}},
        "validation": {"use": "KFold", "n_splits": {"int": [2, 3]}},
        "objective": {"choice": ["log_loss", "accuracy"]},
        "metrics": [{"use": "f1", "average": {"choice": ["macro", "micro"]}}],
    }
    with pytest.raises(SpecError, match=f"^{section}.*: only model, loss, .* can be searched. Write a plain value.$"):
        load_spec({**STUDY, section: nodes[section]})


def test_all_problems_of_the_shape_come_at_once_with_their_lines(file: Path) -> None:
    file.write_text(TEXT.replace("[0, 0.5]", "[1, 0.5]") + "optimiser: Adam\nsearch:\n  trails: 3\n  timeout: soon\n")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert [line.removeprefix(str(file)).split(":")[1:3] for line in str(caught.value).splitlines()] == [
        ["5", " model.dropout"],
        ["7", " optimiser"],
        ["9", " search.trails"],
        ["10", " search.timeout"],
    ]


def test_read_spec_keeps_the_rest_of_a_wrong_file() -> None:
    wrong = {
        **STUDY,
        "search": {"trails": 3, "seed": 7},
        "data": 3,
        "model": {"use": "MLP", "dropout": {"float": [1, 0]}},
    }
    file = read_spec(wrong)
    assert {problem.path for problem in file.problems} == {("search", "trails"), ("data",), ("model", "dropout")}
    assert file.spec.search.seed == 7 and file.tree["model"] == {"use": "MLP"}
    assert validate(file.tree) == file.spec
    assert wrong["data"] == 3


def test_read_spec_gives_up_on_nothing() -> None:
    assert len(read_spec({"name": None, "model": {"choice": []}, "zzz": 1, 3: 4}).problems) >= 4  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("search.trials=5", ("search", "trials"), 5),
        ("search.timeout=2h", ("search", "timeout"), "2h"),
        ("optimizer.lr=1e-4", ("optimizer",), {"use": "SGD", "lr": 1e-4}),
        ("optimizer.use=Adam", ("optimizer",), {"use": "Adam"}),
        ("optimizer=Adam", ("optimizer",), "Adam"),
        ("optimizer={use: Adam, lr: {float: [0.1, 1]}}", ("optimizer", "lr"), {"float": [0.1, 1]}),
        ("model.dropout=null", ("model", "dropout"), None),
        ("loss.label_smoothing=0.1", ("loss",), {"label_smoothing": 0.1}),
        ("model.dropout.float.1=0.9", ("model", "dropout", "float"), [0, 0.9]),
        ("name= b", ("name",), "b"),
    ],
)
def test_an_override_replaces_a_part(file: Path, override: str, path: tuple[str, ...], value: Any) -> None:
    node: Any = read_spec(file, overrides=[override]).tree
    for part in path:
        node = node[part]
    assert node == value


def test_another_class_takes_none_of_the_old_ones_arguments(file: Path) -> None:
    overrides = ["model.use=TabularResNet", "model.d_block=8"]
    assert load_spec(file, overrides=overrides).tree["model"] == {"use": "TabularResNet", "d_block": 8}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.trials", "an override is written `path=value`, however: 'search.trials'. As in --set search.trials=5"),
        ("=5", "an override is written `path=value`"),
        ("model.dropout.float.7=1", r"model\.dropout\.float\.7: a list of 2 has the places 0 to 1, however: "),
        ("search.trials=5.x", "this must be a whole number, however: '5.x'"),
        ("optimizer.lr=[1", r"^optimizer\.lr: the value must be valid YAML, however: optimizer\.lr=\[1\.$"),
    ],
)
def test_wrong_overrides_are_refused(file: Path, override: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_spec(file, overrides=[override])


def test_what_the_command_line_gave_is_not_blamed_on_the_file(file: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(file, overrides=["search.trials=0", "optimizer=3", "zzz=1"])
    assert str(caught.value).splitlines() == [
        "command line: search.trials: this must be greater than 0, however: 0.",
        "command line: zzz: there is no key `zzz` here. Known here: name, data, validation, preprocessing, "
        "augmentation, objective, metrics, model, loss, optimizer, scheduler, regularization, training, search.",
    ]


def test_labels_tell_branches_of_one_class_apart() -> None:
    model = {"choice": {"small": {"use": "MLP", "d_block": 8}, "deep": {"use": "MLP", "n_blocks": 4}}}
    tree = load_spec({**STUDY, "model": model}).spec.model
    assert isinstance(tree, Choice) and tree.labels == ("small", "deep")
