"""Files and rows that were made to hurt: each is refused, at its place where it has one, within a second."""

import json
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

import foldtune.search.plan  # noqa: F401 (importing torch is not what is timed)
from foldtune.store import codec
from tests.conftest import Command
from tests.trust.conftest import Database

BEST_S = 5.0
"""Of this process; a busy machine takes twice the second that is meant."""

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20))

YAML = {
    "a billion laughs": (LAUGHS, "study.yaml:1: a0: anchors and aliases are not part of a study file"),
    "an alias of itself": ("name: &a [*a]\n", "study.yaml:1: name: anchors and aliases"),
    "an anchor on a key": ("&a name: x\n", "study.yaml:1: name: anchors and aliases"),
    "a merge key": ("name: x\nmodel:\n  <<: {use: MLP}\n", "study.yaml:3: model.<<: merge keys are not part"),
    "duplicate keys": ("name: x\nname: y\n", "study.yaml:2: name: a key can stand only once"),
    "a tag": ("name: !!python/name:os.system x\n", "study.yaml:1: name: tags are not part of a study file"),
    "a tag on a key": ("!!python/name:os.system name: x\n", "tags are not part of a study file"),
    "a directive": ("%YAML 1.1\n---\nname: yes\n", "study.yaml:1: directives are not part of a study file"),
    "deep lists": ("name: x\nmodel: " + "[" * 100_000, "study.yaml:2: a study file must not be nested so deeply"),
    "deep mappings": ("name: x\nmodel: " + "{a: " * 70_000, "study.yaml:2: a study file must not be nested so deeply"),
    "deep blocks": ("".join(f"{' ' * i}a:\n" for i in range(500)), "study.yaml:51: a study file must not be nested"),
    "deep dashes": ("- " * 100_000, "study.yaml:1: a study file must not be nested so deeply"),
    "a long list": ("name: [" + "1," * 140_000 + "]", "study.yaml:1: YAML must not be so long here"),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(20_000)), "study.yaml:5000: YAML must not be so long here"),
    "a huge text": ("name: " + "x" * 900_000, "study.yaml:1: YAML has at most 300000 characters here"),
    "a huge file": ("name: x\n" + "#" * 2_000_000, "a study file has at most 1000000 bytes"),
    "empty lines": ("\n" * 900_000, "study.yaml:1: YAML has at most 300000 characters here"),
    "a long number": ("name: x\nseed: " + "9" * 5000, "study.yaml:2: seed: a number has at most 400 characters"),
    "a long hexadecimal number": ("seed: 0x" + "f" * 100_000, "seed: a number has at most 400 characters"),
    "a long number as a key": ("9" * 120 + ": x\n", "study.yaml:1: " + "9" * 120 + ": a key must be a text"),
    "a NUL": ("name: x\nmodel: \0\n", "study.yaml:2: a study file must be valid YAML"),
    "half a character": ('name: x\nmodel: "\\ud800"\n', "study.yaml:2: model: a text must hold whole characters"),
    "no character": ('name: "\\U00110000"\n', "a study file must be valid YAML"),
    "quotes": ("'" * 200_000, "a study file is a mapping of sections"),
    "exclamation marks": ("!" * 200_000, "tags are not part of a study file"),
    "stars": ("*" * 200_000, "study.yaml:1: a study file must be valid YAML"),
    "question marks": ("? " * 100_000, "must not be nested so deeply"),
}


@pytest.mark.parametrize("name", YAML)
def test_hostile_yaml_is_refused_at_once(foldtune: Command, name: str) -> None:
    text, said = YAML[name]
    Path("study.yaml").write_text(text)
    began = time.process_time()
    code, err, _ = foldtune("run", "study.yaml")
    assert time.process_time() - began < BEST_S
    assert code == 2 and said in err
    assert max(len(line) for line in err.splitlines()) < 500


@pytest.mark.parametrize("content", [b"name: x\nmodel: \xff\xfe\n", b"name: x\nmodel: \xed\xa0\x80\n"])
def test_bytes_that_are_no_text_are_refused_at_their_line(foldtune: Command, content: bytes) -> None:
    Path("study.yaml").write_bytes(content)
    code, err, _ = foldtune("run", "study.yaml")
    assert code == 2 and "study.yaml:2: a study file must be UTF-8 text" in err


