"""`transport: sql`: what is in the tables, whatever order, repetition, content, rights and faults events meet."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from structlog.testing import capture_logs

from bridge.delivery.store import Deliveries
from bridge.errors import Rejected, Retryable
from bridge.sql.database import Limits
from bridge.state import keys
from tests.support.dispatch import at, even, lane, outcomes, run_until_idle
from tests.support.postgresql import PostgreSQLServer, running_pgbouncer
from tests.support.sql_tables import (
    QUICK,
    Place,
    made,
    notice,
    outgoing,
    postgresql_place,
    publish,
    sqlite_place,
)
from tests.support.waiting import until
from workers.dispatch.ahead_lane import AheadLane
from workers.dispatch.lane import CRASH_POINTS
from workers.transports import transport_for, transport_or_deferred
from workers.transports.contract import Outcome
from workers.transports.sql_tables import SqlTables

NAMES = itertools.count()
COUNTS = "SELECT (SELECT count(*) FROM {attempts}), (SELECT count(*) FROM {events})"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def postgresql(postgresql_server: PostgreSQLServer) -> Iterator[Place]:
    """A schema of its own in the session's server."""
    schema = f"s{next(NAMES)}"
    with closing(postgresql_server.connect()) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    yield postgresql_place(postgresql_server.url, schema)
    with closing(postgresql_server.connect()) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture
def sqlite(tmp_path: Path) -> Place:
    return sqlite_place(str(tmp_path / "attempts.db"))


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    return request.getfixturevalue(request.param)


def reasons(results: list[Outcome]) -> list[str]:
    return ["" if failure is None else failure.reason for failure in results]


def only(results: list[Outcome]) -> tuple[str, str, bool]:
    (failure,) = results
    assert failure is not None
    return failure.reason, str(failure), failure.charged


# What is stored ------------------------------------------------------------------------------------------------------


def test_attempts_and_events_are_stored_with_their_columns(place: Place) -> None:
    transport = place.transport()
    assert outcomes(transport, outgoing(made(1), made(2, passed=None), notice())) == [None] * 3
    transport.close()
    columns = (
        "attempt_id, revision, status, voided, candidate_email, assessment_name, score, percentage, passed, grading"
    )
    first, second = place.do(f"SELECT {columns} FROM {{attempts}} ORDER BY attempt_id")
    assert [str(value) for value in first[:2]] == ["a1", "1"]
    assert (first[2], bool(first[3]), first[4:6]) == ("completed", False, ("sam@example.test", "Safety"))
    assert (float(first[6]), float(first[7]), bool(first[8]), first[9]) == (21.5, 71.6667, True, "final")
    assert second[8] is None
    events = place.do("SELECT type, subject, attempt_id, revision, origin FROM {events} ORDER BY type, subject")
    assert events == [
        ("attempt.completed", "a1", "a1", 1, "webhook"),
        ("attempt.completed", "a2", "a2", 1, "webhook"),
        ("attempt.overdue", "w1", None, None, None),
    ]
    name = "event ->> 'subject'" if place.dialect == "postgresql" else "json_extract(event, '$.subject')"
    assert place.do(f"SELECT DISTINCT {name} FROM {{events}} WHERE attempt_id = 'a1'") == [("a1",)]
    ((seconds,),) = place.do(
        "SELECT extract(epoch FROM recorded_at - completed_at) FROM {attempts} WHERE attempt_id = 'a1'"
        if place.dialect == "postgresql"
        else "SELECT round((julianday(recorded_at) - julianday(completed_at)) * 86400) FROM {attempts} "
        "WHERE attempt_id = 'a1'"
    )
    assert float(seconds) == 59 * 60


def test_a_projection_leaves_columns_empty(place: Place) -> None:
    sparse = made()
    sparse["data"] = {"attempt": {"id": "a1", "revision": 1, "status": "completed"}}
    transport = place.transport()
    assert outcomes(transport, outgoing(sparse)) == [None]
    transport.close()
    assert place.do("SELECT attempt_id, score, candidate_id FROM {attempts}") == [("a1", None, None)]


