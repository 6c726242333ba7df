"""PostgreSQL through psycopg 3. Imported only where it is used: `bridge/sql/opening.py`."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

import psycopg
import structlog
from psycopg import Connection
from psycopg.abc import RV, PQGen
from psycopg.adapt import Dumper
from psycopg.pq import Format

from bridge.errors import BridgeError, Rejected
from bridge.sql.database import (
    ArchivedEvent,
    Limits,
    away,
    check_columns,
    check_version,
    no_bytes,
    no_tables,
    refused,
    upsert_end,
)
from bridge.sql.layout import ATTEMPTS, EVENTS, POSTGRESQL, Column, Tables, ddl
from bridge.sql.postgresql_errors import UNKNOWN, problem_of
from bridge.sql.rows import Batch, Cell, Row

__all__ = ["PostgreSQL"]

_log = structlog.get_logger(__name__)
#: Sessions that create the same tables wait for each other: CREATE TABLE IF NOT EXISTS is not safe by itself.
_CREATE_LOCK = 7_216_384_025
#: Types of a column that keep JSON byte for byte.
_EXACT = ("json", "text")
#: Keepalives: without them, nothing reports that the peer is gone.
_SOCKET: dict[str, Any] = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class _Connection(Connection[tuple[Any, ...]]):
    """Waits for an answer no longer than `answer_seconds`: a server that is stopped would hold its thread for ever."""

    answer_seconds = Limits().answer

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """See `psycopg.Connection`. Raises `psycopg.OperationalError` when the time is up."""
        return super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)


class PostgreSQL:
    """See `Database`. `address`: a connection URI of libpq."""

    def __init__(self, address: str, tables: Tables, *, create: bool, limits: Limits) -> None:
        self._address, self._tables, self._create, self._limits = address, tables, create, limits
        self._connection: _Connection | None = None
        self._upsert = (_insert(f"{tables.attempts} AS t", ATTEMPTS) + upsert_end()).encode()
        self._append = (_insert(tables.events, EVENTS) + "ON CONFLICT (id) DO NOTHING").encode()

    def check(self) -> str:
        """See `Database`."""
        try:
            connection = self._ready()
            return f"PostgreSQL {connection.info.parameter_status('server_version') or ''}"
        except psycopg.Error as error:
            raise self._problem(error) from error

    def write(self, batch: Batch, *, keep: bool = True) -> None:
        """See `Database`."""
        try:
            connection = self._ready()
            self._begin(connection)
            if batch.attempts:
                connection.execute(self._upsert, _arrays(batch.attempts))
            if batch.events:
                connection.execute(self._append, _arrays(batch.events))
            if keep:
                connection.commit()
            else:
                connection.rollback()
        except psycopg.Error as error:
            raise self._problem(error) from error
        except UnicodeError as error:
            # A lone surrogate: no database stores it as text.
            self._roll_back()
            raise refused(type(error).__name__) from error

    def events(self, source: str, after: str, limit: int) -> Sequence[tuple[str, str | None, bytes]]:
        """See `Database`."""
        # The key is compared byte by byte whatever the collation of the database is.
        select = (
            f"SELECT id, attempt_id, event::text FROM {self._tables.events} WHERE source = %s "  # noqa: S608 - validated identifiers
            'AND id COLLATE "C" > %s ORDER BY id COLLATE "C" LIMIT %s'
        )
        return [(event, attempt, text.encode()) for event, attempt, text in self._read(select, (source, after, limit))]

    def period(self, since: str, until: str) -> tuple[str, str] | None:
        """See `Database`."""
        select = (
            f"SELECT {_utc('min(recorded_at)')}, {_utc('max(recorded_at)')} FROM {self._tables.events} "  # noqa: S608 - validated identifiers
            "WHERE recorded_at >= %s::timestamptz AND recorded_at <= %s::timestamptz"
        )
        ((first, last),) = self._read(select, (since or "-infinity", until or "infinity"))
        return None if first is None else (first, last)

    def recorded(self, first: str, last: str, after: str, limit: int) -> Sequence[ArchivedEvent]:
        """See `Database`."""
        select = (
            f"SELECT id, type, source, subject, attempt_id, {_utc('recorded_at')}, event::text, pg_typeof(event)::text "  # noqa: S608 - validated identifiers
            f"FROM {self._tables.events} WHERE recorded_at >= %s::timestamptz AND recorded_at <= %s::timestamptz "
            'AND (recorded_at > %s::timestamptz OR id COLLATE "C" > %s) ORDER BY recorded_at, id COLLATE "C" LIMIT %s'
        )
        rows = self._read(select, (first, last, first, after, limit))
        if any(row[7] not in _EXACT for row in rows):
            raise no_bytes(self._tables.events)
        return [ArchivedEvent.of(row[:7]) for row in rows]

    def _read(self, select: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
        try:
            connection = self._ready()
            self._begin(connection)
            rows = connection.execute(select.encode(), values).fetchall()
            connection.commit()
        except psycopg.Error as error:
            raise self._problem(error) from error
        return rows

    def delete(self, source: str, attempts: Sequence[str], events: Sequence[str]) -> None:
        """See `Database`."""
        try:
            connection = self._ready()
            self._begin(connection)
            for table in (self._tables.attempts, self._tables.events):
                statement = f"DELETE FROM {table} WHERE source = %s AND attempt_id = ANY(%s)"  # noqa: S608 - validated identifiers
                connection.execute(statement.encode(), (source, list(attempts)))
            statement = f"DELETE FROM {self._tables.events} WHERE id = ANY(%s)"  # noqa: S608 - validated identifiers
            connection.execute(statement.encode(), (list(events),))
            connection.commit()
        except psycopg.Error as error:
            raise self._problem(error) from error

    def close(self) -> None:
        """See `Database`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ready(self) -> _Connection:
        """The connection, open and with its tables checked."""
        if self._connection is None:
            self._connection = self._connect()
            try:
                self._prepare(self._connection)
            except psycopg.Error as error:
                problem = self._problem(error)
                self.close()
                if isinstance(problem, Rejected):
                    # Not a row of ours: another session is creating the same tables.
                    raise away("its tables are being changed by another session", "none needed") from error
                raise problem from error
            except BaseException:
                # The next use checks again.
                self.close()
                raise
        return self._connection

    def _connect(self) -> _Connection:
        connection = _Connection.connect(
            self._address,
            connect_timeout=max(2, round(self._limits.connect)),
            application_name="attempt-bridge",
            client_encoding="UTF8",
            # A pooler in between may give the next transaction to another session.
            prepare_threshold=None,
            **_SOCKET,
        )
        connection.answer_seconds = self._limits.answer
        connection.adapters.register_dumper(_Column, _ColumnDumper)
        return connection

    def _prepare(self, connection: _Connection) -> None:
        self._begin(connection)
        missing = self._missing(connection)
        if missing and not self._create:
            raise no_tables(f"table {missing[0]} does not exist, or the user may not see it")
        if self._tables.version not in missing:
            self._check_version(connection)
        if missing:
            connection.execute(f"SELECT pg_advisory_xact_lock({_CREATE_LOCK})".encode())
            for statement in ddl(self._tables, POSTGRESQL):
                connection.execute(statement.encode())
            self._check_version(connection)
            _log.info("sql_tables_created", tables=self._tables.attempts)
        for table, columns in ((self._tables.attempts, ATTEMPTS), (self._tables.events, EVENTS)):
            described = connection.execute(f"SELECT * FROM {table} LIMIT 0".encode()).description  # noqa: S608 - validated identifiers
            check_columns(table, columns, {each.name for each in described or ()})
        connection.commit()

    def _missing(self, connection: _Connection) -> list[str]:
        find = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL"
        return [name for (name,) in connection.execute(find, (self._tables.all,))]

    def _check_version(self, connection: _Connection) -> None:
        row = connection.execute(f"SELECT max(version) FROM {self._tables.version}".encode()).fetchone()  # noqa: S608 - validated identifiers
        check_version(row[0] if row else None, self._tables)

    def _begin(self, connection: _Connection) -> None:
        """The first statement of a transaction. Not options of the connection, which poolers refuse."""
        settings = "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)"
        limits = self._limits
        connection.execute(settings, (f"{limits.lock * 1000:.0f}", f"{limits.statement * 1000:.0f}"))

    def _problem(self, error: psycopg.Error) -> BridgeError:
        """The error as one of ours. Its text may quote a row or a password and is not used."""
        problem = problem_of(error, connected=self._connection is not None)
        if isinstance(problem, Rejected) or problem.reason == UNKNOWN:
            self._roll_back()
        else:
            self.close()
        return problem

    def _roll_back(self) -> None:
        if self._connection is not None:
            try:
                self._connection.rollback()
            except psycopg.Error as error:
                _log.info("sql_connection_dropped", error=type(error).__name__)
                self.close()


