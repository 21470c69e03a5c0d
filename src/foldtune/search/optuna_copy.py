"""A faithful copy of the study in Optuna's own tables, for optuna-dashboard and Optuna's tools.

Our rows are the truth. What was written since is copied in one transaction, whose rows are those that Optuna would
write: a trial with its parameters, its reports at rungs, and how it ended.
"""

from collections.abc import Collection, Mapping
from functools import cache

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import load_study

from foldtune.errors import StoreError
from foldtune.search.mirror import STATES
from foldtune.search.note import HEADING, HEADLINE, headline, markdown
from foldtune.search.result import read_result
from foldtune.store.border import reported
from foldtune.store.engine import configure
from foldtune.store.optuna_rows import CopiedTrial
from foldtune.store.optuna_tables import REVISION
from foldtune.store.publishing import Copy, delete_copy, is_copied
from foldtune.store.records import TrialRecord
from foldtune.store.retry import persistently
from foldtune.store.schema import create_beside, revision
from foldtune.store.store import Store
from foldtune.store.transactions import Transactions
from foldtune.train.stopping import fold_mean
from foldtune.values import Direction

MAX_FAILURE = 2000
"""Characters of a failure's message that are copied: MySQL holds 64 kB of an attribute, ours the whole."""

_VERSION_TABLE = "alembic_version"
_GOALS: Mapping[Direction, str] = {"minimize": "MINIMIZE", "maximize": "MAXIMIZE"}


def optuna_storage(store: Store) -> RDBStorage:
    """Optuna's own way to its tables, on connections of its own.

    Raises:
        StoreError: the database cannot be used.
    """
    create_tables(store)
    with reported(store.engine.url):
        storage = RDBStorage(store.engine.url.render_as_string(hide_password=False), skip_table_creation=True)
    configure(storage.engine)
    return storage


def create_tables(store: Store) -> None:
    """Have Optuna create its tables in our database, if they are missing, however many processes want them at once.

    Raises:
        StoreError: the database cannot be used, or its tables are not those that foldtune knows.
    """
    create_beside(store.engine, _VERSION_TABLE, _create_tables)
    with reported(store.engine.url):
        found = revision(store.engine, _VERSION_TABLE)
    if found != REVISION:
        rule = f"Optuna's tables in the database must be of revision {REVISION}"
        hint = "Install the Optuna that makes these and run `optuna storage upgrade`, or use another database."
        raise StoreError.of((), rule, f"{found} in {store.url}", hint)


def make_copy(
    name: str,
    *,
    objectives: Mapping[str, Direction],
    distributions: Mapping[str, BaseDistribution],
    rungs: Collection[int],
) -> Copy:
    """What Optuna's tables shall show of a study.

    Args:
        name: the study's.
        objectives: label and direction of each.
        distributions: every parameter's, by name.
        rungs: epochs whose reports are copied, beside a trial's last.
    """
    steps = frozenset(rungs) if len(objectives) == 1 else frozenset()  # Optuna has no reports of several

    @cache
    def as_json(param: str) -> str:
        return distribution_to_json(distributions[param])

    def shown(trial: TrialRecord, means: Mapping[int, float]) -> CopiedTrial:
        ended = trial.finished_at is not None
        reported_at = {*steps, trial.epochs} if steps and ended else steps
        return CopiedTrial(
            number=trial.number,
            state=STATES[trial.state].name,
            started_at=trial.started_at,
            finished_at=trial.finished_at,
            params={
                param: (distributions[param].to_internal_repr(value), as_json(param))
                for param, value in trial.params.items()
            },
            values=_values(trial),
            reports={epoch: mean for epoch, mean in means.items() if epoch in reported_at},
            notes=_notes(trial),
        )

    return Copy(name, {label: _GOALS[goal] for label, goal in objectives.items()}, steps, shown)


def check_free(store: Store, name: str) -> None:
    """Refuse to share a name with a study that Optuna made.

    Raises:
        StoreError: its tables hold one.
    """
    if Transactions(store.engine).read(lambda connection: is_copied(connection, name)):
        rule = "the database holds an Optuna study of that name that foldtune did not make"
        raise StoreError.of(("name",), rule, name, "Choose another name.")


def forget_copy(store: Store, name: str) -> None:
    """Delete a study from Optuna's tables, where it is in them.

    Raises:
        StoreError: the database cannot be used.
    """
    if _has_tables(store):
        Transactions(store.engine).write(lambda connection: delete_copy(connection, name))


def note(store: Store, name: str) -> None:
    """Say on a study's page in optuna-dashboard what may be said of its scores: as its note, in place of an earlier one
    of ours (a person's own stays), and in a line beside the best value. Nothing happens where Optuna's tables do not
    hold the study.

    Args:
        store: the database.
        name: the study's.

    Raises:
        StoreError: there is no such study, or the database cannot be used.
    """
    if not _has_tables(store) or not Transactions(store.engine).read(lambda connection: is_copied(connection, name)):
        return
    result = read_result(store, name)
    if text := markdown(result):
        create_tables(store)
        storage = optuna_storage(store)
        try:
            with reported(store.engine.url):
                persistently(store.engine.url, lambda: _note(storage, name, headline(result), text))
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _note(storage: RDBStorage, name: str, line: str, text: str) -> None:
    from optuna_dashboard import get_note, save_note  # half a second, once a search has ended

    try:
        study = load_study(study_name=name, storage=storage)
        if study.user_attrs.get(HEADLINE) != line:
            study.set_user_attr(HEADLINE, line)
        before = get_note(study)
        if before != text and (not before or before.startswith(HEADING)):
            save_note(study, text)
    except StorageInternalError as error:  # in which Optuna wraps the database's
        raise error.__cause__ or error from None


def _has_tables(store: Store) -> bool:
    with reported(store.engine.url):
        return revision(store.engine, _VERSION_TABLE) is not None


def _create_tables(url: str) -> None:
    storage = RDBStorage(url)
    storage.remove_session()
    storage.engine.dispose()


def _notes(trial: TrialRecord) -> dict[str, object]:
    """What the dashboard shows beside the values."""
    notes: dict[str, object] = {"origin": trial.origin}
    if trial.scores is not None:
        notes["folds"] = [round(float(value), 6) for value in trial.scores[:, 0]]
    if trial.failure is not None:
        notes["failure"] = f"{trial.failure.kind}: {trial.failure.message}"[:MAX_FAILURE]
    return notes


def _values(trial: TrialRecord) -> tuple[float, ...]:
    """What Optuna keeps as a trial's value: for a pruned one, the last mean."""
    if trial.state == "complete" and trial.values is not None:
        return tuple(trial.values)
    if trial.state == "pruned" and trial.scores is not None:
        return (fold_mean(trial.scores[:, 0]),)
    return ()
