"""Everything foldtune raises on purpose.

FoldtuneError
├── RequestError          what was asked cannot be done; nothing was trained or written (exit code 2)
│   ├── SpecError         the study file is wrong
│   ├── DataError         the data do not fit the study file
│   ├── StoreError        the database cannot be used
│   │   ├── DatabaseAwayError  it does not answer
│   │   ├── NoTablesError      nothing of foldtune's is there yet
│   │   └── LeaseLostError     another search loop has this one's trials
│   └── ResumeError       the stored study and the request differ
├── TrainingError         one trial failed; the study goes on
│   ├── DivergedError     a loss or a score is not finite
│   └── CheckpointError   a job cannot go on from a state; it can train from its start
└── NotPackable           a job is left to the lockstep engine; the message says why

A `RequestError` carries *all* problems found, each with its path in the study file; the line is looked up when the
message is printed, in the `Source` that a `located` block attached.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Self

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Where the nodes of a study file stand.

    Args:
        file: the file's name as the user gave it; "" for a Python dict.
        lines: path -> line, from 1.
        overridden: paths whose values came from the command line.
    """

    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)
    overridden: tuple[Path, ...] = ()

    def line(self, path: Path) -> int | None:
        """The line of `path`, or of its nearest ancestor that has one."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return None

    def place(self, path: Path) -> str:
        """Where the value at `path` was written; "" when nobody knows."""
        if any(path[: len(above)] == above for above in self.overridden):
            return "command line"
        line = self.line(path)
        return f"{self.file}:{line}" if self.file and line else ""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a request.

    Args:
        path: where, in the study file's tree.
        rule: what must hold, as a sentence without a full stop.
        value: what was found, as it should be printed; None when nothing was there.
        hint: what to do.
    """

    path: Path
    rule: str
    value: str | None = None
    hint: str | None = None

    def text(self, source: Source | None = None) -> str:
        """One line: `file:line: path: rule, however: value. Hint.`"""
        place = source.place(self.path) if source else ""
        found = f", however: {_without_stop(self.value)}" if self.value is not None else ""
        said = f"{self.rule}{found}.{' ' + self.hint if self.hint else ''}"
        return ": ".join(part for part in (place, dotted(self.path), said) if part)


class FoldtuneError(Exception):
    """Base of everything that foldtune raises on purpose."""


class RequestError(FoldtuneError):
    """The request cannot be carried out. Nothing was trained or written.

    Args:
        problems: all that is wrong.

    Example:
        >>> str(SpecError.of(("optimizer", "lr"), "`lr` must be positive", -1))
        'optimizer.lr: `lr` must be positive, however: -1.'
    """

    def __init__(self, problems: Sequence[Problem], source: Source | None = None) -> None:
        super().__init__(problems, source)
        self.problems = tuple(dict.fromkeys(problems))
        self.source = source

    @classmethod
    def of(cls, path: Path, rule: str, value: object = None, hint: str | None = None) -> Self:
        """The error of a single problem."""
        return cls([Problem(path, rule, None if value is None else str(value), hint)])

    def __str__(self) -> str:
        source = self.source or Source()
        in_order = sorted(self.problems, key=lambda problem: source.line(problem.path) or 0)
        return "\n".join(problem.text(source) for problem in in_order)


class SpecError(RequestError):
    """The study file is wrong."""


class DataError(RequestError):
    """The data do not fit the study file."""


class StoreError(RequestError):
    """The database cannot be used."""


class DatabaseAwayError(StoreError):
    """The database does not answer; it may a little later."""


class NoTablesError(StoreError):
    """Nothing of foldtune's is in the database; the first search creates it."""


class LeaseLostError(StoreError):
    """Another search loop has taken this one's trials over: what it writes from now on is not stored."""


class ResumeError(RequestError):
    """The stored study and the request differ."""


class TrainingError(FoldtuneError):
    """One trial failed; the study goes on."""


class DivergedError(TrainingError):
    """A loss or a score is NaN or infinite."""


class CheckpointError(TrainingError):
    """A job cannot go on from a state, or its state cannot be written; it can train from its start.

    Example:
        >>> str(CheckpointError.of(("folds", 0), "a state must have plain values", object))
        "folds.0: a state must have plain values, however: <class 'object'>. Train the trial from its start."
    """

    @classmethod
    def of(cls, path: Path, rule: str, value: object = None) -> Self:
        """The error of a rule."""
        return cls(Problem(path, rule, None if value is None else str(value), "Train the trial from its start.").text())


class NotPackable(FoldtuneError):
    """The packed engine cannot train this exactly as PyTorch would; the message says why."""


@contextmanager
def located(source: Source | None) -> Iterator[None]:
    """Attach the study file to any request error raised inside, so that its message has file:line."""
    try:
        yield
    except RequestError as error:
        error.source = error.source or source
        raise


def dotted(path: Path) -> str:
    """A path as it is printed: `model.layers.0.out_features`."""
    return ".".join(str(part) for part in path)


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint naming the closest of `names`, those that it is short or long for first; "" when none is close.

    Example:
        >>> nearest("AdmaW", ["Adam", "AdamW", "SGD"]), nearest("separator", ["sep", "header"])
        ('Did you mean AdamW or Adam?', 'Did you mean sep?')
    """
    folded, wanted = {candidate.lower(): candidate for candidate in sorted(names)}, name.lower()
    begun = [
        key for key in folded if min(len(key), len(wanted)) > 2 and (wanted.startswith(key) or key.startswith(wanted))
    ]
    close = get_close_matches(wanted, folded, n=3, cutoff=0.6)
    same = [wanted] if wanted in folded else []
    found = list(dict.fromkeys([*same, *sorted(begun, key=len, reverse=True), *close]))[:3]
    return f"Did you mean {' or '.join(folded[key] for key in found)}?" if found else ""


def _without_stop(text: str) -> str:
    """Other libraries' messages end with a full stop or not; ours adds one."""
    return text if text.endswith("...") else text.rstrip(". ")
