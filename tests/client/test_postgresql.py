"""Marks of handled events on a real PostgreSQL: two deliveries at the same time, and every kind of connection."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from attempt_bridge_client import (
    DUPLICATE,
    NEW,
    SUPERSEDED,
    ConfigurationError,
    Event,
    create_tables_sql,
    idempotent,
    mark,
)
from attempt_bridge_client.samples import Samples
from tests.support.postgresql import postgresql
from tests.support.waiting import until

FIRST, SECOND, THIRD = (Event.from_mapping(Samples().attempt(what=what)) for what in ("completed", "revised", "voided"))


@pytest.fixture(scope="module")
def database(starts_processes: None) -> Iterator[str]:
    with postgresql() as conninfo:
        with psycopg.connect(conninfo) as connection:
            connection.execute(create_tables_sql())
            connection.execute("CREATE SCHEMA grading")
            connection.execute(create_tables_sql("grading.bridge_"))
        yield conninfo


@pytest.fixture
def conninfo(database: str) -> str:
    with psycopg.connect(database) as connection:
        connection.execute("TRUNCATE attempt_bridge_events, attempt_bridge_attempts")
    return database


@pytest.mark.parametrize(
    ("first", "second", "ending", "outcome"),
    [
        (FIRST, FIRST, "commit", DUPLICATE),
        (FIRST, FIRST, "rollback", NEW),
        (SECOND, FIRST, "commit", SUPERSEDED),
        (SECOND, FIRST, "rollback", NEW),
        (FIRST, SECOND, "commit", NEW),
    ],
    ids=["handled", "failed", "newer-handled", "newer-failed", "older-handled"],
)
def test_a_delivery_waits_for_another_one_under_way(
    conninfo: str, first: Event, second: Event, ending: str, outcome: str
) -> None:
    with ThreadPoolExecutor(1) as thread, psycopg.connect(conninfo) as holder, psycopg.connect(conninfo) as waiter:
        assert mark(holder, first) == NEW
        waiting = thread.submit(mark, waiter, second)
        with psycopg.connect(conninfo, autocommit=True) as watcher:
            until(lambda: watcher.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())
        assert not waiting.done()
        getattr(holder, ending)()
        assert waiting.result(20) == outcome


def engine_of(conninfo: str, **options: Any) -> Any:
    """SQLAlchemy's. Its import is long, and needed here alone."""
    import sqlalchemy

    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo),
        poolclass=sqlalchemy.NullPool,
        **options,
    )


def test_connections_and_sessions_of_sqlalchemy_keep_mark_and_work_together(conninfo: str) -> None:
    from sqlalchemy.orm import sessionmaker

    engine = engine_of(conninfo)
    for begin, event in ((engine.begin, FIRST), (sessionmaker(engine).begin, SECOND)):
        got: list[str] = []
        fails = [True, False]

        @idempotent(begin, prefix="grading.bridge_")
        def handle(event: Event, _: Any, got: list[str] = got, fails: list[bool] = fails) -> None:
            if fails.pop(0):
                raise RuntimeError
            got.append(event.id)

        with pytest.raises(RuntimeError):
            handle(event)
        handle(event)
        handle(event)
        assert got == [event.id]
    with psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT revision FROM grading.bridge_attempts").fetchall() == [(2,)]


def test_a_connection_that_commits_by_itself_is_refused_outside_of_a_transaction(conninfo: str) -> None:
    engine = engine_of(conninfo, isolation_level="AUTOCOMMIT")
    with engine.connect() as below, pytest.raises(ConfigurationError, match="is in autocommit mode"):
        mark(below, FIRST)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        with pytest.raises(ConfigurationError, match="is in autocommit mode"):
            mark(connection, FIRST)
        with connection.transaction():
            assert mark(connection, FIRST) == NEW
    with psycopg.connect(conninfo) as connection:
        assert mark(connection, FIRST) == DUPLICATE
