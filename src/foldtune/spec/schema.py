"""The shape of a study file, and of one trial's configuration.

`StudySpec` is the whole file with domains still in its searchable sections; `ConfigSpec` is what those sections must
look like once every domain has a value. Arguments of `use:` classes are not described here: they belong to the classes
and are checked by `foldtune.refs`.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PositiveInt, Tag, model_validator

from foldtune.values import Task

SEARCHABLE = ("model", "loss", "optimizer", "scheduler", "regularization", "preprocessing", "augmentation", "training")
"""The sections in which a leaf may be a domain."""

CHANGEABLE = tuple(("search", name) for name in ("trials", "timeout", "patience", "confirm", "prefer"))
"""What may differ when a study goes on: none of it changes a trial."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
EngineChoice = Literal["auto", "packed", "lockstep"]
Precision = Literal["32-true", "bf16-mixed"]
AnswersChoice = Literal["auto", "answers", "losses", "none"]
Cost = Literal["simple", "latency"]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Column = str | int
Columns = Annotated[tuple[Column, ...], Field(strict=False)]


def seconds(value: object) -> object:
    """A duration in seconds from `90`, `"30s"`, `"15m"`, `"2h"` or `"1d"`."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value)
    if match is None:
        raise ValueError(f"a time is a number of seconds, or written 30s, 15m, 2h or 1d, however: {value!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


_Written = float | Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*[smhd]$")]
Seconds = Annotated[
    float,
    BeforeValidator(seconds, json_schema_input_type=_Written),
    Field(gt=0, description="seconds, or 30s, 15m, 2h, 1d"),
]


def _bare_to_mapping(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


def _one_to_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _steps_or_codes(value: object) -> str:
    return "steps" if isinstance(value, list | tuple) else "codes"


class Section(BaseModel):
    """A part of the study file: frozen, typed as written, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Reference(Section):
    """A class by name, with its own keyword arguments beside `use`."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    use: str

    @property
    def node(self) -> dict[str, Any]:
        """The mapping as `foldtune.refs` reads it."""
        return {"use": self.use, **(self.model_extra or {})}


Ref = Annotated[Reference, BeforeValidator(_bare_to_mapping, json_schema_input_type=Reference | str)]
Refs = Annotated[tuple[Ref, ...], Field(strict=False)]


class OuterFoldSpec(Section):
    """One fold of a nested cross-validation; `foldtune run --nested` writes it into the studies that it makes."""

    fold: int = Field(ge=0, description="the fold whose rows are locked away, from 0")
    n_splits: int = Field(ge=2, description="how many such folds there are")
    seed: int = Field(ge=0, description="of the study that is nested, whose locked rows are left out altogether")

    @model_validator(mode="after")
    def _one_of_them(self) -> "OuterFoldSpec":
        if self.fold >= self.n_splits:
            raise ValueError(f"`fold` must be below `n_splits` ({self.n_splits}), however: {self.fold}")
        return self


class DataSpec(Section):
    """Where the rows come from. Keys not listed here are the reader's own (`pandas.read_csv`, `make_moons` ...)."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        strict=True,
        arbitrary_types_allowed=True,
        json_schema_extra={"oneOf": [{"required": [source]} for source in ("use", "table", "arrays")]},
    )

    use: str | None = Field(None, description="a bundled set (digits), a generator (make_moons) or package.module:Name")
    table: Any = Field(None, description="CSV or Parquet file, or a glob of files; a pandas DataFrame in Python")
    arrays: Any = Field(None, description=".npz or .npy file; a mapping of NumPy arrays X and y in Python")
    features: str | None = Field(None, description="name of the input array in an .npz file; default X")
    target: Column | Columns | None = Field(None, description="the column (or columns) to predict")
    task: Task | None = Field(None, description="inferred from the target")
    drop: Columns = Field((), description="columns left out")
    numeric: Columns = Field((), description="columns read as numbers whatever they look like")
    categorical: Columns = Field((), description="columns read as categories whatever they look like")
    group: Column | None = Field(None, description="column of groups that no split may divide")
    time: Column | None = Field(None, description="column that orders the rows; forces a time splitter")
    test_fraction: Fraction | None = Field(None, description="share of rows locked away before any split")
    test: str | None = Field(None, description="a file with the same columns, locked away instead")
    outer_fold: OuterFoldSpec | None = Field(None, description="a fold of a nested cross-validation, locked away")

    @property
    def options(self) -> dict[str, Any]:
        """The reader's own arguments."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _one_source(self) -> "DataSpec":
        given = [key for key in ("use", "table", "arrays") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of `use`, `table` and `arrays` must be given, however: {' and '.join(given) or 'none'}"
            )
        if self.test_fraction is not None and self.test is not None:
            raise ValueError("only one of `test_fraction` and `test` can be given")
        return self


class SearchSpec(Section):
    """How configurations are chosen, and when the search ends."""

    trials: PositiveInt = Field(100, description="trials in all, over every run and worker")
    timeout: Seconds | None = Field(None, description="time in all: seconds, or 30s, 15m, 2h, 1d")
    patience: PositiveInt | None = Field(None, description="stop after so many trials without a better one")
    seed: int = Field(0, ge=0, description="every random number follows from it")
    cohort: PositiveInt | None = Field(
        None, description="trials in training at once; absent: one per process, or at least 8 where they can be packed"
    )
    engine: EngineChoice = Field(
        "auto", description="lockstep: each trial trains by itself; auto, packed: those of one structure as one stack"
    )
    confirm: int = Field(
        2, ge=0, le=20, description="fresh partitions on which the best trials are trained again; 0: none; 4: thorough"
    )
    prefer: Cost | None = Field(
        None, description="simple: of trials not worse than the best, that of fewest parameters; latency: the quickest"
    )
    out_of_fold: AnswersChoice = Field(
        "auto", description="what is kept of each trial's out-of-fold answers; auto: the answers, while they are small"
    )
    enqueue: Any = Field((), description="parameters to try first, or a YAML or JSON file with a list of them")
    sampler: Ref | None = Field(None, description="optuna.samplers; absent: TPE, multivariate, groups, constant liar")
    pruner: Ref | None = Field(None, description="optuna.pruners; absent: successive halving on the fold mean")


class StudySpec(Section):
    """The whole study file, domains included."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=200)
    data: DataSpec
    validation: Ref | None = Field(
        None, description="sklearn.model_selection or foldtune.data.splitters; absent: 5 stratified folds"
    )
    preprocessing: Any = None
    augmentation: Any = None
    objective: Annotated[Refs, BeforeValidator(_one_to_list, json_schema_input_type=Ref | Refs)] = Field(
        (), description="scikit-learn's function name without _score; a list means several objectives"
    )
    metrics: Refs = Field((), description="recorded for every fold and epoch")
    model: Any
    loss: Any = None
    optimizer: Any = None
    scheduler: Any = None
    regularization: Any = None
    training: Any = None
    search: SearchSpec = SearchSpec()


