"""What may be said of a study's scores: the lines that the terminal, the dashboard's note and `--explain` share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from foldtune.search.numbers import column, interval, number, signed
from foldtune.search.refit import chosen_by
from foldtune.search.result import StudyResult, of_ours
from foldtune.selection.labels import CORRECTED
from foldtune.store.records import Finding

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A number and what goes with it.

    Args:
        title: what it is.
        value: the number.
        comment: what else is to be known.
        terms: keys of `foldtune.selection.labels.EXPLANATIONS`, for all that stands in it.
    """

    title: str
    value: str
    comment: str
    terms: tuple[str, ...]


@of_ours()
def lines(result: StudyResult) -> list[Line]:
    """The scores that a study's own search gives its choice; none before a trial is complete."""
    score, confirmed = result.finding("score"), result.finding("confirmation")
    found = []
    if score is not None and score.content["naive"] is not None:
        found += _scores(score.content)
    if confirmed is not None:
        found += _confirmed(confirmed.content)
    calibrated = result.finding("calibration")
    return found + (_calibrated(calibrated) if calibrated is not None else [])


@of_ours()
def audit_lines(result: StudyResult) -> list[Line]:
    """The scores of audits that count, the newest first."""
    return [audit_line(audit) for audit in reversed(result.audits) if not audit.content.get("void")]


@of_ours()
def audit_remarks(result: StudyResult) -> list[str]:
    """Sentences that audits must not be read without."""
    said = [f"An audit does not count: {audit.content['void']}" for audit in result.audits if audit.content.get("void")]
    for audit in result.audits:
        said += [] if audit.content.get("void") else map(str, audit.content.get("cautions", []))
    return said


@of_ours()
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
    return [*said, *_other_choice(result, content["best"]), *map(str, content["cautions"]), *_claims(result)]


@of_ours()
def _other_choice(result: StudyResult, best: int) -> list[str]:
    """That the trial of the best value is not the one that the study chose."""
    confirmed = result.finding("confirmation")
    if confirmed is None or (chosen := chosen_by(confirmed.content)) == best:
        return []
    preferred = confirmed.content["preferred"]
    why = (
        f"`prefer: {preferred['by']}` names trial {chosen}" if preferred else f"Confirmation puts trial {chosen} first"
    )
    return [f"{why}: `foldtune test` trains that one."]


@of_ours()
def _claims(result: StudyResult) -> list[str]:
    """What intervals of values promise."""
    found = result.finding("calibration")
    return [found.content["claim"]] if found is not None and found.content["kind"] == "interval" else []


@of_ours()
def warnings(result: StudyResult) -> list[str]:
    """What was doubtful about a study's data, folds and metrics before anything was trained."""
    return [warning["message"] for warning in result.warnings]


@of_ours()
def terms(result: StudyResult) -> list[str]:
    """Keys of the explanations of all that is printed of a study."""
    score = result.finding("score")
    label = ["label"] if score is not None and CORRECTED in (score.content["label"] or "") else []
    return ["sd", "epochs", *terms_of([*map(audit_line, result.audits), *lines(result)]), *label]


def terms_of(said: Iterable[Line]) -> list[str]:
    """Keys of the explanations of what stands in lines, each once."""
    return list(dict.fromkeys(chain.from_iterable(line.terms for line in said)))


def audit_line(audit: Finding) -> Line:
    """The score of an audit."""
    said = audit.content
    value = number(said["scores"][said["metric"]])
    ends = interval(said["interval"], said["level"]) if said["interval"] else "no interval"
    terms = ("interval",) if said["interval"] else ()
    date = f"{audit.created_at:%Y-%m-%d}"
    if audit.kind == "nested":
        return Line("nested", value, f"{ends}; {said['J']} outer folds, {date}", ("nested", *terms))
    look = f", look {said['looks']}" if said["looks"] > 1 else ""
    comment = f"{ends}; trial {audit.trial}, {said['n_rows']} rows, {date}{look}"
    return Line("locked test", value, comment, ("locked test", *terms))


