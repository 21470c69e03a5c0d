"""A study from a database imports from the libraries, and from what the user allows; before that, nothing runs."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from foldtune import refs, trust
from foldtune.errors import SpecError
from foldtune.metrics.build import METRIC
from foldtune.search.run import resume_study, run_study
from tests.conftest import Command
from tests.trust.conftest import TREE, Database

HOSTILE = (
    "from pathlib import Path\nimport torch\nPath({canary!r}).touch()\n\n\nclass Net(torch.nn.Linear):\n    pass\n"
)

OUTSIDE = r"a study from a database imports only from torch, torchvision, sklearn, optuna and foldtune, however"
SLOTS = [refs.MODEL, refs.LAYER, refs.LOSS, refs.OPTIMIZER, refs.SCHEDULER, refs.SPLITTER, refs.PREPROCESSING]
SLOTS += [refs.SAMPLER, refs.PRUNER, METRIC]

ATTACKS = [
    "os:system",
    "subprocess:Popen",
    "builtins:exec",
    "pickle:loads",
    "joblib:load",
    "numpy:load",
    "torchmetrics:Metric",
    "torch.hub:load",
    "torch.utils.cpp_extension:load_inline",
    "torch:load",
    "torch.serialization:load",
    "torch.jit:load",
    "torch.nn:os",
    "torch:os.system",
    "torch:nn.Linear",
    "torch.nn.modules.module:torch",
    "torch.utils.data:DataLoader",
    "torch.nn.init:normal_",
    "torchvision.models:get_model",
    "torchvision.models:list_models",
    "torchvision.datasets.utils:download_url",
    "sklearn.datasets:fetch_openml",
    "sklearn.utils:Bunch",
    "optuna:load_study",
    "foldtune.cli.main:main",
    "foldtune.refs:import_module",
    "foldtune.refs:importlib.import_module",
    "foldtune.refs:_import",
    "foldtune:__getattr__",
    "torch._dynamo:OptimizedModule",
    "torch.__config__:show",
    "torch..os:system",
    ".torch:nn",
    "torch/../os:system",
    "torchevil:Net",
    "torch evil:Net",
    "torch.nn:Linear()",
    "torch.nn:__class__",
    "torch.nn:",
    ":system",
    ":",
    "os:",
    "torch.nn:Linear:os",
    "",
]


@pytest.fixture
def hostile(tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module that runs code when it is imported."""
    (tmp_path / "evil_nets.py").write_text(HOSTILE.format(canary=str(canary)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil_nets", raising=False)
    return "evil_nets"


@pytest.mark.parametrize("name", ATTACKS)
def test_no_slot_takes_an_attack(name: str) -> None:
    for slot in SLOTS:
        with pytest.raises(SpecError) as caught, trust.libraries_only():
            refs.resolve(name, slot, ("here",))
        assert [problem.path for problem in caught.value.problems] == [("here",)]


@pytest.mark.parametrize("name", ["os:system", "evil_nets:Net", "torchvisions.models:resnet18", "sklearnx:A"])
def test_what_may_not_be_imported_is_named_with_what_to_do(name: str) -> None:
    package = name.partition(":")[0].partition(".")[0]
    with pytest.raises(SpecError, match=rf"model: {OUTSIDE}: {name}\. .* `--allow-import {package}`"):
        with trust.libraries_only():
            refs.resolve(name, refs.MODEL, ("model",))


def test_nothing_is_imported_before_it_is_allowed(hostile: str, canary: Path) -> None:
    with pytest.raises(SpecError, match=OUTSIDE), trust.libraries_only(["evil", "evil_net", "nets"]):
        refs.resolve(f"{hostile}:Net", refs.MODEL)
    assert not canary.exists() and hostile not in sys.modules
    with trust.libraries_only([hostile]):
        assert refs.resolve(f"{hostile}:Net", refs.MODEL).__name__ == "Net"
    assert canary.exists()


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("torch.nn:Linear", refs.MODEL),
        ("torch.nn:Linear", refs.LAYER),
        ("torchvision.models:resnet18", refs.MODEL),
        ("torchvision.models.segmentation:fcn_resnet50", refs.MODEL),
        ("torchvision.models:ResNet", refs.MODEL),
        ("sklearn.model_selection:KFold", refs.SPLITTER),
        ("sklearn.decomposition:PCA", refs.PREPROCESSING),
        ("optuna.samplers:RandomSampler", refs.SAMPLER),
        ("foldtune.models:MLP", refs.MODEL),
        ("MLP", refs.MODEL),
        ("AdamW", refs.OPTIMIZER),
    ],
)
def test_classes_of_the_libraries_stay_free(name: str, slot: refs.Slot) -> None:
    with trust.libraries_only():
        assert callable(refs.resolve(name, slot))


