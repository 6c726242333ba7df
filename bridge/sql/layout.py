"""The tables, their columns and their DDL, for PostgreSQL and SQLite. Pure.

A change of the columns raises `VERSION`; the row in the table `<table>_version` holds the one that a database has.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ATTEMPTS", "EVENTS", "POSTGRESQL", "SQLITE", "VERSION", "Column", "Tables", "ddl", "ddl_text"]

POSTGRESQL, SQLITE = "postgresql", "sqlite"
#: Version of the layout.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `kind`: its type in PostgreSQL."""

    name: str
    kind: str = "text"
    required: bool = False


#: One row for each attempt: its newest revision.
ATTEMPTS = (
    Column("source", required=True),
    Column("attempt_id", required=True),
    Column("revision", "bigint", required=True),
    Column("status", required=True),
    Column("voided", "boolean", required=True),
    Column("vendor"),
    Column("candidate_id"),
    Column("candidate_external_id"),
    Column("candidate_email"),
    Column("candidate_name"),
    Column("assessment_id"),
    Column("assessment_name"),
    Column("group_id"),
    Column("group_name"),
    Column("score", "numeric"),
    Column("max_score", "numeric"),
    Column("percentage", "numeric"),
    Column("pass_mark_percentage", "numeric"),
    Column("passed", "boolean"),
    Column("grade"),
    Column("grading"),
    Column("started_at", "timestamptz"),
    Column("completed_at", "timestamptz"),
    Column("duration_seconds", "bigint"),
    Column("recorded_at", "timestamptz", required=True),
    Column("event_id", required=True),
    # json keeps the bytes as they were published: a replay from the archive sends them again. Parsing them into jsonb
    # takes the server a fifth of the time of everything else.
    Column("event", "json", required=True),
)
#: One row for each event, notices included.
EVENTS = (
    Column("id", required=True),
    Column("type", required=True),
    Column("source", required=True),
    Column("subject", required=True),
    Column("attempt_id"),
    Column("revision", "bigint"),
    Column("vendor"),
    Column("origin"),
    Column("occurred_at", "timestamptz", required=True),
    Column("recorded_at", "timestamptz", required=True),
    Column("event", "json", required=True),
)
#: Written by the database itself in both tables.
_STORED_AT = "stored_at"
_SQLITE_KINDS = {
    "text": "text",
    "bigint": "integer",
    "boolean": "integer",
    "numeric": "real",
    "timestamptz": "text",
    "json": "text",
}
_NOW = {POSTGRESQL: "timestamptz NOT NULL DEFAULT now()"}
_NOW[SQLITE] = "text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"


@dataclass(frozen=True, slots=True)
class Tables:
    """Names of the tables, quoted. `schema`: PostgreSQL's; None: the first of the search path. Both are identifiers."""

    schema: str | None
    table: str

    def _quoted(self, suffix: str) -> str:
        return f'"{self.schema}"."{self.table}{suffix}"' if self.schema else f'"{self.table}{suffix}"'

    @property
    def attempts(self) -> str:
        """The table of attempts."""
        return self._quoted("")

    @property
    def events(self) -> str:
        """The table of events."""
        return self._quoted("_events")

    @property
    def version(self) -> str:
        """The table with the version of the layout."""
        return self._quoted("_version")

    @property
    def all(self) -> list[str]:
        """Every table."""
        return [self.version, self.attempts, self.events]


def ddl(tables: Tables, dialect: str) -> list[str]:
    """The statements that create what is missing, in their order; all in one transaction."""
    name = tables.table
    return [
        f"CREATE TABLE IF NOT EXISTS {tables.version} (version integer NOT NULL)",
        _table(tables.attempts, ATTEMPTS, "source, attempt_id", dialect),
        _table(tables.events, EVENTS, "id", dialect),
        f'CREATE INDEX IF NOT EXISTS "{name}_completed" ON {tables.attempts} (completed_at)',
        f'CREATE INDEX IF NOT EXISTS "{name}_events_attempt" ON {tables.events} (source, attempt_id)',
        f'CREATE INDEX IF NOT EXISTS "{name}_events_recorded" ON {tables.events} (recorded_at)',
        f"INSERT INTO {tables.version} (version) SELECT {VERSION} WHERE NOT EXISTS (SELECT 1 FROM {tables.version})",  # noqa: S608 - validated identifiers
    ]


def ddl_text(tables: Tables, dialect: str) -> str:
    """The same statements as a script."""
    return "\n".join(
        [f"-- Attempt Bridge, tables of version {VERSION}, {dialect}", "BEGIN;", *_script(tables, dialect)]
    )


def _script(tables: Tables, dialect: str) -> list[str]:
    return [*(f"{statement};" for statement in ddl(tables, dialect)), "COMMIT;"]


def _table(name: str, columns: tuple[Column, ...], key: str, dialect: str) -> str:
    lines = [f"    {_definition(column, dialect)}," for column in columns]
    lines += [f"    {_STORED_AT} {_NOW[dialect]},", f"    PRIMARY KEY ({key})"]
    return "\n".join([f"CREATE TABLE IF NOT EXISTS {name} (", *lines, ")"])


def _definition(column: Column, dialect: str) -> str:
    kind = column.kind if dialect == POSTGRESQL else _SQLITE_KINDS[column.kind]
    return f"{column.name} {kind}{' NOT NULL' if column.required else ''}"
