"""The scores as a note on the study's page in optuna-dashboard."""

from foldtune.search.result import StudyResult
from foldtune.search.said import audit_remarks, lines, remarks

HEADING = "## foldtune: the honest score"


def markdown(result: StudyResult) -> str:
    """Markdown of the scores; "" while there are none."""
    said = lines(result)
    if not said:
        return ""
    goal = f"{result.record.objectives[0]}, {result.record.directions[0]}"
    table = [f"| **{line.title}** | {line.value} | {line.comment} |" for line in said]
    told = [f"- {_plain(remark)}" for remark in [*audit_remarks(result), *remarks(result)]]
    return "\n".join([HEADING, "", f"| {goal} | | |", "| :-- | --: | :-- |", *table, "", *told, ""])


def _plain(text: str) -> str:
    return text.replace("\n", " ")
