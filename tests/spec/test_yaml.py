from pathlib import Path
from typing import Any

import pytest

from foldtune.errors import SpecError
from foldtune.spec.yaml import LARGEST_BYTES, parse_yaml, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5E3", 1500.0),
        ("-3", -3),
        ("012", 12),
        ("0o14", 12),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("2h", "2h"),
        ("1:30", "1:30"),
        ("2026-11-23", "2026-11-23"),
        ("=", "="),
        ("'1e-4'", "1e-4"),
        ("[1, a, [null]]", [1, "a", [None]]),
        ("{a: 1}", {"a": 1}),
        ('"a\\tb"', "a\tb"),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}", "study.yaml")[0]["a"]
    assert found == value and type(found) is type(value)


def test_every_node_has_its_line() -> None:
    _, source = parse_yaml("name: a\nmodel:\n  use: MLP\n  layers:\n    - ReLU\n    - {use: GELU}\n", "study.yaml")
    lines = {
        ("name",): 1,
        ("model",): 2,
        ("model", "use"): 3,
        ("model", "layers", 1): 6,
        ("model", "layers", 1, "use"): 6,
    }
    assert {path: source.line(path) for path in lines} == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^study\.yaml:1: a study file must not be empty, .* It needs at least `name`, `data` and `model`\.$"),
        ("# only a comment\n", "must not be empty"),
        ("- a\n", r"^study\.yaml:1: a study file is a mapping of sections, however: \['a'\]"),
        ("hello", "a study file is a mapping of sections, however: 'hello'"),
        ("a: 1\nb:\n\tc: 1\n", r"^study\.yaml:3: a tab cannot indent YAML, however: 'c: 1'\. Indent with blanks\.$"),
        ("a: 1\nb:\t1\n", r"^study\.yaml:2: a tab cannot stand between words\. Write a blank instead\.$"),
        ("a: 1\nb: 2\na: 3\n", r"^study\.yaml:3: a: a key can stand only once, however: a\. Leave one of them out\.$"),
        ("x: {b: 1, b: 2}\n", r"^study\.yaml:1: x\.b: a key can stand only once"),
        (
            "x: !!python/object:os.system {}\n",
            r"x: tags are not part of a study file, however: !!python/object:os.system\.",
        ),
        ("x: !!int 3\n", "x: tags are not part of a study file, however: !!int"),
        ("x: !!int three\n", "tags are not part of a study file, however: !!int"),
        ("x: !mine [1]\n", "tags are not part of a study file, however: !mine"),
        ("x: &a 1\n", "x: anchors and aliases are not part of a study file, however: a"),
        ("x: &a 1\ny: *a\n", "anchors and aliases"),
        ("x: {<<: {b: 1}}\n", r"x\.<<: merge keys are not part of a study file\."),
        ("1: a\n", r"a key must be a text, however: 1\. Write '1' in quotes\."),
        ("[a]: b\n", "a key must be a text"),
        (
            "a: [1\nb: 2\n",
            r"^study\.yaml:2: a study file must be valid YAML, however: .* a bracket, a quote or the ind",
        ),
        ("a: b: c\n", r"^study\.yaml:1: a study file must be valid YAML, however: a second `: ` in one value\."),
        ("a: 1\n---\nb: 2\n", "a study file must be valid YAML"),
        ("a: \x00\n", "a study file must be valid YAML"),
        ("a: " + "[" * 1200, "a study file must not be nested so deeply"),
    ],
)
def test_what_is_no_study_file_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_yaml(text, "study.yaml")


def test_all_problems_come_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml("a: 1\na: 2\nb: !x 1\nc: &d 1\n", "study.yaml")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["2", "3", "4"]


def test_a_file_must_be_there_and_be_text_of_a_sensible_size(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"the study file must exist, however: .*gone\.yaml\. Check the name"):
        read_text(tmp_path / "gone.yaml")
    with pytest.raises(SpecError, match="the study file must exist"):
        read_text(tmp_path)
    file = tmp_path / "study.yaml"
    file.write_bytes(b"name: \xff\xfe")
    with pytest.raises(SpecError, match=r"must be UTF-8 text, however: .*study\.yaml"):
        read_text(file)
    file.write_bytes(b" " * (LARGEST_BYTES + 1))
    with pytest.raises(SpecError, match="has at most 1000000 bytes"):
        read_text(file)
