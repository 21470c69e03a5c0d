"""The scores as a note on the study's page in optuna-dashboard."""

from foldtune.search.result import StudyResult
from foldtune.search.said import audit_lines, audit_remarks, lines, remarks, warnings

HEADING = "## foldtune: the honest score"
HEADLINE = "honest score"
"""The study's user attribute of the line that stands beside the best trial's value."""


def headline(result: StudyResult) -> str:
    """The most honest score in one line, to stand beside the best trial's; "" while there is none."""
    said = [*audit_lines(result), *lines(result)]
    return f"{said[0].title} {said[0].value}; {said[0].comment}" if said else ""


def markdown(result: StudyResult) -> str:
    """Markdown of the scores; "" while there are none."""
    said = [*audit_lines(result), *lines(result)]
    if not said:
        return ""
    goal = f"{result.record.objectives[0]}, {result.record.directions[0]}"
    table = [f"| **{line.title}** | {line.value} | {line.comment} |" for line in said]
    told = [f"- {_plain(remark)}" for remark in [*audit_remarks(result), *remarks(result), *warnings(result)]]
    return "\n".join([HEADING, "", f"| {goal} | | |", "| :-- | --: | :-- |", *table, "", *told, ""])


def _plain(text: str) -> str:
    return text.replace("\n", " ")
