"""Locked tests and nested cross-validations in words."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from foldtune.search.numbers import column, interval, number
from foldtune.search.result import of_ours
from foldtune.store.records import Finding


@of_ours()
def audits(findings: Sequence[Finding]) -> RenderableType:
    """Every audit, the oldest first: its score with its interval, how it came about, and what is wrong with it.

    Args:
        findings: of the kinds "test" and "nested".
    """
    return Group(*(part for finding in findings for part in (_head(finding), Padding(_rest(finding), (0, 0, 0, 2)))))


def _head(finding: Finding) -> Text:
    content = finding.content
    name = "Locked test" if finding.kind == "test" else f"Nested, {content['J']} outer folds"
    between = f", {interval(content['interval'], content['level'])}" if content["interval"] else ""
    return Text.assemble(
        (name, "bold"), f"  {content['metric']} {number(content['scores'][content['metric']])}{between}"
    )


def _rest(finding: Finding) -> Group:
    content = finding.content
    others = [name for name in content["scores"] if name != content["metric"]]
    said = [Text(", ".join(f"{name} {number(content['scores'][name])}" for name in others))] if others else []
    how = _test(finding) if finding.kind == "test" else _nested(finding)
    said.append(Text(f"{how}; {finding.created_at:%Y-%m-%d}", "dim"))
    if content["looks"] > 1:
        said.append(Text(f"look {content['looks']} at these rows: the best of several looks flatters", "yellow"))
    if content["void"]:
        said.append(Text(f"void: {content['void']}", "bold red"))
    return Group(*said, *(Text(caution, "yellow") for caution in content["cautions"]))


def _test(finding: Finding) -> str:
    content = finding.content
    who = f"trial {finding.trial}{'' if content['winner'] else ', not the winner'}"
    how = f"trained on {content['n_train']:,} rows for {content['epoch']} of {content['planned']} epochs, one seed"
    return f"{who}, {how}; scored on {content['n_rows']:,} rows"


def _nested(finding: Finding) -> str:
    content = finding.content
    folds = ", ".join(column(content["fold_scores"]))
    return f"the whole search inside each, scored on {content['n_rows']:,} rows in all: {folds}"