def _utc(expression: str) -> str:
    """A time as ISO 8601 in UTC with microseconds."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _insert(table: str, columns: Sequence[Column]) -> str:
    """One statement for any number of rows: an array for each column, all as text, so that the server converts them.

    Sent as binary (`%b`): quoting JSON inside an array's text takes more CPU than everything else together.
    """
    names = ", ".join(column.name for column in columns)
    values = ", ".join(f"u.{column.name}::{column.kind}" for column in columns)
    arrays = ", ".join("%b::text[]" for _ in columns)
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM unnest({arrays}) AS u ({names}) "  # noqa: S608 - validated identifiers


def _arrays(rows: Sequence[Row]) -> list[_Column]:
    return [_Column(cells) for cells in zip(*rows, strict=True)]


class _Column(tuple[Cell, ...]):
    """The cells of one column, sent as an array of text."""

    __slots__ = ()


_INT = Struct("!i").pack
_NULL = _INT(-1)
_TEXT, _TEXT_ARRAY = 25, 1009


class _ColumnDumper(Dumper):
    """The binary form of `text[]` in UTF-8, in half the time that psycopg takes for a list of any type.

    Raises `UnicodeEncodeError`.
    """

    format = Format.BINARY
    oid = _TEXT_ARRAY

    def dump(self, obj: _Column) -> bytes:
        """See `psycopg.adapt.Dumper`."""
        parts = [_INT(1), _INT(None in obj), _INT(_TEXT), _INT(len(obj)), _INT(1)]
        for cell in obj:
            if cell is None:
                parts.append(_NULL)
                continue
            encoded = (cell if isinstance(cell, str) else str(cell)).encode()
            parts += (_INT(len(encoded)), encoded)
        return b"".join(parts)
