"""An erasure removes a person's rows from the tables of sql subscriptions, older ones too, and waits for a database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from bridge.erasure.jobs import DONE, RUNNING, Erasure
from bridge.erasure.person import Person
from bridge.services import Services
from tests.support.dispatch import SOURCE, outcomes
from tests.support.postgresql import PostgreSQLServer
from tests.support.sql_tables import Place, made, notice, outgoing, postgresql_place, sqlite_place
from tests.support.watches_api import build
from workers.dispatch.erasures import CRASH_POINTS, ErasureRunner

ROWS = "SELECT attempt_id FROM {attempts} ORDER BY attempt_id"
SAM = Person(source=SOURCE, email="Sam@Example.test")


class Killed(BaseException):
    """The process ends here."""


def other(number: int, **members: object) -> dict[str, object]:
    return made(
        number, candidate={"id": "x", "external_id": "X", "email": "ines@example.test", "name": "Ines"}, **members
    )  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return sqlite_place(str(tmp_path / "attempts.db"))
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    with closing(server.connect()) as connection:
        connection.execute("DROP SCHEMA IF EXISTS erasing CASCADE; CREATE SCHEMA erasing")
    return postgresql_place(server.url, "erasing")


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, place: Place) -> Services:
    services = build(state, tmp_path)
    return replace(services, config=replace(services.config, subscriptions={"warehouse": place.subscription}))


def fill(place: Place) -> None:
    """Sam has an attempt whose newest revision does not name him, and one that does; a notice has no attempt."""
    gone = made(1, revision=2, voided=True, candidate={"id": None, "external_id": None, "email": None, "name": None})
    overdue = notice(9)
    overdue["data"]["watch"]["reference"] = {"email": "sam@example.test"}
    events = [made(1), gone, made(2), overdue, other(3), notice(4), *(other(number) for number in range(10, 30))]
    transport = place.transport()
    assert set(outcomes(transport, outgoing(*events))) == {None}
    transport.close()


def begin(services: Services, *, dry_run: bool = False) -> str:
    job = Erasure(id="erasure-1", source=SOURCE, digest=SAM.digest, dry_run=dry_run, created=1.0, by="cli:ann")
    services.erasures.add(job, SAM)
    return job.id


def finish(services: Services, crash: Callable[[str], None] = lambda point: None, *, steps: int = 400) -> Erasure:
    runner = ErasureRunner(services, "one", crash=crash)
    for _ in range(steps):
        runner.step(lambda: 2.0)
        job = services.erasures.get("erasure-1")
        assert job is not None
        if job.state != RUNNING:
            break
    runner.leave()
    return job


def test_every_row_of_the_person_goes_and_no_other(
    place: Place, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place)
    monkeypatch.setattr("bridge.erasure.table_places._MOST", 4)
    ident = begin(services, dry_run=True)
    assert finish(services).found.counts == {"tables": 3}
    assert len(place.do("SELECT id FROM {events}")) == 26
    services.state.flushall()
    begin(services)
    job = finish(services)
    assert (ident, job.state, job.found.counts, job.error) == ("erasure-1", DONE, {"tables": 3}, "")
    assert [attempt for (attempt,) in place.do(ROWS)] == sorted(["a3", *(f"a{number}" for number in range(10, 30))])
    events = {subject for (subject,) in place.do("SELECT subject FROM {events}")}
    assert events == {"a3", "w4", *(f"a{number}" for number in range(10, 30))}


def test_a_process_that_is_killed_at_each_point_leaves_no_row_and_counts_none_twice(
    place: Place, services: Services
) -> None:
    fill(place)
    begin(services)
    died: set[str] = set()

    def crash(point: str) -> None:
        job = services.erasures.get("erasure-1")
        assert job is not None
        if job.found.counts and point not in died and not died.add(point):
            raise Killed

    for _ in CRASH_POINTS:
        try:
            finish(services, crash)
        except Killed:
            continue
        break
    assert {"noted", "erased", "saved"} <= died
    assert finish(services).found.counts == {"tables": 3}
    assert len(place.do(ROWS)) == 21


def test_an_erasure_waits_for_a_database_that_cannot_be_used_and_says_so(place: Place, services: Services) -> None:
    fill(place)
    place.do("UPDATE {version} SET version = 9")
    begin(services)
    job = finish(services, steps=200)
    assert job.state == RUNNING
    assert job.error.startswith("subscription warehouse: database: the tables ")
    assert job.error.endswith("; it is tried again")
    place.do("UPDATE {version} SET version = 1")
    job = finish(services)
    assert (job.state, job.found.counts, job.error) == (DONE, {"tables": 3}, "")


def test_a_database_without_the_tables_has_nothing_of_anybody(place: Place, services: Services) -> None:
    begin(services)
    assert finish(services).found.counts == {}