def test_the_highest_revision_stays_whatever_the_order(place: Place) -> None:
    revisions = [made(1), made(1, revision=2), made(1, revision=3, voided=True)]
    for order in (*itertools.permutations(revisions), revisions * 2):
        for sizes in ([len(order)], [1] * len(order)):
            transport = place.transport()
            rest = list(order)
            for size in sizes:
                assert outcomes(transport, outgoing(*rest[:size])) == [None] * size
                del rest[:size]
            transport.close()
            assert place.do("SELECT revision, status, score FROM {attempts}") == [(3, "voided", 23.5)]
            assert place.do(COUNTS) == [(1, 3)]
            place.do("DELETE FROM {attempts}", "DELETE FROM {events}")


def test_an_attempt_that_is_voided_under_the_same_revision_is_marked_and_stays_so(place: Place) -> None:
    transport = place.transport()
    for event in (made(1), made(1, voided=True), made(1)):
        assert outcomes(transport, outgoing(event)) == [None]
    transport.close()
    ((voided, kind),) = place.do("SELECT voided, status FROM {attempts}")
    assert (bool(voided), kind) == (True, "voided")


def test_batches_written_at_the_same_time_lose_and_double_nothing(place: Place) -> None:
    events = [made(number, revision=revision) for number in range(40) for revision in (1, 2, 3)]
    results: list[Outcome] = []

    def write(seed: int) -> None:
        mixed = random.Random(seed).sample(events, len(events))
        transport = place.transport(Limits(lock=5.0))
        for start in range(0, len(mixed), 30):
            results.extend(outcomes(transport, outgoing(*mixed[start : start + 30])))
        transport.close()

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [None] * 360
    assert place.do(COUNTS) == [(40, 120)]
    assert place.do("SELECT DISTINCT revision FROM {attempts}") == [(3,)]


def test_a_test_event_is_written_and_rolled_back(place: Place) -> None:
    transport = place.transport()
    test = {**made(7), "bridgetest": True}
    tries = transport.send(outgoing(made(1), test, {**notice(), "bridgetest": True}), now=1.0)
    assert [tried.failure for tried in tries] == [None] * 3
    product, _, said = tries[1].answer.decode().partition(": ")
    assert (product.partition(" ")[0].lower(), said) == (place.dialect, "written and rolled back")
    assert tries[0].answer == b""
    assert place.do(COUNTS) == [(1, 1)]
    shown = transport.shown(outgoing(test)[0], now=1.0)
    assert shown.to.startswith('tables "')
    assert "attempts_events" in shown.to
    transport.close()


# What is refused -----------------------------------------------------------------------------------------------------

JUNK: list[dict[str, Any]] = [
    {"attempt": {"duration_seconds": 2**70}},
    {"candidate": {"name": "lone \ud800 surrogate"}},
]


def junk(place: Place) -> list[dict[str, Any]]:
    more: list[dict[str, Any]] = [{"candidate": {"name": "nul \0"}}, {"attempt": {"completed_at": "31.31.2026"}}]
    return [*JUNK, *(more if place.dialect == "postgresql" else [])]


def encoded(event: dict[str, Any]) -> Any:
    (sent,) = outgoing(made(1))
    return replace(sent, id=event["id"], attempt=event["subject"], body=json.dumps(event).encode())