@pytest.mark.parametrize("name", YAML)
def test_hostile_values_on_the_command_line_are_refused_as_well(foldtune: Command, name: str) -> None:
    text, _ = YAML[name]
    Path("study.yaml").write_text("name: x\ndata: {use: iris}\nmodel: MLP\n")
    began = time.process_time()
    code, _, _ = foldtune("run", "study.yaml", "--set", f"search.seed={text}")
    assert code == 2 and time.process_time() - began < BEST_S


TREES = {
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep lists, parsed": "[" * 500 + "]" * 500,
    "deep mappings": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a number beyond the doubles": '{"data": {"use": 1e999}}',
    "minus infinity": '{"data": -Infinity}',
    "not a number": '{"data": NaN}',
    "a million digits": f'{{"data": {"9" * 1_000_000}}}',
    "a float that is none": '{"$float": [1]}',
    "a float that is text": '{"$float": "lots"}',
    "text that does not end": '{"data": "' + "x" * 1_000_000,
    "nothing": "",
    "two documents": "{} {}",
}


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("column", ["spec", "versions", "objectives"])
def test_hostile_trees_are_refused_at_once(database: Database, foldtune: Command, name: str, column: str) -> None:
    database.write("studies", column, TREES[name])
    began = time.process_time()
    for command in ("resume", "show"):
        code, err, _ = foldtune(command, "victim")
        assert code == 2 and "stored JSON must be whole" in err
        assert len(err) < 1000
    assert time.process_time() - began < BEST_S


def test_a_huge_tree_is_refused(database: Database, foldtune: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_TEXT", 100)
    code, err, _ = foldtune("show", "victim")
    assert code == 2 and "stored JSON must have at most 100 characters" in err


def blob(
    dtype: bytes, shape: tuple[int, ...], payload: bytes, *, packed: bool = False, axes: int | None = None
) -> bytes:
    header = struct.pack("<4s?3sB", b"FTA1", packed, dtype, len(shape) if axes is None else axes)
    return header + struct.pack(f"<{len(shape)}Q", *shape) + payload


BLOBS = {
    "a bomb": blob(b"<i8", (4,), zlib.compress(bytes(200_000_000), 9), packed=True),
    "a bomb that says so": blob(b"<i8", (2**40,), zlib.compress(bytes(1_000_000), 9), packed=True),
    "more than there is": blob(b"<f8", (2**62,), b""),
    "a product that overflows": blob(b"<f8", (2**33, 2**33), b""),
    "nothing, hugely": blob(b"<f8", (2**64 - 1, 0), b""),
    "too many axes": blob(b"|u1", (1,) * 255, b"\0"),
    "axes that are not there": blob(b"|u1", (), b"", axes=255),
    "objects": blob(b"|O\0", (1,), b"\0" * 8),
    "dates": blob(b"<M8", (1,), b"\0" * 8),
    "not ours": b"\x80\x04." * 10,
    "nothing": b"",
    "too much": codec.encode(np.zeros(3)) + b"\0" * 8,
}


@pytest.mark.parametrize("name", BLOBS)
def test_hostile_blobs_are_refused_at_once(database: Database, foldtune: Command, name: str) -> None:
    for table, column in (("folds", "train"), ("trials", "scores")):
        database.write(table, column, BLOBS[name])
    began = time.process_time()
    for command in ("resume", "show"):
        code, err, _ = foldtune(command, "victim")
        assert code == 2 and "a stored array must be whole" in err
    assert time.process_time() - began < BEST_S


def test_an_enqueued_file_is_held_to_the_same(foldtune: Command) -> None:
    study = "name: x\ndata: {use: iris}\nmodel: MLP\nsearch: {trials: 1, enqueue: first.yaml}\n"
    Path("study.yaml").write_text(study)
    Path("first.yaml").write_text("- " * 50_000)
    code, err, _ = foldtune("check", "study.yaml")
    assert code == 2 and "nested so deeply" in err
    Path("study.yaml").write_text(study.replace("first.yaml", "first.json"))
    for text in ("[" * 100_000, json.dumps([{"a": 1}])[:-1], f"[{'9' * 5000}]"):
        Path("first.json").write_text(text)
        code, err, _ = foldtune("check", "study.yaml")
        assert code == 2 and "the file must hold JSON" in err