def test_what_a_library_only_passes_on_is_not_its_own(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with trust.libraries_only([hostile]):
        net = refs.resolve(f"{hostile}:Net", refs.MODEL)
    monkeypatch.setattr("torch.nn.Smuggled", net, raising=False)
    for name in ("torch.nn:Smuggled", "Smuggled"):
        with pytest.raises(SpecError, match=OUTSIDE), trust.libraries_only():
            refs.resolve(name, refs.LAYER)


def test_references_inside_of_arguments_are_held_to_the_same(hostile: str, canary: Path) -> None:
    inner = {"use": f"{hostile}:Net"}
    node = {"use": "Sequential", "layers": ["ReLU", {"use": "TransformerEncoderLayer", "activation": [inner]}]}
    with trust.libraries_only():
        problems = refs.check(node, refs.MODEL, ("model",), frozenset({"input_shape", "out_features"}))
        with pytest.raises(SpecError, match=OUTSIDE):
            refs.build(node, refs.MODEL, ("model",))
        with pytest.raises(SpecError, match=OUTSIDE):  # a bare text that the class looks up itself
            refs.build({"use": "MLP", "activation": f"{hostile}:Net", "in_features": 2, "out_features": 2}, refs.MODEL)
    assert ("model", "layers", 1, "activation", 0) in [problem.path for problem in problems]
    assert not canary.exists()


def test_a_class_that_would_unpickle_a_folder_does_not_get_it(tmp_path: Path) -> None:
    node = {"use": "sklearn.cluster:FeatureAgglomeration", "memory": str(tmp_path)}
    with pytest.raises(
        SpecError, match=r"x\.memory: a study from a database may not give `memory`, a folder of pickles"
    ):
        with trust.libraries_only():
            refs.build(node, refs.PREPROCESSING, ("x",))
    assert refs.build(node, refs.PREPROCESSING).memory == str(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "a b", "a..b", "os;", "*", "my-pkg", "../x", "a:b"])
def test_an_allowed_prefix_is_a_name(name: str) -> None:
    with pytest.raises(SpecError, match="an allowed import is the name of a package or module, however"):
        trust.prefixes([name])


def test_the_narrower_of_two_rules_holds_and_ends_with_its_block() -> None:
    assert trust.in_force() is None
    with trust.libraries_only(["a", "b.c"]):
        with trust.libraries_only(["a.x", "b"]):
            assert trust.in_force() == ("b.c", "a.x")
        assert trust.in_force() == ("a", "b.c")
    assert trust.in_force() is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model",), {"use": "evil_nets:Net"}),
        (("model",), {"use": "Sequential", "layers": [{"use": "evil_nets:Net"}]}),
        (("model", "activation"), "evil_nets:Net"),
        (("model", "activation"), {"choice": ["ReLU", "evil_nets:Net"]}),
        (("loss",), {"use": "evil_nets:Net"}),
        (("optimizer",), {"use": "evil_nets:Net"}),
        (("scheduler",), {"use": "evil_nets:Net"}),
        (("preprocessing",), {"numeric": [{"use": "evil_nets:Net"}]}),
        (("validation",), {"use": "evil_nets:Net"}),
        (("objective",), [{"use": "evil_nets:Net", "direction": "minimize"}]),
        (("metrics",), [{"use": "evil_nets:Net", "direction": "minimize"}]),
        (("search", "sampler"), {"use": "evil_nets:Net"}),
        (("search", "pruner"), {"use": "PatientPruner", "patience": 1, "wrapped_pruner": {"use": "evil_nets:Net"}}),
        (("data",), {"use": "evil_nets:Net"}),
    ],
)
def test_a_stored_study_with_a_foreign_class_is_refused(
    database: Database,
    foldtune: Command,
    hostile: str,
    canary: Path,
    path: tuple[str, ...],
    value: Any,
) -> None:
    database.plant(*path, value=value)
    code, err, _ = foldtune("resume", "victim", "--trials", "3", "--workers", "0")
    assert code == 2
    assert "a study from a database imports only from torch" in err and "evil_nets:Net" in err
    assert f"error: {path[0]}" in err and "`--allow-import evil_nets`" in err
    assert not canary.exists()


