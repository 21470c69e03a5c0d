"""What may be said of a study's scores: the lines that the terminal, the dashboard's note and `--explain` share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foldtune.search.numbers import interval, number
from foldtune.search.result import StudyResult, of_ours
from foldtune.store.records import Finding

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A number and what goes with it.

    Args:
        key: of `foldtune.selection.labels.EXPLANATIONS`.
        title: what it is.
        value: the number.
        comment: what else is to be known.
    """

    key: str
    title: str
    value: str
    comment: str


@of_ours()
def lines(result: StudyResult) -> list[Line]:
    """The scores of a study's choice, the most honest first; none before a trial is complete."""
    score, confirmed = result.finding("score"), result.finding("confirmation")
    found = [_audit(audit) for audit in reversed(result.audits) if not audit.content.get("void")]
    if score is not None and score.content["naive"] is not None:
        found += _scores(score.content)
    if confirmed is not None:
        found += _confirmed(confirmed.content)
    calibrated = result.finding("calibration")
    return found + (_calibrated(calibrated) if calibrated is not None else [])


@of_ours()
def audit_remarks(result: StudyResult) -> list[str]:
    """Sentences that audits must not be read without."""
    said = [f"An audit does not count: {audit.content['void']}" for audit in result.audits if audit.content.get("void")]
    for audit in result.audits:
        said += [] if audit.content.get("void") else audit.content.get("cautions", [])
    return said


def remarks(result: StudyResult) -> list[str]:
    """Sentences that the scores of the search itself must not be read without."""
    score = result.finding("score")
    if score is None:
        return []
    content = score.content
    if content["naive"] is None:
        return [f"There is no honest score: {content['reason']}."]
    said = [_sentence(content["label"])]
    if content["finished"] < result.finished:
        said.append(f"As of {content['finished']} of {result.finished} finished trials.")
    confirmed = result.finding("confirmation")
    if confirmed is not None and confirmed.content["winner"] != content["best"]:
        said.append(f"Confirmation puts trial {confirmed.content['winner']} first: `foldtune test` trains that one.")
    return [*said, *content["cautions"]]


def _audit(audit: Finding) -> Line:
    said = audit.content
    value = number(said["scores"][said["metric"]])
    ends = interval(said["interval"], said["level"]) if said["interval"] else "no interval"
    date = f"{audit.created_at:%Y-%m-%d}"
    if audit.kind == "nested":
        return Line("nested", "nested", value, f"{ends}; {said['J']} outer folds, {date}")
    look = f", look {said['looks']}" if said["looks"] > 1 else ""
    return Line(
        "locked test", "locked test", value, f"{ends}; trial {audit.trial}, {said['n_rows']} rows, {date}{look}"
    )


def _scores(said: Content) -> list[Line]:
    ends = interval(said["interval"], said["level"]) if said["interval"] else "no interval"
    key = "corrected" if said["method"] == "BBC" else "fold correction"
    found = []
    if said["headline"] == "score":
        found.append(Line(key, "corrected", number(said["corrected"]), ends))
    elif said["interval"]:
        found.append(Line("interval", "corrected", "", ends))
    flatters = (
        f"; flatters by {number(said['optimism'])}" if said["headline"] == "score" and said["optimism"] > 0 else ""
    )
    found.append(Line("naive", "naive best", number(said["naive"]), f"trial {said['best']}{flatters}"))
    return found + ([_gain(said["gain"], said["level"])] if said["gain"] else [])


def _gain(gain: Content, level: float) -> Line:
    verdict = f": {gain['verdict']}" if gain["verdict"] else ""
    return Line("gain", "over default", f"{gain['mean']:+.4f}", f"{interval(gain['interval'], level)}{verdict}")


def _confirmed(said: Content) -> list[Line]:
    ranked, alike = said["ranked"], said["alike"]
    first = ranked[0]
    ties = f"; the first {alike} of {len(ranked)} are indistinguishable" if alike > 1 else ""
    comment = f"trial {said['winner']}, mean of {said['repeats'] + 1} partitions{ties}"
    found = [Line("confirmation", "confirmed", number(first["mean"]), comment)]
    if said["run_to_run"] is not None:
        helps = {True: "; repeats help", False: "; repeats bring little", None: ""}[said["repeats_help"]]
        found.append(Line("run to run", "run to run", number(said["run_to_run"]), f"standard deviation{helps}"))
    if said["preferred"]:
        found.append(_preferred(said["preferred"], said["winner"], ranked))
    return found


def _preferred(said: Content, winner: int, ranked: list[dict[str, Any]]) -> Line:
    cost = said["costs"].get(str(said["number"]))
    measure = "parameters" if said["by"] == "simple" else "s a batch"
    spent = "" if cost is None else f", {cost:,.0f} {measure}" if said["by"] == "simple" else f", {cost:.2g} {measure}"
    mean = next(one["mean"] for one in ranked if one["number"] == said["number"])
    given = "the winner itself" if said["number"] == winner else f"gives up {number(said['given_up'])}"
    return Line("simple", f"prefer {said['by']}", number(mean), f"trial {said['number']}{spent}; {given}")


def _calibrated(finding: Finding) -> list[Line]:
    said, of = finding.content, f"trial {finding.trial}"
    if said["kind"] == "temperature":
        if not said["kept"]:
            return []
        before, after = said["error"]
        change = f"{of}; calibration error {number(before)} before, {number(after)} after"
        return [Line("temperature", "temperature", number(said["temperature"]), change)]
    names = said["targets"] if len(said["targets"]) > 1 else [""]
    found = []
    for name, half, coverage in zip(names, said["half_width"], said["coverage"], strict=True):
        held = "" if coverage is None else f"; held {coverage:.0%} of rows out of fold"
        value = "-" if half is None else f"±{number(half)}"
        title = f"{said['level']:.0%} of values"
        found.append(Line("prediction interval", title, value, f"{of}{', ' + name if name else ''}{held}"))
    return found


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
