import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from foldtune import refs
from foldtune.errors import SpecError

WriteModule = Callable[[str, str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """Writes an importable module; its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


@pytest.mark.parametrize(
    ("name", "slot", "home"),
    [
        ("AdamW", refs.OPTIMIZER, "torch.optim"),
        ("OneCycleLR", refs.SCHEDULER, "torch.optim.lr_scheduler"),
        ("MSELoss", refs.LOSS, "torch.nn"),
        ("GELU", refs.LAYER, "torch.nn"),
        ("GroupKFold", refs.SPLITTER, "sklearn.model_selection"),
        ("StandardScaler", refs.PREPROCESSING, "sklearn.preprocessing"),
        ("SimpleImputer", refs.PREPROCESSING, "sklearn.impute"),
        ("TPESampler", refs.SAMPLER, "optuna.samplers"),
        ("MedianPruner", refs.PRUNER, "optuna.pruners"),
        ("MLP", refs.MODEL, "foldtune.models"),
    ],
)
def test_a_bare_name_comes_from_its_slots_home(name: str, slot: refs.Slot, home: str) -> None:
    assert refs.resolve(name, slot).__module__.startswith(home)


@pytest.mark.parametrize(
    ("name", "slot", "message"),
    [
        ("AdmaW", refs.OPTIMIZER, r"there is no optimizer `AdmaW` in torch\.optim\. Did you mean AdamW"),
        ("Linear", refs.LOSS, r"there is no loss `Linear` in torch\.nn"),
        ("lr_scheduler", refs.OPTIMIZER, "there is no optimizer `lr_scheduler`"),
        ("_LRScheduler", refs.SCHEDULER, "there is no scheduler `_LRScheduler`"),
        ("Forest", refs.MODEL, r"There are .*MLP, Sequential, TabularResNet\. A class of your own is written `package"),
        ("torch.nn.Linear", refs.MODEL, r"written `torch\.nn:Linear`"),
        ("torch.nn:Lineer", refs.MODEL, r"`torch\.nn` has no `Lineer`\. Did you mean Linear"),
        ("torch.nn:Linear", refs.OPTIMIZER, r"an optimizer must be a subclass of torch\.optim\.Optimizer, however"),
        ("torch.nn:Linear", refs.SPLITTER, "a splitter must be a class with split and get_n_splits"),
        ("no_such_package:Net", refs.MODEL, r"must be importable, however: No module named 'no_such_package'"),
        (":Net", refs.MODEL, "a class of your own is written `package.module:Name`, however: ':Net'"),
        ("IterativeImputer", refs.PREPROCESSING, "`IterativeImputer` must be importable, however: .*experimental"),
    ],
)
def test_an_unknown_or_unfit_name_is_refused_with_what_to_do(name: str, slot: refs.Slot, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        refs.resolve(name, slot, ("here",))
    assert [problem.path for problem in caught.value.problems] == [("here",)]


def test_abstract_bases_are_not_suggested() -> None:
    with pytest.raises(SpecError) as caught:
        refs.resolve("BaseSamplr", refs.SAMPLER)
    assert "BaseSampler" not in str(caught.value)


def test_a_use_that_is_no_text_is_refused() -> None:
    with pytest.raises(SpecError, match="`use` must name a class, however: 3"):
        refs.resolve(3, refs.MODEL)  # type: ignore[arg-type]


def test_every_wrong_argument_is_found_nested_ones_too() -> None:
    node = {"use": "MLP", "d_blok": 1, "activation": {"use": "LeakyReLU", "slope": 1}, "norm": {"use": "LayerNrm"}}
    found = {problem.path: problem.text() for problem in refs.check(node, refs.MODEL, ("model",), frozenset({"d_in"}))}
    assert set(found) >= {("model", "d_blok"), ("model", "activation", "slope"), ("model", "norm")}
    assert "Did you mean d_block" in found["model", "d_blok"]
    assert "It takes negative_slope, inplace" in found["model", "activation", "slope"]
    assert "there is no layer `LayerNrm`" in found["model", "norm"]


def test_an_argument_without_default_is_needed_unless_it_is_filled_in() -> None:
    node = {"use": "StepLR"}
    assert [p.rule for p in refs.check(node, refs.SCHEDULER, (), frozenset({"optimizer"}))] == [
        "`StepLR` needs the argument `step_size`"
    ]
    assert refs.check(node, refs.SCHEDULER, (), frozenset({"optimizer", "step_size"})) == []


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
def test_arguments_of_recurrent_layers_are_known_although_torch_hides_them(layer: str) -> None:
    assert refs.check({"use": layer, "hidden_size": 4, "batch_first": True}, refs.LAYER, ()) == []
    (problem,) = refs.check({"use": layer, "hidden_size": 4, "num_layer": 2}, refs.LAYER, ())
    assert problem.hint == "Did you mean num_layers?"
    built = refs.build({"use": layer, "hidden_size": 4}, refs.LAYER)
    assert isinstance(built, partial) and built(input_size=2).hidden_size == 4


def test_a_reference_is_a_name_or_a_use_mapping() -> None:
    assert [p.text() for p in refs.check(3, refs.OPTIMIZER, ("optimizer",))] == [
        "optimizer: an optimizer is a class's name or a mapping with `use`, however: 3."
    ]


def test_inner_references_are_built_first_and_texts_stay_texts() -> None:
    built = refs.build(
        {"use": "torch.nn:TransformerEncoderLayer", "d_model": 4, "nhead": 2, "activation": {"use": "GELU"}}, refs.LAYER
    )
    assert isinstance(built.activation, nn.GELU)
    plain = refs.build({"use": "GELU", "approximate": "tanh"}, refs.LAYER)
    assert plain.approximate == "tanh"


def test_fill_is_used_only_where_an_argument_is_taken_and_left_out() -> None:
    fill = {"in_features": 3, "out_features": 2, "nonsense": 1}
    built = refs.build({"use": "torch.nn:Linear", "out_features": 5}, refs.MODEL, fill=fill)
    assert (built.in_features, built.out_features) == (3, 5)


@pytest.mark.parametrize(
    ("node", "slot", "path", "message"),
    [
        ({"use": "Dropout", "p": 2}, refs.LAYER, (), "`Dropout` must accept its arguments, however: .*between 0 and 1"),
        (
            {"use": "Dropout", "p": "half"},
            refs.LAYER,
            ("p",),
            "must be a number, as its default 0.5 is, however: 'half'",
        ),
        ({"use": "Dropout", "p": {"flaot": [0, 1]}}, refs.LAYER, ("p",), "Did you mean float"),
    ],
)
def test_refused_arguments_are_found(node: Any, slot: refs.Slot, path: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        refs.build(node, slot, ("x",))
    assert caught.value.problems[0].path == ("x", *path)


def test_a_bare_name_that_a_class_looks_up_itself_is_reported_at_its_place() -> None:
    node = {"use": "Sequential", "layers": ["ReLU", "Relu"], "input_shape": (3,), "out_features": 3}
    with pytest.raises(SpecError, match="there is no layer `Relu`") as caught:
        refs.build(node, refs.MODEL, ("model",))
    assert caught.value.problems[0].path == ("model", "layers", 1)


def test_errors_of_a_users_code_name_its_line(module: WriteModule) -> None:
    broken = "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        self.width = 1 / 0\n"
    with pytest.raises(SpecError, match=r"ZeroDivisionError: division by zero \(broken_net\.py:6\)"):
        refs.build({"use": f"{module('broken_net', broken)}:Net"}, refs.MODEL)
    with pytest.raises(SpecError, match=r"must be importable, however: .*no_such_thing.* \(broken_import\.py:2\)"):
        refs.resolve(f"{module('broken_import', chr(10) + 'import no_such_thing')}:Net", refs.MODEL)
    with pytest.raises(SpecError, match=r"must be importable, however: .*broken_syntax\.py, line 1"):
        refs.resolve(f"{module('broken_syntax', 'class Net(:')}:Net", refs.MODEL)


def test_a_class_with_open_arguments_is_checked_when_it_is_built(module: WriteModule) -> None:
    text = "from torch.nn import Linear\n\n\nclass Open(Linear):\n    def __init__(self, **kw):\n"
    text += "        super().__init__(2, 2, **kw)\n"
    node = {"use": f"{module('open_net', text)}:Open", "bais": False}
    assert refs.check(node, refs.MODEL, ()) == []
    with pytest.raises(SpecError, match="unexpected keyword argument 'bais'"):
        refs.build(node, refs.MODEL)


def test_a_model_may_be_a_function(module: WriteModule) -> None:
    text = "import torch\n\n\ndef net(width: int):\n    return torch.nn.Linear(width, 1)\n"
    assert refs.build({"use": f"{module('function_net', text)}:net", "width": 3}, refs.MODEL).in_features == 3
    with pytest.raises(SpecError, match=r"must be a subclass of torch\.optim\.Optimizer"):
        refs.resolve("function_net:net", refs.OPTIMIZER)


def test_a_folder_becomes_importable_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    refs.importable(str(tmp_path))
    refs.importable(str(tmp_path))
    assert sys.path.count(str(tmp_path)) == 1 and sys.path[-1] == str(tmp_path)
