"""SQL views, so that a dashboard reads leaderboards and fold curves without Python; described in `docs/database.md`."""

from sqlalchemy import Connection

_LEADERBOARD = """
SELECT study, trial, ROW_NUMBER() OVER (
    PARTITION BY study ORDER BY
        CASE state WHEN 'complete' THEN 0 WHEN 'pruned' THEN 1 WHEN 'running' THEN 2 WHEN 'waiting' THEN 3 ELSE 4 END,
        CASE WHEN state = 'pruned' THEN -epochs ELSE 0 END,
        CASE WHEN minimized = 1 THEN COALESCE(value, 0) ELSE -COALESCE(value, 0) END,
        trial
) AS place, state, value, epochs, seconds, engine, origin, n_parameters, params, started_at, finished_at
FROM (
    SELECT s.name AS study, t.number AS trial, t.state, COALESCE(t.value, c.mean) AS value, t.epochs, t.seconds,
        t.engine, t.origin, t.n_parameters, t.params, t.started_at, t.finished_at, {minimized} AS minimized
    FROM foldtune_studies s JOIN foldtune_trials t ON t.study_id = s.id
    LEFT JOIN foldtune_curves c ON c.study_id = t.study_id AND c.trial = t.number AND c.repeat = 0
        AND c.epoch = t.epochs AND t.state = 'pruned'
) trials
"""
_PROGRESS = """
SELECT s.name AS study, COUNT(t.number) AS trials,
    COUNT(CASE WHEN t.state = 'waiting' THEN 1 END) AS waiting,
    COUNT(CASE WHEN t.state = 'running' THEN 1 END) AS running,
    COUNT(CASE WHEN t.state = 'complete' THEN 1 END) AS complete,
    COUNT(CASE WHEN t.state = 'pruned' THEN 1 END) AS pruned,
    COUNT(CASE WHEN t.state = 'failed' THEN 1 END) AS failed,
    CASE WHEN {minimized} = 1 THEN MIN(CASE WHEN t.state = 'complete' THEN t.value END)
        ELSE MAX(CASE WHEN t.state = 'complete' THEN t.value END) END AS best,
    COALESCE(SUM(t.epochs), 0) AS epochs, s.seconds AS seconds, s.created_at AS created_at,
    MAX(t.finished_at) AS last_finished_at
FROM foldtune_studies s LEFT JOIN foldtune_trials t ON t.study_id = s.id
GROUP BY s.id, s.name, s.directions, s.seconds, s.created_at
"""
_MINIMIZED = """CASE WHEN SUBSTR(s.directions, 1, 11) = '["minimize"' THEN 1 ELSE 0 END"""
_CURVES = """
SELECT s.name AS study, c.trial AS trial, c.epoch AS epoch, {columns}
FROM foldtune_studies s JOIN foldtune_curves c ON c.study_id = s.id AND c.repeat = 0 {folds}
"""
_SQLITE_FLOAT = """CASE json_type({0}, {1}) WHEN 'object' THEN
    CASE json_extract({0}, {1} || '."$float"') WHEN 'inf' THEN 9e999 WHEN '-inf' THEN -9e999 END
    ELSE json_extract({0}, {1}) END"""
_FIRST = "m.fullkey || '[0]'"
_SQLITE = _CURVES.format(
    columns=f"l.key AS fold, {_SQLITE_FLOAT.format('c.losses', 'l.fullkey')} AS loss, "
    f"{_SQLITE_FLOAT.format('c.scores', _FIRST)} AS score",
    folds="JOIN json_each(c.losses) l JOIN json_each(c.scores) m ON m.key = l.key",
)
_POSTGRES_FLOAT = """CAST(CASE jsonb_typeof({0}) WHEN 'object' THEN NULLIF({0} ->> '$float', 'nan')
    ELSE {0} #>> '{{}}' END AS double precision)"""
_POSTGRES = _CURVES.format(
    columns=f"l.n - 1 AS fold, {_POSTGRES_FLOAT.format('l.loss')} AS loss, "
    f"{_POSTGRES_FLOAT.format('(m.scores -> 0)')} AS score",
    folds="""CROSS JOIN LATERAL jsonb_array_elements(CAST(c.losses AS jsonb)) WITH ORDINALITY AS l(loss, n)
    JOIN LATERAL jsonb_array_elements(CAST(c.scores AS jsonb)) WITH ORDINALITY AS m(scores, n) ON m.n = l.n""",
)
_MYSQL_FLOAT = """CASE {0}_named WHEN 'inf' THEN 1.7976931348623157e308 WHEN '-inf' THEN -1.7976931348623157e308
    WHEN 'nan' THEN NULL ELSE {0} END"""
_MYSQL = _CURVES.format(
    columns=f"l.n - 1 AS fold, {_MYSQL_FLOAT.format('l.loss')} AS loss, {_MYSQL_FLOAT.format('m.score')} AS score",
    folds="""JOIN JSON_TABLE(c.losses, '$[*]' COLUMNS (
        n FOR ORDINALITY, loss DOUBLE PATH '$', loss_named VARCHAR(8) PATH '$."$float"')) l
    JOIN JSON_TABLE(c.scores, '$[*]' COLUMNS (
        n FOR ORDINALITY, score DOUBLE PATH '$[0]', score_named VARCHAR(8) PATH '$[0]."$float"')) m ON m.n = l.n""",
)
_FOLD_CURVES = {"sqlite": _SQLITE, "postgresql": _POSTGRES, "mysql": _MYSQL, "mariadb": _MYSQL}

NAMES = ("foldtune_leaderboard", "foldtune_progress", "foldtune_fold_curves")
"""Every view."""


def create(connection: Connection) -> None:
    """Create the views anew, on tables of this version."""
    drop(connection)
    queries = (
        _LEADERBOARD.format(minimized=_MINIMIZED),
        _PROGRESS.format(minimized=_MINIMIZED),
        _FOLD_CURVES[connection.dialect.name],
    )
    for name, query in zip(NAMES, queries, strict=True):
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {query}")


def drop(connection: Connection) -> None:
    """Drop the views: tables under them can then be changed."""
    for name in NAMES:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