def test_a_row_that_the_database_refuses_fails_alone_and_for_good(place: Place) -> None:
    transport = place.transport()
    outcomes(transport, outgoing(made(99)))
    if place.dialect == "postgresql":
        place.do("ALTER TABLE {attempts} ADD CONSTRAINT own CHECK (candidate_email <> 'no@example.test')")
    else:
        place.do(
            "CREATE TRIGGER own BEFORE INSERT ON {attempts} WHEN new.candidate_email = 'no@example.test' "
            "BEGIN SELECT RAISE(ABORT, 'no@example.test'); END"
        )
    bad = [{"candidate": {"email": "no@example.test"}}, *junk(place)]
    events = [encoded(made(number, **bad[number % 10] if number % 10 < len(bad) else {})) for number in range(50)]
    results = outcomes(transport, events)
    transport.close()
    assert place.do(COUNTS) == [(51 - 5 * len(bad), 51 - 5 * len(bad))]
    for number, failure in enumerate(results):
        if number % 10 >= len(bad):
            assert failure is None
            continue
        assert failure is not None
        kind = (failure.reason, failure.permanent, failure.about_event, failure.charged)
        assert kind == ("row_refused", True, True, True)
        assert "example.test" not in str(failure)
        assert "surrogate" not in str(failure)
    expected = "SQLSTATE 23514 (CheckViolation)" if place.dialect == "postgresql" else "SQLITE_CONSTRAINT_TRIGGER"
    assert expected in str(results[0])


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"data":{}}', b'{"data":{"attempt":{}}}', b'{"data":7}', b"\xff"])
def test_an_event_that_cannot_be_read_fails_alone(sqlite: Place, body: bytes) -> None:
    transport = sqlite.transport()
    first, second = outgoing(made(1), made(2))
    assert reasons(outcomes(transport, [replace(first, body=body), second])) == ["row_refused", ""]
    transport.close()


class Recorder:
    """A database that does what a list says, one for each transaction: None, or an error to raise."""

    def __init__(self, *answers: BaseException | None) -> None:
        self.answers = list(answers)
        self.written: list[list[Any]] = []
        self.busy = threading.Lock()

    def check(self) -> str:
        return "recorder"

    def write(self, batch: Any, *, keep: bool = True) -> None:
        assert self.busy.acquire(blocking=False), "two transactions at a time"
        # Time enough for another one to begin.
        threading.Event().wait(0.02)
        self.busy.release()
        if (answer := self.answers.pop(0)) is not None:
            raise answer
        self.written.append([row[3] for row in batch.events])

    def close(self) -> None:
        """Nothing."""


def test_no_transaction_comes_after_one_that_could_not_reach_the_database(sqlite: Place) -> None:
    refused, away = Rejected("not this one", reason="row_refused"), Retryable("away", reason="database_unavailable")
    recorder = Recorder(refused, None, away, AssertionError("not to be tried"))
    transport = SqlTables(sqlite.subscription, recorder)  # type: ignore[arg-type]
    results = outcomes(transport, outgoing(*(made(number) for number in range(8))))
    assert reasons(results) == [""] * 4 + ["database_unavailable"] * 4
    assert [set(written) for written in recorder.written] == [{f"a{number}" for number in range(4)}]
    assert len(recorder.answers) == 1


def test_batches_are_written_one_after_another_in_order_while_the_next_is_read(
    sqlite: Place, state: redis.Redis
) -> None:
    publish(state, keys.journal(0), [made(number) for number in range(9)])
    recorder = Recorder(*[None] * 5)
    transport = SqlTables(sqlite.subscription, recorder)  # type: ignore[arg-type]
    transport.batch = 2
    run_until_idle(lane(state, transport, subscription=sqlite.subscription, kind=AheadLane), 1000.0)
    # Within a batch the rows are in the order of their keys.
    assert [sorted(written) for written in recorder.written] == [
        ["a0", "a1"], ["a2", "a3"], ["a4", "a5"], ["a6", "a7"], ["a8"]
    ]  # fmt: skip


# Tables and rights ---------------------------------------------------------------------------------------------------


