"""Rows of the right form and the wrong content: refused by their column, and on a terminal no more than texts."""

import json
import re
from typing import Any

import numpy as np
import pytest

from foldtune.store import codec
from foldtune.store.retrying import FAILURES
from tests.conftest import Command
from tests.trust.conftest import Database

WRONG = {
    "null": "null",
    "a number": "7",
    "a text": '"x"',
    "a list": '["x", 1]',
    "a mapping": '{"a": {"b": 1}}',
    "a truth": "true",
    "mappings": '[{"a": 1}]',
}
RIGHT = {
    ("studies", "spec"): ["a mapping"],
    ("studies", "folder"): ["a text"],
    ("studies", "file"): ["a text"],
    ("studies", "seed"): ["a number"],
    ("studies", "objectives"): [],
    ("studies", "directions"): [],
    ("studies", "metrics"): [],
    ("studies", "versions"): [],
    ("trials", "params"): [],
    ("trials", "config"): ["a mapping"],
    ("trials", "attrs"): ["a mapping"],
    ("trials", "objective_values"): [],
    ("trials", "failure"): [],
    ("curves", "losses"): ["a list", "mappings"],
    ("curves", "scores"): ["a list", "mappings"],
}
"""Every column of JSON that a command reads, and what of `WRONG` may stand in it."""

CASES = [(table, column, name) for (table, column), right in RIGHT.items() for name in WRONG if name not in right]


@pytest.mark.parametrize(("table", "column", "name"), CASES)
def test_json_of_another_shape_is_refused_at_its_column(
    database: Database, foldtune: Command, table: str, column: str, name: str
) -> None:
    database.write(table, column, WRONG[name])
    command = ("trial", "victim", "0") if table == "curves" else ("show", "victim")
    code, err, _ = foldtune(*command)
    assert code == 2
    assert f"foldtune_{table}.{column}: a stored value must be of its column's kind, however: '" in err


@pytest.mark.parametrize("value", ["x", b"\x80\x04.", -1e400, 7])
@pytest.mark.parametrize(
    ("table", "column"),
    [("trials", "state"), ("trials", "origin"), ("trials", "started_at"), ("studies", "created_at")],
)
def test_other_values_are_refused_at_their_column(
    database: Database, foldtune: Command, table: str, column: str, value: Any
) -> None:
    database.write(table, column, value)
    code, err, _ = foldtune("show", "victim")
    assert code == 2 and f"foldtune_{table}.{column}: a stored value must be of its column's kind" in err


NONE, FEW = np.zeros((0, 0)), np.full((1, 9), np.nan)
COMMANDS = (("list",), ("show", "victim"), ("show", "victim", "--json"), ("trial", "victim", "0"))
FORMS: tuple[tuple[str, str, Any, str, tuple[tuple[str, ...], ...]], ...] = (
    ("trials", "objective_values", "[]", "stored values must be those of objectives", COMMANDS[1:]),
    ("trials", "scores", codec.encode(NONE), "stored scores must be of one metric or more", COMMANDS[1:]),
    ("trials", "scores", codec.encode(FEW), "at a chosen epoch of each fold, however: shape (1, 9)", COMMANDS[1:]),
    ("studies", "directions", "[]", "must have", COMMANDS),
    ("folds", "train", codec.encode(np.zeros(0, "<i8")), "must have rows of both kinds", COMMANDS[1:]),
)
"""Table, column, a value of its kind and of another form, what is said, and by which commands."""


@pytest.mark.parametrize(("table", "column", "value", "said", "commands"), FORMS)
def test_values_of_another_form_are_refused(
    database: Database,
    foldtune: Command,
    table: str,
    column: str,
    value: Any,
    said: str,
    commands: tuple[tuple[str, ...], ...],
) -> None:
    database.write(table, column, value)
    for command in commands:
        code, err, _ = foldtune(*command)
        assert code == 2 and f"foldtune_{table}." in err and said in err, command


@pytest.mark.parametrize("value", ["x", b"\x80\x04."])
@pytest.mark.parametrize(("table", "column"), [("trials", "seconds"), ("curves", "mean")])
def test_numbers_that_are_none_are_refused_at_their_column(
    database: Database, foldtune: Command, table: str, column: str, value: Any
) -> None:
    database.write(table, column, value)
    code, err, _ = foldtune("resume", "victim", "--trials", "3", "--workers", "0")
    assert code == 2 and f"foldtune_{table}.{column}: a stored value must be of its column's kind" in err


@pytest.mark.parametrize("spec", [{}, {"search": 7}, {"search": {"trials": "x"}}, {"search": {"trials": None}}])
def test_a_definition_without_a_budget_is_refused(database: Database, foldtune: Command, spec: Any) -> None:
    database.write("studies", "spec", json.dumps(spec))
    code, err, _ = foldtune("show", "victim")
    assert code == 2 and "foldtune_studies.spec.search.trials: a stored study must say how many trials" in err


@pytest.mark.parametrize("failures", [7, ["x"], [{"kind": "diverged"}], {"kind": 1}])
def test_noted_failures_of_another_shape_are_refused(database: Database, foldtune: Command, failures: Any) -> None:
    database.plant(FAILURES, value=failures, table="trials", column="attrs")
    code, err, _ = foldtune("trial", "victim", "0")
    assert code == 2 and f"foldtune_trials.attrs.{FAILURES}: a failure must have a kind, a message and" in err


HOSTILE = "\x1b]0;owned\x07 \x1b[2J \r\b \x9b31m \u202eback\u2069 \udcff [red]x[/red] [/nobody] :smile:"
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
FAILED = {"kind": "user code", "message": HOSTILE, "traceback": f"Traceback\n{HOSTILE}"}


def test_stored_texts_do_not_command_the_terminal(database: Database, foldtune: Command) -> None:
    text = json.dumps(HOSTILE)
    for column in ("objectives", "metrics"):
        database.write("studies", column, json.dumps([HOSTILE] * len(json.loads(database.read("studies", column)))))
    database.write("trials", "params", f'{{{text}: {text}, "a.b": 1}}')
    database.write("trials", "config", f'{{"model": {{{text}: {text}}}}}')
    database.write("trials", "failure", json.dumps(FAILED))
    database.write("trials", "engine", HOSTILE.replace("\udcff", ""))
    database.plant(FAILURES, value=[FAILED], table="trials", column="attrs")
    for command in (("list",), ("show", "victim"), ("trial", "victim", "1")):
        code, err, out = foldtune(*command)
        assert code == 0, err
        assert OBEYED.findall(out + err) == []
    assert r"\x1b[2J" in out and r"\u202eback" in out and "[red]x[/red] [/nobody] :smile:" in out
    database.write("studies", "name", "victim \x1b[2J")
    for command in (("list",), ("show", "victims")):
        _, err, out = foldtune(*command)
        assert OBEYED.findall(out + err) == []
        assert r"victim \x1b[2J" in out + err