def test_data_of_a_stored_study_come_from_no_function_of_a_library(database: Database, foldtune: Command) -> None:
    for name in ("sklearn.datasets:fetch_openml", "torch.utils.data:DataLoader", "torch.hub:load"):
        database.plant("data", value={"use": name})
        code, err, _ = foldtune("resume", "victim", "--trials", "3", "--workers", "0")
        assert code == 2 and "data.use: a study from a database may name classes" in err


@pytest.mark.parametrize("command", ["resume", "run"])
@pytest.mark.parametrize(
    ("column", "path", "value"),
    [
        ("config", ("model", "use"), "evil_nets:Net"),
        ("config", ("model", "activation"), "evil_nets:Net"),
        ("config", ("optimizer",), {"use": "evil_nets:Net"}),
        ("params", ("model.d_block",), {"use": "evil_nets:Net"}),
        ("params", ("model.d_block",), 5000),
        ("params", ("model.d_bloc",), 5),
    ],
)
def test_a_stored_trial_that_the_study_cannot_ask_for_is_refused(
    database: Database,
    foldtune: Command,
    hostile: str,
    canary: Path,
    command: str,
    column: str,
    path: tuple[str, ...],
    value: Any,
) -> None:
    database.plant(*path, value=value, table="trials", column=column)
    database.write("trials", "state", "running")
    database.write("trials", "finished_at", None)
    Path("study.yaml").write_text(json.dumps(TREE))
    code, err, _ = foldtune(command, "victim" if command == "resume" else "study.yaml", "--workers", "0")
    seen = ("trials.0: a stored trial must be one that the study can ask for, however", f"foldtune_trials.{column}: ")
    assert code == 2 and any(words in err for words in seen)
    assert not canary.exists()


@pytest.mark.parametrize("spec", ["[]", "3", "{}", '{"data": 1}', '{"data": {}, "search": []}', "null", '"x"'])
def test_a_stored_study_of_no_known_shape_is_refused(database: Database, foldtune: Command, spec: str) -> None:
    database.write("studies", "spec", spec)
    code, err, _ = foldtune("resume", "victim", "--workers", "0")
    seen = (
        "a stored study must be a mapping of sections",
        "foldtune_studies.spec: a stored value must be of its column",
    )
    assert code == 2 and any(words in err for words in seen)


def test_what_may_not_be_allowed_is_said_before_the_database_is_read(foldtune: Command) -> None:
    code, err, _ = foldtune("resume", "victim", "--allow-import", "../x")
    assert code == 2 and "an allowed import is the name of a package or module, however: '../x'" in err


OWN = """\
import torch


class Net(torch.nn.Linear):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
"""


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_users_own_class_is_free_in_the_file_and_allowed_by_name_in_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = f"own_net_{workers}"
    (tmp_path / f"{module}.py").write_text(OWN)
    tree = {**TREE, "name": "own", "model": {"use": f"{module}:Net"}, "search": {"trials": 1}}
    url = f"sqlite:///{tmp_path / 'own.db'}"
    run_study(tree, storage=url, workers=workers)
    assert run_study(tree, storage=url, workers=workers, overrides=["search.trials=2"]).finished == 2
    with pytest.raises(SpecError, match=f"model: {OUTSIDE}: {module}:Net"):
        resume_study("own", storage=url, workers=workers, overrides=["search.trials=3"])
    again = resume_study("own", storage=url, workers=workers, overrides=["search.trials=3"], allow_imports=[module])
    assert [trial.state for trial in again.trials] == ["complete"] * 3
    assert trust.in_force() is None


@pytest.mark.slow
def test_training_processes_are_held_to_the_same(tmp_path: Path, hostile: str, canary: Path) -> None:
    from foldtune.errors import FoldtuneError
    from foldtune.search.plan import make_plan
    from foldtune.search.process import training_processes
    from foldtune.spec.load import load_spec
    from foldtune.values import Job

    with training_processes(1) as (process,):
        plan = make_plan(load_spec(TREE))
        process.start()
        with trust.libraries_only():
            process.send("setup", plan.setup("cpu"), None)
        process.wait_until_ready()
        config = {**plan.checked.default_config.model_dump(mode="json"), "model": {"use": f"{hostile}:Net"}}
        process.send("add", Job(0, config, plan.folds))
        try:
            (report,) = process.call("step")
            said = report.failure.message
        except FoldtuneError as error:
            said = str(error)
    assert "a study from a database imports only from torch" in said
    assert not canary.exists()