def test_without_create_the_tables_must_be_there(place: Place) -> None:
    bare = replace(place, subscription=replace(place.subscription, create=False))
    if place.dialect == "sqlite":
        place.do("CREATE TABLE something (else_ text)")
    transport = bare.transport()
    reason, text, charged = only(outcomes(transport, outgoing(made(1))))
    assert (reason, charged) == ("database_misconfigured", False)
    assert "does not exist" in text
    assert "attempt-bridge sql schema" in text
    maker = place.transport()
    assert outcomes(maker, outgoing(made(2))) == [None]
    maker.close()
    assert outcomes(transport, outgoing(made(1))) == [None]
    transport.close()
    assert place.do(COUNTS) == [(2, 2)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("UPDATE {version} SET version = 2", "version 2, this bridge writes version 1. Remedy: run the newer bridge"),
        ("UPDATE {version} SET version = 0", "version 0, this bridge writes version 1. Remedy: bring them to"),
        ("DELETE FROM {version}", "no version, this bridge writes version 1"),
        ("ALTER TABLE {attempts} DROP COLUMN grade", "lacks grade. Remedy: add it"),
    ],
)
def test_tables_that_are_not_as_expected_stop_the_subscription(place: Place, change: str, text: str) -> None:
    transport = place.transport()
    assert outcomes(transport, outgoing(made(1))) == [None]
    place.do(change)
    # While it is connected, a column is found missing by the statement; the next connection says which.
    outcomes(transport, outgoing(made(2)))
    transport.close()
    for _ in range(2):
        reason, problem, charged = only(outcomes(transport, outgoing(made(3))))
        assert (reason, charged) == ("database_misconfigured", False)
        assert text in problem
    assert len(place.do("SELECT 1 FROM {attempts}")) < 3
    transport.close()


def test_a_table_that_is_dropped_is_created_again(place: Place) -> None:
    transport = place.transport()
    assert outcomes(transport, outgoing(made(1))) == [None]
    place.do("DROP TABLE {events}")
    assert reasons(outcomes(transport, outgoing(made(1), made(2)))) == ["database_misconfigured"] * 2
    assert outcomes(transport, outgoing(made(1), made(2))) == [None, None]
    assert place.do(COUNTS) == [(2, 2)]
    place.do("DROP TABLE {attempts}", "DROP TABLE {events}", "DROP TABLE {version}")
    assert reasons(outcomes(transport, outgoing(made(3)))) == ["database_misconfigured"]
    assert outcomes(transport, outgoing(made(3))) == [None]
    transport.close()
    assert place.do(COUNTS) == [(1, 1)]


def test_processes_that_start_together_create_the_tables_once(place: Place) -> None:
    results: list[Outcome] = []
    together = threading.Barrier(5)

    def write(number: int) -> None:
        transport = place.transport(Limits(lock=5.0))
        together.wait()
        results.extend(outcomes(transport, outgoing(made(number))))
        transport.close()

    for _ in range(3):
        threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert place.do(COUNTS) == [(5, 5)]
        place.do("DROP TABLE {attempts}", "DROP TABLE {events}", "DROP TABLE {version}")
    assert results == [None] * 15


def test_a_session_that_creates_the_tables_at_the_same_time_costs_no_event(postgresql: Place) -> None:
    transport = postgresql.transport(Limits(lock=5.0))
    schema = postgresql.subscription.schema
    results: list[Outcome] = []
    with closing(postgresql.connect()) as other:
        other.autocommit = False
        other.execute(f"CREATE TABLE {schema}.attempts_version (version integer NOT NULL)".encode())
        writing = threading.Thread(target=lambda: results.extend(outcomes(transport, outgoing(made(1)))))
        writing.start()
        find = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'attempt-bridge'"
        until(lambda: postgresql.do(find))
        other.execute(f"INSERT INTO {schema}.attempts_version VALUES (1)".encode())
        other.commit()
    writing.join()
    assert reasons(results) == ["database_unavailable"]
    assert "changed by another session" in str(results[0])
    assert outcomes(transport, outgoing(made(1))) == [None]
    transport.close()