def _scores(said: Content) -> list[Line]:
    key = "corrected" if said["method"] == "BBC" else "fold correction"
    stands = said["headline"] == "score"
    ends = interval(said["interval"], said["level"]) if said["interval"] else "no interval"
    terms = (key, "interval") if said["interval"] else (key,)
    found = []
    if stands or said["interval"]:
        found.append(Line(key, number(said["corrected"]) if stands else "", ends, terms))
    flatters = stands and said["optimism"] > 0
    optimism = f"; flatters by {column([said['naive'], said['optimism']])[1]}" if flatters else ""
    found.append(
        Line(
            "naive best",
            number(said["naive"]),
            f"trial {said['best']}{optimism}",
            ("naive", "optimism") if flatters else ("naive",),
        )
    )
    return found + ([_gain(said["gain"], said["level"])] if said["gain"] else [])


def _gain(gain: Content, level: float) -> Line:
    ends = interval(gain["interval"], level) if gain["interval"] else "no interval"
    verdict = f": {gain['verdict']}" if gain["verdict"] else ""
    return Line("over default", signed(gain["mean"]), f"{ends}{verdict}", ("gain", "interval"))


def _confirmed(said: Content) -> list[Line]:
    ranked, alike = said["ranked"], said["alike"]
    first = ranked[0]
    ties = f"; the first {alike} of {len(ranked)} are indistinguishable" if alike > 1 else ""
    comment = f"trial {said['winner']}, mean of {_runs(said)}{ties}"
    terms = ("confirmation", "alike") if ties else ("confirmation",)
    found = [Line("confirmed", number(first["mean"]), comment, terms)]
    if said["run_to_run"] is not None:
        helps = {True: "; repeats help", False: "; repeats bring little", None: ""}[said["repeats_help"]]
        found.append(Line("run to run", number(said["run_to_run"]), f"standard deviation{helps}", ("run to run",)))
    if said["preferred"]:
        found.append(_preferred(said["preferred"], said["winner"], ranked))
    return found


def _runs(said: Content) -> str:
    """What confirmed means are of; a splitter without randomness gives the same folds every time."""
    runs = said["repeats"] + 1
    partitions = said.get("partitions", runs)
    return f"{partitions} partitions" if partitions > 1 else f"{runs} runs on the same folds"


def _preferred(said: Content, winner: int, ranked: list[dict[str, Any]]) -> Line:
    cost = said["costs"].get(str(said["number"]))
    measure = "parameters" if said["by"] == "simple" else "s a batch"
    spent = "" if cost is None else f", {cost:,.0f} {measure}" if said["by"] == "simple" else f", {cost:.2g} {measure}"
    mean = next(one["mean"] for one in ranked if one["number"] == said["number"])
    given = "the winner itself" if said["number"] == winner else f"gives up {number(said['given_up'])}"
    return Line(f"prefer {said['by']}", number(mean), f"trial {said['number']}{spent}; {given}", ("prefer",))


def _calibrated(finding: Finding) -> list[Line]:
    said, of = finding.content, f"trial {finding.trial}"
    if said["kind"] == "temperature":
        if not said["kept"]:
            return []
        before, after = said["error"]
        change = f"{of}; calibration error {number(before)} before, {number(after)} after"
        return [Line("temperature", number(said["temperature"]), change, ("temperature", "calibration error"))]
    names = said["targets"] if len(said["targets"]) > 1 else [""]
    found = []
    for name, half, coverage in zip(names, said["half_width"], said["coverage"], strict=True):
        held = "" if coverage is None else f"; held {coverage:.0%} of rows out of fold"
        value = "-" if half is None else f"±{number(half)}"
        comment = f"{of}{', ' + name if name else ''}{held}"
        found.append(Line(f"{said['level']:.0%} of values", value, comment, ("prediction interval",)))
    return found


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
