"""`sql schema`, and `subscriptions test` of an sql subscription."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import redis

from bridge import cli
from bridge.config.model import Subscription
from bridge.services import Services
from bridge.sql.opening import database_of
from bridge.state import keys
from tests.support.postgresql import PostgreSQLServer
from tests.support.watches_api import TOKENS, access_of, build
from workers.dispatch.subscription_tests import SubscriptionTester


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    results = f"results: {{transport: sql, url: 'sqlite:///{tmp_path}/results.db', table: grades}}"
    big = "big: {transport: sql, url: 'postgresql://db.example.test/x', schema: own}"
    queue = "queue: {transport: kombu, queue: q}"
    made = build(state, tmp_path, access=access_of(TOKENS) + f"subscriptions: {{{results}, {big}, {queue}}}\n")
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: made)
    return made


def printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run(["sql", "schema", *arguments]) == 0
    return capfd.readouterr().out


def test_the_statements_that_are_printed_create_what_the_bridge_writes_to(
    services: Services, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = printed(capfd, "results")
    assert script.startswith("-- Attempt Bridge, tables of version 1, sqlite\nBEGIN;\n")
    assert '"grades_events"' in script
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        # Run twice it changes nothing.
        connection.executescript(script + script)
    strict = Subscription(
        name="x", transport="sql", url=f"sqlite:///{tmp_path}/results.db", table="grades", create=False
    )
    database = database_of(strict)
    assert database.check().startswith("SQLite ")
    database.close()


def test_the_statements_for_postgresql_are_accepted_by_it(
    services: Services, postgresql_server: PostgreSQLServer, capfd: pytest.CaptureFixture[str]
) -> None:
    script = printed(capfd, "big").replace('"own"', '"printed"')
    with closing(postgresql_server.connect()) as connection:
        connection.execute(f"CREATE SCHEMA printed; {script}{script}".encode())
        strict = Subscription(name="x", transport="sql", url=postgresql_server.url, schema="printed", create=False)
        database = database_of(strict)
        assert database.check().startswith("PostgreSQL ")
        database.close()
        connection.execute("DROP SCHEMA printed CASCADE")


def test_without_a_subscription_the_names_are_the_defaults(
    services: Services, capfd: pytest.CaptureFixture[str]
) -> None:
    assert 'CREATE TABLE IF NOT EXISTS "attempts" (' in printed(capfd)
    assert "timestamptz" in printed(capfd)
    assert "timestamptz" not in printed(capfd, "--dialect", "sqlite")
    assert cli.run(["sql", "schema", "queue"]) == 2
    assert 'unknown sql subscription: "queue".' in capfd.readouterr().err


def test_a_test_of_a_subscription_says_what_the_database_is_and_leaves_no_row(
    services: Services, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(code: int) -> str:
        services.state.set(keys.heartbeat("dispatch"), "1")
        tester = SubscriptionTester(services, services.now)
        running = threading.Thread(target=lambda: any(tester.step(2.0) for _ in range(20)))
        running.start()
        assert cli.run(["subscriptions", "test", "results"]) == code
        running.join(10)
        return capfd.readouterr().out

    out = run(0)
    assert f'tables "grades" and "grades_events" of sqlite:///{tmp_path}/results.db' in out
    assert f"[+] SQLite {sqlite3.sqlite_version}: written and rolled back\n" in out
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        assert connection.execute("SELECT count(*) FROM grades_events").fetchone() == (0,)
        connection.execute("UPDATE grades_version SET version = 7")
        connection.commit()
    assert 'database: the tables "grades" have version 7, this bridge writes version 1' in run(1)
