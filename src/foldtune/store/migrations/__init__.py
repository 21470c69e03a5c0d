"""From the tables of every older release to this version's, by alembic, in SQLite, PostgreSQL and MariaDB."""