def test_a_pooler_in_transaction_mode_may_be_in_between(postgresql: Place, postgresql_server: PostgreSQLServer) -> None:
    with running_pgbouncer(postgresql_server) as url:
        pooled = replace(postgresql, subscription=replace(postgresql.subscription, url=url))
        transports = [pooled.transport(Limits(lock=5.0)) for _ in range(4)]
        results: list[Outcome] = []

        def write(number: int) -> None:
            events = outgoing(*(made(30 * number + place) for place in range(30)))
            for start in range(0, 30, 5):
                results.extend(outcomes(transports[number], events[start : start + 5]))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [None] * 120
        # More clients than sessions: they share them, and the limits of one transaction do not stay in its session.
        find = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'attempt-bridge'"
        assert postgresql.do(find)[0][0] in (1, 2)
        for transport in transports:
            transport.close()
        with closing(postgresql.connect()) as direct, closing(psycopg.connect(url)) as through:
            settings = [connection.execute("SHOW lock_timeout").fetchall() for connection in (direct, through)]
        assert settings[0] == settings[1]
    assert postgresql.do(COUNTS) == [(120, 120)]


def test_without_psycopg_the_subscription_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bridge.sql.postgresql", None)
    subscription = postgresql_place("postgresql://db.example.test/x", "s").subscription
    reason, text, charged = only(outcomes(transport_or_deferred(subscription, ""), outgoing(made(1))))
    assert (reason, charged) == ("not_servable", False)
    assert "subscriptions.warehouse.url: psycopg, which PostgreSQL needs, is not installed. Remedy: pip install" in text


def test_a_user_without_a_right_is_named_with_the_remedy(postgresql: Place) -> None:
    maker = postgresql.transport()
    assert outcomes(maker, outgoing(made(1))) == [None]
    maker.close()
    schema = postgresql.subscription.schema
    postgresql.do(
        f"CREATE ROLE {schema}_user LOGIN",
        f"GRANT USAGE ON SCHEMA {schema} TO {schema}_user",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}_user",
    )
    url = (postgresql.subscription.url or "").replace("postgres@", f"{schema}_user@")
    limited = replace(postgresql, subscription=replace(postgresql.subscription, url=url))
    transport = limited.transport()
    reason, text, charged = only(outcomes(transport, outgoing(made(2))))
    assert (reason, charged) == ("database_misconfigured", False)
    assert text.startswith("database: the user lacks a right (SQLSTATE 42501). Remedy: GRANT SELECT, INSERT, UPDATE")
    postgresql.do(f"GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO {schema}_user")
    assert outcomes(transport, outgoing(made(2))) == [None]
    transport.close()
    postgresql.do(f"DROP OWNED BY {schema}_user", f"DROP ROLE {schema}_user")


@pytest.mark.parametrize(
    ("change", "reason", "text"),
    [
        ((":{port}/postgres", ":{port}/nowhere"), "database_misconfigured", "there is no such database"),
        (("postgres@", "nobody@"), "database_misconfigured", "it refuses the user or the password"),
        ((":{port}", ":1"), "database_unavailable", "no connection"),
    ],
)
def test_an_address_that_is_wrong_is_named(
    postgresql: Place, postgresql_server: PostgreSQLServer, change: tuple[str, str], reason: str, text: str
) -> None:
    old, new = (part.format(port=postgresql_server.port) for part in change)
    url = (postgresql.subscription.url or "").replace(old, new)
    transport = transport_for(replace(postgresql.subscription, url=url.replace("@", ":s3cret@")), "")
    cause, problem, charged = only(outcomes(transport, outgoing(made(1))))
    assert (cause, charged) == (reason, False)
    assert text in problem
    assert "s3cret" not in problem + transport.shown(outgoing(made(1))[0], now=1.0).to


