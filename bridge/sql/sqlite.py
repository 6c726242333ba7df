"""SQLite through the standard library: a file on this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from bridge.errors import BridgeError, Rejected
from bridge.sql.database import (
    ArchivedEvent,
    Limits,
    away,
    check_columns,
    check_version,
    misconfigured,
    no_tables,
    refused,
    upsert_end,
)
from bridge.sql.layout import ATTEMPTS, EVENTS, SQLITE, Column, Tables, ddl
from bridge.sql.rows import Batch

__all__ = ["SQLiteFile"]

_log = structlog.get_logger(__name__)

_FOLDER = "check that its folder exists and that the bridge's user may write there"
#: Primary result code (https://www.sqlite.org/rescode.html) -> (fact, remedy).
_AWAY = {
    sqlite3.SQLITE_BUSY: ("the file is locked by another program", "end that program's transaction"),
    sqlite3.SQLITE_LOCKED: ("a table is locked", "end the transaction that locks it"),
    sqlite3.SQLITE_NOMEM: ("it has no free memory", "free memory"),
    sqlite3.SQLITE_INTERRUPT: ("it was interrupted", "none needed; delivery resumes by itself"),
    sqlite3.SQLITE_IOERR: ("its disk has an error", "check the disk and its file system"),
    sqlite3.SQLITE_FULL: ("its disk is full", "free disk space, or raise max_page_count"),
    sqlite3.SQLITE_SCHEMA: ("its tables were just changed", "none needed; delivery resumes by itself"),
}
_MISCONFIGURED = {
    sqlite3.SQLITE_ERROR: ("the tables are not as expected", "run what attempt-bridge sql schema prints"),
    sqlite3.SQLITE_PERM: ("the file may not be opened", _FOLDER),
    sqlite3.SQLITE_READONLY: ("the file may not be written", _FOLDER),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged", "restore a copy of it"),
    sqlite3.SQLITE_CANTOPEN: ("the file cannot be opened", _FOLDER),
    sqlite3.SQLITE_AUTH: ("the file may not be used", _FOLDER),
    sqlite3.SQLITE_NOTADB: ("the file is not an SQLite database", "correct url"),
}
#: Later than any time as text.
_LATEST = "~"
_CONTENT = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE)


class SQLiteFile:
    """See `Database`."""

    def __init__(self, path: str, tables: Tables, *, create: bool, limits: Limits) -> None:
        self._path, self._tables, self._create, self._limits = path, tables, create, limits
        self._connection: sqlite3.Connection | None = None
        self._upsert = _insert(f"{tables.attempts} AS t", ATTEMPTS) + upsert_end()
        self._append = _insert(tables.events, EVENTS) + "ON CONFLICT (id) DO NOTHING"

    def check(self) -> str:
        """See `Database`."""
        try:
            self._ready()
        except sqlite3.Error as error:
            raise self._problem(error) from error
        return f"SQLite {sqlite3.sqlite_version}"

    def write(self, batch: Batch, *, keep: bool = True) -> None:
        """See `Database`."""
        try:
            connection = self._ready()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(self._upsert, batch.attempts)
            connection.executemany(self._append, batch.events)
            connection.execute("COMMIT" if keep else "ROLLBACK")
        except sqlite3.Error as error:
            raise self._problem(error) from error
        except (UnicodeError, OverflowError) as error:
            # A lone surrogate, or a number of more than 64 bits.
            self._roll_back()
            raise refused(type(error).__name__) from error

    def events(self, source: str, after: str, limit: int) -> Sequence[tuple[str, str | None, bytes]]:
        """See `Database`."""
        select = (
            f"SELECT id, attempt_id, event FROM {self._tables.events} WHERE source = ? AND id > ? ORDER BY id LIMIT ?"  # noqa: S608 - validated identifiers
        )
        return [(event, attempt, text.encode()) for event, attempt, text in self._read(select, (source, after, limit))]

    def period(self, since: str, until: str) -> tuple[str, str] | None:
        """See `Database`."""
        select = (
            f"SELECT min(recorded_at), max(recorded_at) FROM {self._tables.events} WHERE recorded_at BETWEEN ? AND ?"  # noqa: S608 - validated identifiers
        )
        ((first, last),) = self._read(select, (since, until or _LATEST))
        return None if first is None else (first, last)

    def recorded(self, first: str, last: str, after: str, limit: int) -> Sequence[ArchivedEvent]:
        """See `Database`."""
        select = (
            f"SELECT id, type, source, subject, attempt_id, recorded_at, event FROM {self._tables.events} "  # noqa: S608 - validated identifiers
            "WHERE recorded_at BETWEEN ? AND ? AND (recorded_at > ? OR id > ?) ORDER BY recorded_at, id LIMIT ?"
        )
        return [ArchivedEvent.of(row) for row in self._read(select, (first, last, first, after, limit))]

    def _read(self, select: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
        try:
            with closing(self._ready().execute(select, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def delete(self, source: str, attempts: Sequence[str], events: Sequence[str]) -> None:
        """See `Database`."""
        try:
            connection = self._ready()
            connection.execute("BEGIN IMMEDIATE")
            for table in (self._tables.attempts, self._tables.events):
                statement = f"DELETE FROM {table} WHERE source = ? AND attempt_id = ?"  # noqa: S608 - validated identifiers
                connection.executemany(statement, [(source, attempt) for attempt in attempts])
            statement = f"DELETE FROM {self._tables.events} WHERE id = ?"  # noqa: S608 - validated identifiers
            connection.executemany(statement, [(event,) for event in events])
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def close(self) -> None:
        """See `Database`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ready(self) -> sqlite3.Connection:
        """The connection, open and with its tables checked."""
        if self._connection is None:
            if not self._create and not Path(self._path).exists():
                raise no_tables("the file does not exist")
            address = f"file:{quote(self._path)}?mode={'rwc' if self._create else 'rw'}"
            self._connection = sqlite3.connect(
                address, uri=True, timeout=self._limits.lock, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(self._connection)
            except BaseException:
                # The next use checks again.
                self.close()
                raise
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        missing = self._missing(connection)
        if missing and not self._create:
            raise no_tables(f"table {missing[0]} does not exist")
        if self._tables.version not in missing:
            self._check_version(connection)
        if missing:
            connection.execute("BEGIN IMMEDIATE")
            for statement in ddl(self._tables, SQLITE):
                connection.execute(statement)
            connection.execute("COMMIT")
            self._check_version(connection)
            _log.info("sql_tables_created", tables=self._tables.attempts)
        for table, columns in ((self._tables.attempts, ATTEMPTS), (self._tables.events, EVENTS)):
            with closing(connection.execute(f"SELECT * FROM {table} LIMIT 0")) as cursor:  # noqa: S608 - validated identifiers
                check_columns(table, columns, {each[0] for each in cursor.description})

    def _missing(self, connection: sqlite3.Connection) -> list[str]:
        with closing(connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")) as cursor:
            there = {f'"{name}"'.lower() for (name,) in cursor}
        return [name for name in self._tables.all if name.lower() not in there]

    def _check_version(self, connection: sqlite3.Connection) -> None:
        with closing(connection.execute(f"SELECT max(version) FROM {self._tables.version}")) as cursor:  # noqa: S608 - validated identifiers
            check_version(cursor.fetchone()[0], self._tables)

    def _problem(self, error: sqlite3.Error) -> BridgeError:
        """The error as one of ours. Its text may quote names and is not used."""
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _CONTENT or (not code and isinstance(error, sqlite3.DataError | sqlite3.InterfaceError)):
            problem: BridgeError = refused(name)
        elif code in _AWAY:
            problem = away(f"{_AWAY[code][0]} ({name})", _AWAY[code][1])
        elif code in _MISCONFIGURED:
            problem = misconfigured(f"{_MISCONFIGURED[code][0]} ({name})", _MISCONFIGURED[code][1])
        else:
            problem = BridgeError(f"database: error {name}. Remedy: check the file", reason="database_error")
        if isinstance(problem, Rejected):
            self._roll_back()
        else:
            self.close()
        return problem

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _insert(table: str, columns: tuple[Column, ...]) -> str:
    names = ", ".join(column.name for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' for _ in columns)}) "  # noqa: S608 - validated identifiers
