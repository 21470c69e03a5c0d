"""Optuna's tables, as of one revision of theirs: what is named here is read and written beside our own tables."""

from sqlalchemy import Column, DateTime, Double, Enum, ForeignKey, Integer, MetaData, String, Table, Text

REVISION = "v3.2.0.a"
"""Of Optuna's tables, which these are; `alembic_version` says theirs."""

OPTUNA = MetaData()

STUDIES = Table("studies", OPTUNA, Column("study_id", Integer, primary_key=True), Column("study_name", String(512)))


def _of_study(name: str, *columns: Column[object]) -> Table:
    return Table(name, OPTUNA, Column("study_id", ForeignKey(STUDIES.c.study_id)), *columns)


DIRECTIONS = _of_study(
    "study_directions",
    Column("direction", Enum("NOT_SET", "MINIMIZE", "MAXIMIZE", name="studydirection")),
    Column("objective", Integer),
)
STUDY_USER_ATTRS = _of_study("study_user_attributes", Column("key", String(512)), Column("value_json", Text))
STUDY_SYSTEM_ATTRS = _of_study("study_system_attributes", Column("key", String(512)), Column("value_json", Text))
TRIALS = _of_study(
    "trials",
    Column("trial_id", Integer, primary_key=True),
    Column("number", Integer),
    Column("state", Enum("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING", name="trialstate")),
    Column("datetime_start", DateTime),
    Column("datetime_complete", DateTime),
)


def _of_trial(name: str, *columns: Column[object]) -> Table:
    return Table(name, OPTUNA, Column("trial_id", ForeignKey(TRIALS.c.trial_id)), *columns)


PARAMS = _of_trial(
    "trial_params",
    Column("param_name", String(512)),
    Column("param_value", Double),
    Column("distribution_json", Text),
)
VALUES = _of_trial(
    "trial_values",
    Column("objective", Integer),
    Column("value", Double),
    Column("value_type", Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")),
)
REPORTS = _of_trial(
    "trial_intermediate_values",
    Column("step", Integer),
    Column("intermediate_value", Double),
    Column("intermediate_value_type", Enum("FINITE", "INF_POS", "INF_NEG", "NAN", name="trialintermediatevaluetype")),
)
USER_ATTRS = _of_trial("trial_user_attributes", Column("key", String(512)), Column("value_json", Text))
SYSTEM_ATTRS = _of_trial("trial_system_attributes", Column("key", String(512)), Column("value_json", Text))
HEARTBEATS = _of_trial("trial_heartbeats", Column("heartbeat", DateTime))

OF_STUDY = [table for table in OPTUNA.sorted_tables if "study_id" in table.c and table not in (STUDIES, TRIALS)]
OF_TRIAL = [table for table in OPTUNA.sorted_tables if "trial_id" in table.c and table is not TRIALS]