def test_a_schema_that_does_not_exist_is_named(postgresql: Place) -> None:
    lost = replace(postgresql, subscription=replace(postgresql.subscription, schema="nowhere"))
    transport = lost.transport()
    reason, text, charged = only(outcomes(transport, outgoing(made(1))))
    assert (reason, charged) == ("database_misconfigured", False)
    assert "there is no such schema" in text


@pytest.mark.parametrize(
    ("path", "text"), [("no/such/folder.db", "cannot be opened"), ("noise.db", "is not an SQLite database")]
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, path: str, text: str) -> None:
    (tmp_path / "noise.db").write_bytes(b"noise" * 500)
    transport = sqlite_place(str(tmp_path / path)).transport()
    reason, problem, charged = only(outcomes(transport, outgoing(made(1))))
    assert (reason, charged) == ("database_misconfigured", False)
    assert text in problem


# Waiting -------------------------------------------------------------------------------------------------------------


def test_events_wait_while_another_session_holds_the_table(place: Place) -> None:
    transport = place.transport()
    assert outcomes(transport, outgoing(made(1))) == [None]
    with closing(place.connect()) as other:
        if place.dialect == "postgresql":
            other.autocommit = False
            other.execute(f"LOCK TABLE {place.subscription.schema}.attempts".encode())
        else:
            other.execute("BEGIN EXCLUSIVE")
        reason, text, charged = only(outcomes(transport, outgoing(made(2))))
        assert (reason, charged) == ("database_unavailable", False)
        assert "locked by another" in text
        other.rollback()
    assert outcomes(transport, outgoing(made(2))) == [None]
    transport.close()


def test_a_server_that_does_not_answer_holds_nobody_up(postgresql: Place) -> None:
    transport = postgresql.transport(replace(QUICK, answer=0.3))
    assert outcomes(transport, outgoing(made(1))) == [None]
    find = "SELECT pid FROM pg_stat_activity WHERE application_name = 'attempt-bridge'"
    ((session,),) = postgresql.do(find)
    os.kill(session, signal.SIGSTOP)
    try:
        reason, text, charged = only(outcomes(transport, outgoing(made(2))))
    finally:
        os.kill(session, signal.SIGCONT)
    assert (reason, charged) == ("database_unavailable", False)
    assert "did not answer in time" in text
    transport.close()


def test_a_read_only_server_is_waited_for(postgresql: Place) -> None:
    transport = postgresql.transport()
    assert outcomes(transport, outgoing(made(1))) == [None]
    postgresql.do("ALTER ROLE postgres SET default_transaction_read_only = on")
    transport.close()
    try:
        reason, text, charged = only(outcomes(transport, outgoing(made(2))))
    finally:
        postgresql.do("SET default_transaction_read_only = off", "ALTER ROLE postgres RESET ALL")
    assert (reason, charged) == ("database_unavailable", False)
    assert "it is read-only (SQLSTATE 25006)" in text
    transport.close()
    assert outcomes(transport, outgoing(made(2))) == [None]
    transport.close()