class CategoricalSpec(Section):
    """Codes for embeddings: 0 for missing, 1 for unseen, then the categories, rare ones sharing the last."""

    min_frequency: int | Fraction | None = Field(10, description="rarer categories share one code")
    max_categories: PositiveInt | None = None


class ColumnsSpec(Section):
    """Steps for some columns instead of those of their kind."""

    columns: Columns
    steps: Refs


class PreprocessingSpec(Section):
    """scikit-learn transformers, fitted on each fold's training rows only."""

    numeric: Refs | None = Field(None, description="absent: median imputation and standardisation")
    categorical: Annotated[
        Annotated[CategoricalSpec, Tag("codes")] | Annotated[Refs, Tag("steps")], Discriminator(_steps_or_codes)
    ] = CategoricalSpec()
    columns: Annotated[tuple[ColumnsSpec, ...], Field(strict=False)] = ()


class EarlyStoppingSpec(Section):
    """A job stops when its fold mean has not improved by more than `min_delta` for `patience` epochs."""

    patience: PositiveInt = 10
    min_delta: NonNegative = 0.0


class RegularizationSpec(Section):
    """Penalties and clipping, beside the optimizer's own weight decay."""

    l1: NonNegative = Field(0.0, description="times the sum of absolute weights, biases and norms left out")
    l2: NonNegative = Field(0.0, description="times the sum of squared weights, biases and norms left out")
    clip_norm: Positive | None = Field(None, description="largest norm of the gradient of one model")
    clip_value: Positive | None = Field(None, description="largest absolute value of a gradient's element")
    early_stopping: EarlyStoppingSpec | None = None


class TrainingSpec(Section):
    """How long, and in what portions."""

    epochs: PositiveInt = 50
    batch_size: PositiveInt = 32
    precision: Precision = Field(
        "32-true", description="as Lightning names it; bf16-mixed: matrix products in bfloat16, all else in float32"
    )


class ConfigSpec(Section):
    """One trial's configuration: no domains left."""

    model: Ref
    loss: Ref
    optimizer: Ref
    scheduler: Ref | None = None
    regularization: RegularizationSpec = RegularizationSpec()
    preprocessing: PreprocessingSpec = PreprocessingSpec()
    augmentation: None = None
    training: TrainingSpec = TrainingSpec()
