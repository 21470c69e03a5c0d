"""What a newcomer may get wrong, and what the command line then says: exit code 2, and nothing written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from foldtune.cli.main import main

BASE = {
    "name": "bad",
    "data": "{use: iris}",
    "model": "{use: MLP, n_blocks: 1, d_block: 8}",
    "training": "{epochs: 1}",
    "search": "{trials: 1}",
}
ROWS = [f"{i},{i % 3},{'no' if i % 2 else 'yes'}" for i in range(40)]
TABLE = "{table: t.csv, target: y}"


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    err: str
    out: str


Command = Callable[..., Answer]


@pytest.fixture
def foldtune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("FOLDTUNE_STORAGE", raising=False)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["foldtune", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return Answer(code, err, out)

    return run


def write(**sections: str | None) -> str:
    """Write the study file, a section a line; what a section is, or None to leave it out."""
    lines = {**BASE, **sections}
    Path("study.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None))
    return "study.yaml"


def csv(*rows: str) -> None:
    Path("t.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")


def refused(answer: Answer, *said: str) -> None:
    """A request was refused: exit code 2, every text on stderr, no traceback, no database."""
    code, err, _ = answer
    assert code == 2, err
    assert [text for text in said if text not in err] == [], err
    *problems, last = err.splitlines()
    assert all(line.startswith("error: ") for line in problems)
    assert last == f"{len(problems)} problems; nothing was run or written." if problems else last.startswith("error: ")
    assert not list(Path().glob("*.db*"))


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_file(foldtune: Command, command: str) -> None:
    refused(foldtune(command, "gone.yaml"), "error: the study file must exist, however: gone.yaml. Check the name")


@pytest.mark.parametrize("command", ["run", "check"])
def test_an_empty_file(foldtune: Command, command: str) -> None:
    Path("study.yaml").write_text("")
    refused(
        foldtune(command, "study.yaml"), "study.yaml:1: a study file must not be empty", "`name`, `data` and `model`"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name: a\nmodel:\n\tuse: MLP\n",
            "study.yaml:3: a tab cannot indent YAML, however: 'use: MLP'. Indent with blanks.",
        ),
        ("name:\ta\n", "study.yaml:1: a tab cannot stand between words. Write a blank instead."),
        ("name: a\nname: b\n", "study.yaml:2: name: a key can stand only once, however: name. Leave one of them out."),
        ("training: {epochs: 1, epochs: 2}\n", "study.yaml:1: training.epochs: a key can stand only once"),
        (
            "name: a\nmodel: !!python/object/apply:os.system [echo]\n",
            "study.yaml:2: model: tags are not part of a study file, however: !!python/object/apply:os.system.",
        ),
        ("name: &a b\nmodel: *a\n", "study.yaml:1: name: anchors and aliases are not part of a study file"),
        ("name: [a\n", "study.yaml:2: a study file must be valid YAML"),
        ("- a\n", "study.yaml:1: a study file is a mapping of sections, however: ['a']."),
    ],
)
def test_what_is_no_yaml(foldtune: Command, text: str, said: str) -> None:
    Path("study.yaml").write_text(text)
    refused(foldtune("run", "study.yaml"), said)


@pytest.mark.parametrize(
    ("rows", "data", "said"),
    [
        (None, TABLE, "study.yaml:2: data.table: the file must exist, however: "),
        ([], TABLE, "study.yaml:2: data.table: there must be rows"),
        (
            ROWS,
            "{table: t.csv, target: Y}",
            "study.yaml:2: data.target: the column must be there, however: 'Y'. Did you mean y?",
        ),
        (
            ROWS,
            "{table: t.csv}",
            "data.target: a table needs `target`, the column to predict. The columns are `a`, `b`, `y`.",
        ),
        (
            [f"{i},1,no" for i in range(40)],
            TABLE,
            "data.target: the target `y` must have at least two classes, however: only 'no'.",
        ),
        (
            [*ROWS, "1,2,maybe", "3,4,maybe"],
            TABLE,
            "validation: `n_splits` must be at most the rows of the rarest class, 'maybe' (2), however: n_splits=5.",
        ),
        (
            [f"{i},,{'no' if i % 2 else 'yes'}" for i in range(40)],
            TABLE,
            "no feature may be missing in every row, however: `b`. Leave it out with `drop`.",
        ),
        (
            [*ROWS, "1,2,"],
            TABLE,
            "the target `y` must have no missing values, however: missing in 1 of 41 rows, the first 40",
        ),
        (
            ROWS,
            "{table: t.csv, target: y, seperator: ;}",
            "data.seperator: `pandas.read_csv` has no argument `seperator`. Did you mean sep",
        ),
        (ROWS, "{table: t.csv, target: y, drop: [q]}", "data.drop.0: the column must be there, however: 'q'."),
    ],
)
def test_wrong_data(foldtune: Command, rows: list[str] | None, data: str, said: str) -> None:
    if rows is not None:
        csv(*rows)
    refused(foldtune("run", write(data=data)), said)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"model": "MPL"}, "study.yaml:3: model: there is no model `MPL` in foldtune.models. Did you mean MLP?"),
        ({"model": "{use: MLP, d_blok: 8}"}, "model.d_blok: `MLP` has no argument `d_blok`. Did you mean d_block"),
        (
            {"model": "{use: MLP, activation: Relu}"},
            "model.activation: there is no layer `Relu` in torch.nn. Did you mean ReLU",
        ),
        ({"model": "my_net:Net"}, "the module of `my_net:Net` must be importable, however: No module named 'my_net'."),
        (
            {"model": "{use: Sequential, layers: [{use: LSTM, hiden_size: 8}, Linear]}"},
            "model.layers.0.hiden_size: `LSTM` has no argument `hiden_size`. Did you mean hidden_size",
        ),
        (
            {"loss": "CrossEntropy"},
            "study.yaml:6: loss: there is no loss `CrossEntropy` in torch.nn. Did you mean CrossEntropyLoss",
        ),
        (
            {"loss": "{use: CrossEntropyLoss, smoothing: 0.1}"},
            "loss.smoothing: `CrossEntropyLoss` has no argument `smoothing`. Did you mean label_smoothing?",
        ),
        (
            {"loss": "BCEWithLogitsLoss"},
            "loss: `BCEWithLogitsLoss` needs a target with two classes, however: 3 classes. Use CrossEntropyLoss.",
        ),
        ({"loss": "MSELoss"}, "loss: a classification target needs one of CrossEntropyLoss"),
        ({"optimizer": "AdmaW"}, "optimizer: there is no optimizer `AdmaW` in torch.optim. Did you mean AdamW"),
        (
            {"optimizer": "{use: AdamW, learning_rate: 0.1}"},
            "optimizer.learning_rate: `AdamW` has no argument `learning_rate`. It takes params, lr",
        ),
        (
            {"optimizer": "{use: SGD, lr: fast}"},
            "optimizer.lr: `lr` of `SGD` must be a number, as its default 0.001 is, however: 'fast'.",
        ),
        (
            {"optimizer": "{use: SGD, lr: {flaot: [0.1, 1]}}"},
            "optimizer.lr: `lr` of `SGD` must be a number, as its default 0.001 is, however: {'flaot': ",
        ),
        (
            {"optimizer": "{use: SGD, lr: -1}"},
            "optimizer: `SGD` must accept its arguments, however: Invalid learning rate: -1.",
        ),
        (
            {"scheduler": "CosineAnealingLR"},
            "scheduler: there is no scheduler `CosineAnealingLR` in torch.optim.lr_scheduler. Did you mean Cosine",
        ),
        (
            {"scheduler": "{use: StepLR, step: 3}"},
            "scheduler.step: `StepLR` has no argument `step`. Did you mean step_size?",
        ),
        (
            {"scheduler": "ReduceLROnPlateau", "validation": "{use: ShuffleSplit, n_splits: 1}"},
            "`ReduceLROnPlateau` reads the other folds' scores, and there is only one fold. Use more folds",
        ),
        (
            {"validation": "StratifiedKfold"},
            "no splitter `StratifiedKfold` in sklearn.model_selection or foldtune.data.splitters. Did you mean Strat",
        ),
        (
            {"validation": "{use: StratifiedKFold, splits: 3}"},
            "validation.splits: `StratifiedKFold` has no argument `splits`. Did you mean n_splits?",
        ),
        (
            {"preprocessing": "{numeric: [StandardScalar]}"},
            "preprocessing.numeric.0: there is no preprocessing step `StandardScalar`",
        ),
        (
            {"preprocessing": "{numeric: [{use: StandardScaler, mean: true}]}"},
            "preprocessing.numeric.0.mean: `StandardScaler` has no argument `mean`. Did you mean with_mean?",
        ),
        (
            {"preprocessing": "{numerical: [StandardScaler]}"},
            "preprocessing.numerical: there is no key `numerical` here. Did you mean numeric",
        ),
        (
            {"search": "{sampler: TPESampeler}"},
            "search.sampler: there is no sampler `TPESampeler` in optuna.samplers. Did you mean TPESampler",
        ),
        (
            {"search": "{sampler: {use: TPESampler, n_startup: 3}}"},
            "search.sampler.n_startup: `TPESampler` has no argument `n_startup`. Did you mean n_startup_trials?",
        ),
        (
            {"search": "{pruner: MedianPrunner}"},
            "search.pruner: there is no pruner `MedianPrunner` in optuna.pruners. Did you mean MedianPruner",
        ),
        (
            {"search": "{pruner: {use: MedianPruner, warmup: 3}}"},
            "search.pruner.warmup: `MedianPruner` has no argument `warmup`. Did you mean n_warmup_steps?",
        ),
        (
            {"search": "{pruner: WilcoxonPruner}"},
            "`WilcoxonPruner` compares folds step by step, but a step here is an epoch over all folds. Leave `pruner`",
        ),
        ({"search": "{trails: 3}"}, "study.yaml:5: search.trails: there is no key `trails` here. Did you mean trials?"),
        (
            {"search": "{engine: pack}"},
            "study.yaml:5: search.engine: this must be 'auto', 'packed' or 'lockstep', however: 'pack'.",
        ),
        (
            {"search": "{timeout: 2 hours}"},
            "search.timeout: a time is a number of seconds, or written 30s, 15m, 2h or 1d, however: '2 hours'.",
        ),
        (
            {"search": "{enqueue: [{optimizer.lrr: 1}]}"},
            "search.enqueue.0.optimizer.lrr: there is no parameter `optimizer.lrr`. Did you mean optimizer.lr",
        ),
        ({"search": "{enqueue: try.yaml}"}, "search.enqueue: the file must exist, however: "),
        ({"objective": "logloss"}, "objective: there is no classification metric `logloss`. Did you mean log_loss"),
        ({"objective": "r2"}, "objective: `r2` is a regression metric"),
        ({"metrics": "[accuracy, {use: f1, avg: macro}]"}, "metrics.1.avg: `f1` takes no `avg`. Did you mean average?"),
        ({"data": "{use: irris}"}, "data.use: there is no data set `irris`. Did you mean iris?"),
        (
            {"data": "{use: make_moons, samples: 9}"},
            "data.samples: `make_moons` has no argument `samples`. Did you mean n_samples?",
        ),
        ({"data": "iris"}, "data: this must be a mapping, however: 'iris'. Write {use: iris}."),
        (
            {"training": "{epoch: 3}"},
            "study.yaml:4: training.epoch: there is no key `epoch` here. Did you mean epochs?",
        ),
        (
            {"regularization": "{clipnorm: 1}"},
            "regularization.clipnorm: there is no key `clipnorm` here. Did you mean clip_norm?",
        ),
        ({"optimiser": "Adam"}, "study.yaml:6: optimiser: there is no key `optimiser` here. Did you mean optimizer?"),
        ({"model": None}, "model: the key `model` must be given."),
    ],
)
def test_unknown_names_and_arguments(foldtune: Command, sections: dict[str, str | None], said: str) -> None:
    refused(foldtune("run", write(**sections)), said)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"optimizer": "{use: SGD, lr: {float: [1, 0.1]}}"},
            "study.yaml:6: optimizer.lr: low must be below high, however: float: [1, 0.1]. Swap them",
        ),
        (
            {"optimizer": "{use: SGD, lr: {float: [0.1, 1], logg: true}}"},
            "optimizer.lr.logg: a `float` domain has no `logg`. Did you mean log?",
        ),
        (
            {"scheduler": "{choice: []}"},
            "scheduler: a `choice` needs options: a list, or a mapping from labels, however: [].",
        ),
        ({"scheduler": "{choice: {}}"}, "scheduler: a `choice` needs options"),
        (
            {"model": "{choice: [{use: MLP, d_block: 8}, {use: MLP, d_block: 9}]}"},
            "model.choice.1: every option of a choice needs a label of its own, however: 'MLP'. Write `choice: {",
        ),
        (
            {"search": "{trials: {int: [1, 3]}}"},
            "search.trials: only model, loss, optimizer, ",
        ),
    ],
)
def test_wrong_domains(foldtune: Command, sections: dict[str, str], said: str) -> None:
    refused(foldtune("run", write(**sections)), said)


def test_1e_4_is_a_number(foldtune: Command) -> None:
    code, err, _ = foldtune("run", write(optimizer="{use: AdamW, lr: 1e-4}"), "--workers", "0", "-q")
    assert code == 0, err


def test_problems_of_several_sections_come_at_once_in_the_order_of_the_file(foldtune: Command) -> None:
    path = write(
        data="{table: gone.csv, target: y}",
        model="{use: MLP, d_blok: 8}",
        training="{epoch: 3}",
        search="{pruner: WilcoxonPruner}",
        optimizer="{use: SGD, lr: -1}",
        validation="{use: KFold, splits: 2}",
        metrics="[acuracy]",
    )
    answer = foldtune("check", path)
    refused(answer, "7 problems; nothing was run or written.")
    assert [line.split(": ")[1:3] for line in answer.err.splitlines()[:-1]] == [
        ["study.yaml:2", "data.table"],
        ["study.yaml:3", "model.d_blok"],
        ["study.yaml:4", "training.epoch"],
        ["study.yaml:5", "search.pruner"],
        ["study.yaml:6", "optimizer"],
        ["study.yaml:7", "validation.splits"],
        ["study.yaml:8", "metrics.0"],
    ]


def test_the_command_line_is_named_where_it_is_to_blame(foldtune: Command) -> None:
    said = "error: command line: search.trials: this must be greater than 0, however: 0."
    refused(foldtune("run", write(), "--trials", "0"), said)
    refused(
        foldtune("run", write(), "--set", "optimizer.use=Sgd"),
        "error: command line: optimizer: there is no optimizer `Sgd`",
    )
    refused(
        foldtune("run", write(), "--set", "optimizer"), "an override is written `path=value`, however: 'optimizer'."
    )


@pytest.fixture
def stored(foldtune: Command) -> Path:
    """A finished study in the default database."""
    code, err, _ = foldtune("run", write(), "--workers", "0", "-q")
    assert code == 0, err
    return Path("foldtune.db")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"model": "{use: MLP, n_blocks: 1, d_block: 9}"}, ["model.d_block: the stored study has 8, however: 9."]),
        (
            {"data": "{use: wine}"},
            [
                'data.use: the stored study has "iris", however: "wine".',
                "(150 rows, sha256",
                "however: 178 rows, sha256",
            ],
        ),
        (
            {"validation": "{use: StratifiedKFold, n_splits: 3}"},
            ["validation.n_splits: the stored study has (absent)", "validation: the stored study has other folds"],
        ),
        ({"search": "{trials: 1, seed: 1}"}, ["search.seed: the stored study has (absent), however: 1."]),
    ],
)
def test_a_stored_study_of_that_name_that_is_another_one(
    foldtune: Command,
    stored: Path,
    sections: dict[str, Any],
    said: list[str],
) -> None:
    before = foldtune("show", "bad", "--json").out
    code, err, _ = foldtune("run", write(**sections), "--workers", "0", "-q")
    assert code == 2
    assert [text for text in [*said, "Nothing was changed.", "`foldtune run --fork NAME`"] if text not in err] == [], (
        err
    )
    assert foldtune("show", "bad", "--json").out == before


def test_other_data_under_the_same_name(foldtune: Command) -> None:
    csv(*ROWS)
    assert foldtune("run", write(data=TABLE), "--workers", "0", "-q")[0] == 0
    csv(*ROWS[:-1], "39,1,yes")
    code, err, _ = foldtune("run", write(data=TABLE), "--workers", "0", "-q")
    assert code == 2
    assert "data: the stored study was made on other data (40 rows, sha256" in err and "Nothing was changed." in err


def test_a_read_only_database(foldtune: Command, stored: Path) -> None:
    url = f"sqlite:///file:{stored.resolve()}?mode=ro&uri=true"
    before = stored.read_bytes()
    code, err, _ = foldtune("run", write(name="other"), "--workers", "0", "-q", "--storage", url)
    assert code == 2
    assert "error: the database must be writable, however: sqlite:///file" in err
    assert "Check the rights on it (for a file, on its folder too), or name another with `--storage`." in err
    assert stored.read_bytes() == before


def test_a_database_that_does_not_answer(foldtune: Command) -> None:
    url = "postgresql+psycopg://ann:secret@127.0.0.1:1/studies"
    answer = foldtune("run", write(), "--workers", "0", "--storage", url)
    refused(
        answer,
        "the database must answer, however: postgresql+psycopg://ann:***@127.0.0.1:1/studies",
        "Check that its server",
    )
    assert "secret" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["run", "study.yaml", "--storage", "results.db"],
            "a storage URL must name a database, however: results.db. Write sqlite:///results.db.",
        ),
        (
            ["run", "study.yaml", "--storage", "sqlite:///no/such/x.db"],
            "the folder of the database must exist, however: no/such.",
        ),
        (
            ["run", "study.yaml", "--storage", "sqllite:///x.db"],
            "the storage URL's kind of database must be known, however: sqllite. Did you mean sqlite?",
        ),
        (["run", "study.yaml", "--device", "cuda:77"], "the device `cuda:77` must be usable here"),
        (["run", "study.yaml", "--fork", "a b"], "name: this must begin with a letter or digit"),
        (["show", "bad"], "there is no database at foldtune.db. Check `--storage` and the working folder"),
        (["resume", "bad"], "there is no database at foldtune.db."),
    ],
)
def test_wrong_requests(foldtune: Command, arguments: list[str], said: str) -> None:
    write()
    refused(foldtune(*arguments), said)


def test_unknown_studies_and_trials(foldtune: Command, stored: Path) -> None:
    _, err, _ = foldtune("resume", "nobody")
    assert err == "error: there is no study 'nobody' in sqlite:///foldtune.db. It holds bad.\n"
    code, err, _ = foldtune("trial", "bad", "9")
    assert code == 2 and "there is no trial 9 in the study" in err
    code, err, _ = foldtune("resume", "bad", "--set", "model.d_block=4", "--workers", "0")
    assert code == 2 and "model.d_block: the stored study has 8, however: 4. Nothing was changed." in err
