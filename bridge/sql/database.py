"""The interface of a database, and the statements that all of them share.

The type of an error says what to do. `Retryable`: wait, the database is away, full or locked; `ConfigError`: address,
rights or tables are wrong; `Rejected`: the database refuses a row because of its content; any other `BridgeError`:
unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.errors import ConfigError, Rejected, Retryable
from bridge.sql.layout import ATTEMPTS, VERSION, Column, Tables
from bridge.sql.rows import Batch

__all__ = [
    "NO_TABLES",
    "ArchivedEvent",
    "Database",
    "Limits",
    "away",
    "check_columns",
    "check_version",
    "misconfigured",
    "no_bytes",
    "no_tables",
    "refused",
    "upsert_end",
]

#: `reason` where the tables do not exist.
NO_TABLES = "no_tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds: to connect; for a lock; for a statement in the server; until the answer, whatever the server does."""

    connect: float = 10.0
    lock: float = 5.0
    statement: float = 20.0
    #: Together with `connect`, shorter than `subscriptions test` waits.
    answer: float = 30.0


@dataclass(frozen=True, slots=True)
class ArchivedEvent:
    """One row of the table of events."""

    id: str
    type: str
    #: Name of its source.
    source: str
    subject: str
    attempt_id: str | None
    #: When it was recorded, ISO 8601 in UTC.
    recorded_at: str
    #: Its JSON, byte for byte as it was written.
    event: bytes

    @classmethod
    def of(cls, row: Sequence[Any]) -> ArchivedEvent:
        """The row with these cells, the last of them the JSON as text."""
        ident, kind, source, subject, attempt_id, recorded_at, text = row
        return cls(ident, kind, source, subject, attempt_id, recorded_at, text.encode())


class Database(Protocol):
    """One connection, opened on first use and after a failure. Not thread-safe."""

    def check(self) -> str:
        """Connect, and check that the tables are there, or create them; returns what the database is in short."""
        ...

    def write(self, batch: Batch, *, keep: bool = True) -> None:
        """Write in one transaction, which is rolled back unless `keep`. Nothing is written if it raises."""
        ...

    def events(self, source: str, after: str, limit: int) -> Sequence[tuple[str, str | None, bytes]]:
        """(id, id of its attempt, JSON) of events of a source, by id, those after the id `after`."""
        ...

    def period(self, since: str, until: str) -> tuple[str, str] | None:
        """When the first and the last event were recorded, of those in [since, until]; None without any.

        Times are ISO 8601 in UTC, empty for no bound.
        """
        ...

    def recorded(self, first: str, last: str, after: str, limit: int) -> Sequence[ArchivedEvent]:
        """The next events in the order of their recording, then of their ids, those recorded at `last` included.

        They begin at `first` (ISO 8601 in UTC), and at that moment after the id `after`.
        """
        ...

    def delete(self, source: str, attempts: Sequence[str], events: Sequence[str]) -> None:
        """Delete every row of these attempts of a source, and these events."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def away(fact: str, remedy: str) -> Retryable:
    """The error of a database that cannot be used now."""
    return Retryable(f"database: {fact}. Remedy: {remedy}", reason="database_unavailable")


def misconfigured(fact: str, remedy: str) -> ConfigError:
    """The error of a database that cannot be used until somebody changes something."""
    return ConfigError(f"database: {fact}. Remedy: {remedy}")


def no_tables(fact: str) -> ConfigError:
    """The error of a database without the tables."""
    error = misconfigured(fact, "run what attempt-bridge sql schema prints, or write create: true")
    error.reason = NO_TABLES
    return error


def no_bytes(table: str) -> ConfigError:
    """The error of a table that does not hold events as they were published."""
    return misconfigured(
        f"column event of {table} is not json: it does not keep the bytes of events",
        "archive into tables as attempt-bridge sql schema prints them",
    )


def refused(code: str) -> Rejected:
    """The error of a row whose content the database refuses. `code`: its class of error; values are never shown."""
    return Rejected(
        f"database: refuses this event: {code}. Remedy: change the constraint, or discard it", reason="row_refused"
    )


def check_version(version: int | None, tables: Tables) -> None:
    """Raises `ConfigError` if tables of this version cannot be used. None: there is no row."""
    if version == VERSION:
        return
    have = "no version" if version is None else f"version {version}"
    fact = f"the tables {tables.attempts} have {have}, this bridge writes version {VERSION}"
    if version is not None and version > VERSION:
        raise misconfigured(fact, "run the newer bridge, or name another table")
    raise misconfigured(fact, "bring them to that version: docs/outputs-sql.md, or name another table")


def check_columns(table: str, expected: tuple[Column, ...], existing: Collection[str]) -> None:
    """Raises `ConfigError` if a table lacks a column."""
    missing = [column.name for column in expected if column.name not in existing]
    if missing:
        raise misconfigured(f"table {table} lacks {', '.join(missing)}", "add it: attempt-bridge sql schema prints it")


def upsert_end() -> str:
    """What follows the rows of attempts: a lower or the same revision changes nothing, unless it voids."""
    changed = ", ".join(f"{column.name} = excluded.{column.name}" for column in ATTEMPTS[2:])
    newer = "(excluded.revision, excluded.voided) > (t.revision, t.voided)"
    return f"ON CONFLICT (source, attempt_id) DO UPDATE SET {changed}, stored_at = excluded.stored_at WHERE {newer}"