def test_events_wait_while_the_disk_is_full(sqlite: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = 0
    connect = sqlite3.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        if pages:
            connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    transport = sqlite.transport()
    assert outcomes(transport, outgoing(made(1))) == [None]
    transport.close()
    monkeypatch.setattr(sqlite3, "connect", limited)
    pages = 1  # SQLite takes the present size where that is more
    many = outgoing(*(made(number) for number in range(100)))
    results = outcomes(transport, many)
    assert set(reasons(results)) == {"database_unavailable"}
    assert "its disk is full (SQLITE_FULL)" in str(results[0])
    pages = 1_000_000
    assert outcomes(transport, many) == [None] * 100
    transport.close()


# With a lane ---------------------------------------------------------------------------------------------------------


def test_a_restart_of_the_server_in_the_middle_loses_and_doubles_nothing(
    postgresql: Place, postgresql_server: PostgreSQLServer, state: redis.Redis
) -> None:
    events = [made(number, revision=revision) for number in range(150) for revision in (1, 2)]
    publish(state, keys.journal(0), events)
    faults: list[Callable[[], None]] = [postgresql_server.kill9, postgresql_server.stop]
    transport = postgresql.transport()
    transport.batch = 50
    moments = iter(range(100))
    away = 0
    running = lane(state, transport, subscription=postgresql.subscription)
    with capture_logs() as logs:
        for step in moments:
            if step in (2, 4):
                faults.pop()()
            if away == 2:
                postgresql_server.start()
                away = 0
            wait = running.step(at(1000.0 + 60 * step), even)
            if wait > 0 and postgresql_server.process.poll() is not None:
                away += 1
                waits = state.hget(keys.subscription_state("warehouse", 0), "waits")
                assert waits is not None
                assert waits.startswith(b"database: ")
            elif wait > 0 and not faults:
                break
    assert [line["event"] for line in logs if line["log_level"] == "error"] == []
    status = Deliveries(state).states(["warehouse"], now=1e4)["warehouse"]
    assert (status.delivered + status.handed_over, status.dead_letters, status.retrying) == (300, 0, 0)
    assert (status.lag, status.pending, status.blocked_by) == (0, 0, "")
    assert postgresql.do(COUNTS) == [(150, 300)]
    assert postgresql.do("SELECT DISTINCT revision FROM {attempts}") == [(2,)]
    transport.close()


@pytest.mark.parametrize("point", [point for point in CRASH_POINTS if point not in ("expected", "judged", "parked")])
def test_a_process_that_is_killed_at_any_point_leaves_no_second_row(
    place: Place, state: redis.Redis, point: str
) -> None:
    publish(state, keys.journal(0), [made(number) for number in range(5)])

    def crash(here: str) -> None:
        if here == point:
            raise Killed

    first, second = place.transport(), place.transport()
    with pytest.raises(Killed):
        run_until_idle(lane(state, first, subscription=place.subscription, crash=crash), 1000.0)
    first.close()
    assert place.do(COUNTS if point != "read" else "SELECT 5, 5") == [(5, 5)]
    other = lane(state, second, subscription=place.subscription, consumer="two")
    other.step(at(1001.0), even)
    other.adopt(lambda consumer: consumer == "two")
    run_until_idle(other, 1002.0)
    second.close()
    assert place.do(COUNTS) == [(5, 5)]
    status = Deliveries(state).states(["warehouse"], now=1e4)["warehouse"]
    assert (status.delivered + status.handed_over, status.dead_letters, status.lag, status.pending) == (5, 0, 0, 0)


def test_what_a_database_refuses_is_a_dead_letter_and_a_wrong_setting_is_none(
    sqlite: Place, state: redis.Redis
) -> None:
    publish(state, keys.journal(0), [made(1), made(2, attempt={"duration_seconds": 2**70}), made(3)])
    transport = sqlite.transport()
    running = lane(state, transport, subscription=sqlite.subscription)
    run_until_idle(running, 1000.0)
    deliveries = Deliveries(state)
    assert deliveries.states(["warehouse"], now=1e4)["warehouse"].dead_letters == 1
    sqlite.do("UPDATE {version} SET version = 9")
    transport.close()
    publish(state, keys.journal(0), [made(number) for number in range(4, 20)])
    with capture_logs():
        for hour in range(200):
            running.step(at(2000.0 + 3600 * hour), even)
        status = deliveries.states(["warehouse"], now=1e6)["warehouse"]
        assert (status.dead_letters, status.retrying, status.circuit) == (1, 0, "closed")
        assert "version 9, this bridge writes version 1" in status.blocked_by
        sqlite.do("UPDATE {version} SET version = 1")
        run_until_idle(running, 1e6)
    transport.close()
    status = deliveries.states(["warehouse"], now=1e6)["warehouse"]
    assert (status.dead_letters, status.blocked_by) == (1, "")
    assert sqlite.do(COUNTS) == [(18, 18)]
