"""Handles each event once: the mark is written in the transaction in which the receiver does its work.

Two tables: one row for each event, and one for each attempt with the highest revision that was handled.
"""

from __future__ import annotations

import functools
import inspect
import re
from contextlib import AbstractContextManager
from typing import Any, Callable, Optional, TypeVar, Union

from attempt_bridge_client.databases import is_connection, statements_of
from attempt_bridge_client.errors import ConfigurationError
from attempt_bridge_client.events import AttemptEvent, Event

__all__ = ["DUPLICATE", "NEW", "SUPERSEDED", "create_tables_sql", "idempotent", "mark"]

T = TypeVar("T")
#: What `mark` returns for an event: to be handled; handled before; older than what was handled of its attempt.
NEW, DUPLICATE, SUPERSEDED = "new", "duplicate", "superseded"
#: Prefix of the names of both tables.
PREFIX = "attempt_bridge_"
_PREFIX = re.compile(r"([A-Za-z_][A-Za-z0-9_]*\.)?[A-Za-z_][A-Za-z0-9_]*")
_CREATE = """\
CREATE TABLE IF NOT EXISTS {prefix}events (
    source text NOT NULL,
    id text NOT NULL,
    handled_at timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (source, id)
);
CREATE TABLE IF NOT EXISTS {prefix}attempts (
    source text NOT NULL,
    attempt text NOT NULL,
    revision integer NOT NULL,
    PRIMARY KEY (source, attempt)
);
"""
_EVENT = "INSERT INTO {prefix}events (source, id) VALUES (:source, :id) ON CONFLICT DO NOTHING"
_ATTEMPT = (
    "INSERT INTO {prefix}attempts AS kept (source, attempt, revision) VALUES (:source, :attempt, :revision) "
    "ON CONFLICT (source, attempt) DO UPDATE SET revision = excluded.revision WHERE kept.revision <= excluded.revision"
)


def create_tables_sql(prefix: str = PREFIX) -> str:
    """The statements that create both tables, for PostgreSQL and SQLite. They leave existing tables alone.

    `prefix` may begin with a schema: `grading.bridge_`. Raises `ConfigurationError` for one that is not a valid name.
    """
    return _CREATE.format(prefix=_checked(prefix))


def mark(connection: Any, event: Event, *, prefix: str = PREFIX) -> str:
    """Mark `event` in the open transaction of `connection`: `NEW`, `DUPLICATE` or `SUPERSEDED`.

    `connection`: of sqlite3 or psycopg, SQLAlchemy's Connection or Session, or Django's. Whoever opened the transaction
    ends it: commit keeps the mark, rollback removes it. On PostgreSQL, another transaction that marks the same event at
    the same time waits until this one has ended. Raises `ConfigurationError` if no transaction is open.
    """
    run, prefix = statements_of(connection), _checked(prefix)
    if not run(_EVENT.format(prefix=prefix), {"source": event.source, "id": event.id}):
        return DUPLICATE
    if isinstance(event, AttemptEvent):
        attempt = event.data.attempt
        values = {"source": event.source, "attempt": attempt.id, "revision": attempt.revision}
        if not run(_ATTEMPT.format(prefix=prefix), values):
            return SUPERSEDED
    return NEW


def idempotent(
    connection: Union[Any, Callable[[], Any]], *, skip_superseded: bool = True, prefix: str = PREFIX
) -> Callable[[Callable[[Event, Any], T]], Callable[[Event], Optional[T]]]:
    """Decorate `handler(event, connection)`: the resulting function takes an event and handles each one once.

    `connection`: what `mark` takes, or a function that returns the current one. The function may also return a context
    manager that yields it, and commits or rolls back at its end: `engine.begin`. Otherwise whoever opened the
    transaction ends it; roll back when the handler raises, and the event can be handled when it comes again.
    `skip_superseded`: whether a lower revision that comes after a higher one is skipped. A skipped event returns None.
    """
    _checked(prefix)
    if type(connection).__name__ == "sessionmaker":
        raise ConfigurationError("a sessionmaker makes sessions that nobody commits. Remedy: pass its begin method")

    def decorate(handler: Callable[[Event, Any], T]) -> Callable[[Event], Optional[T]]:
        if inspect.iscoroutinefunction(handler):
            raise ConfigurationError("a handler is a coroutine, which would run after the transaction. Remedy: use def")

        def handle(event: Event, opened: Any) -> Optional[T]:
            outcome = mark(opened, event, prefix=prefix)
            if outcome == DUPLICATE or (outcome == SUPERSEDED and skip_superseded):
                return None
            return handler(event, opened)

        @functools.wraps(handler)
        def handled(event: Event) -> Optional[T]:
            given = connection() if callable(connection) and not _is_open(connection) else connection
            if is_connection(given) and _is_open(given):
                return handle(event, given)
            if isinstance(given, AbstractContextManager):
                with given as opened:
                    return handle(event, opened)
            return handle(event, given)

        del handled.__wrapped__  # its signature includes the connection
        return handled

    return decorate


def _is_open(value: object) -> bool:
    """Whether it is a connection, not something that makes one: engines, factories and pools run no statements."""
    return hasattr(value, "execute") or hasattr(value, "in_atomic_block")


def _checked(prefix: str) -> str:
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f"prefix {prefix!r} is not valid in a table name. Remedy: use letters, digits, underscores"
        )
    return prefix
