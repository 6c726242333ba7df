"""Replays from the tables of an sql subscription: what left the journal is sent again, byte for byte and once."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import cli, clock
from bridge.config.model import Filter, RetryPolicy, Subscription
from bridge.erasure.jobs import DONE, Erasure
from bridge.erasure.person import Person
from bridge.services import Services
from bridge.state import keys
from bridge.state.partitions import Partitions
from bridge.web import create_app
from schemas.event import format_time
from tests.support.dispatch import SOURCE, Receiver, outcomes, refuse, scheduled, send_due
from tests.support.postgresql import PostgreSQLServer
from tests.support.sql_tables import Place, made, notice, outgoing, postgresql_place, publish, sqlite_place
from tests.support.watches_api import TOKENS, OpenGate, access_of, build
from workers.dispatch.erasures import ErasureRunner
from workers.dispatch.replays import CRASH_POINTS, ReplayRunner

CRM = Subscription(name="crm", transport="http", retry=RetryPolicy(schedule=()))
BOOK = Subscription(name="book", transport="http", filter=Filter(when={"passed": True}))
SAM = Person(source=SOURCE, email="sam@example.test")
BEFORE = "2026-11-21"
ARCHIVE = {"what": "events", "from_archive": "warehouse", "subscriptions": ["crm"]}


class Killed(BaseException):
    """The process ended here."""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return sqlite_place(str(tmp_path / "attempts.db"))
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    with closing(server.connect()) as connection:
        connection.execute("DROP SCHEMA IF EXISTS archive CASCADE; CREATE SCHEMA archive")
    return postgresql_place(server.url, "archive")


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> Services:
    services = build(state, tmp_path, access=access_of(TOKENS))
    subscriptions = {"crm": CRM, "book": BOOK, "warehouse": place.subscription}
    services = replace(services, config=replace(services.config, subscriptions=subscriptions))
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    return services


@pytest.fixture
def api(services: Services) -> FlaskClient:
    made = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['operator']}"
    return made


def old(number: int, **members: Any) -> dict[str, Any]:
    """An event of years ago; the higher the number, the later."""
    return {**made(number, **members), "recordedtime": f"2024-03-01T10:{number % 60:02}:00.000Z"}


def fill(place: Place, *events: dict[str, Any]) -> list[bytes]:
    """Write events into the tables; their bytes."""
    transport, sent = place.transport(), outgoing(*events)
    assert set(outcomes(transport, sent)) == {None}
    transport.close()
    return [event.body for event in sent]


def dispatch(services: Services, subscription: Subscription = CRM, answer: Any = None) -> Receiver:
    """All that is due is sent now."""
    receiver = Receiver(answer)
    send_due(services.state, receiver, subscription, services.now() + 1, steps=1000)
    return receiver


def finish(services: Services, crash: Callable[[str], None] = lambda point: None, steps: int = 100) -> None:
    """Run all jobs to their end."""
    runner = ReplayRunner(services, "test", live_seconds=0.0, crash=crash)
    try:
        for _ in range(steps):
            if not services.replays.running():
                return
            runner.step(services.now)
        raise AssertionError("still running")
    finally:
        runner.leave()


def new(api: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/replays", json={**ARCHIVE, **body})
    assert answer.status_code == 201, answer.json
    row: dict[str, Any] = answer.json["replay"]
    return row


def shown(api: FlaskClient, row: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = api.get(f"/api/v1/replays/{row['id']}").json
    return document


@pytest.mark.own_partitions
def test_events_that_left_the_journal_are_sent_byte_for_byte_oldest_first_with_the_job_in_a_header(
    place: Place, services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._BATCH", 3)
    odd = old(5, candidate={"name": "Zoë \u2028 / \\ 1e2", "external_id": "007"})
    odd["data"]["extensions"] = {"b": 1.50, "a": 1e2, "z": [2.0], "long": 0.1234567890123456789}
    late = {**old(2), "recordedtime": "2025-03-01T10:00:00.000Z"}
    bodies = fill(place, late, odd, notice(7), *(old(number) for number in (9, 3, 4)))
    row = new(api, until=BEFORE)
    assert (row["from_archive"], row["what"], row["subscriptions"]) == ("warehouse", "events", ["crm"])
    finish(services)
    got = dispatch(services).got
    # The notice is not among the types that the subscription takes.
    assert [event.body for event in got] == [bodies[place] for place in (4, 5, 1, 3, 0)]
    assert {event.replay for event in got} == {row["id"]}
    assert [(event.source, event.attempt, event.type) for event in got][:1] == [(SOURCE, "a3", "attempt.completed")]
    done = shown(api, row)
    assert (done["state"], done["replayed"], done["excluded"], done["progress"]) == ("done", 5, 1, 1.0)
    ((_, _, entry),) = services.audit.newest_first()
    after = entry.change.after or {}
    assert (entry.action, after["from_archive"], after["items"]) == ("addReplay", "warehouse", 5)


def test_filter_period_and_the_filter_of_each_subscription_choose_and_the_archive_itself_gets_nothing(
    place: Place, services: Services, api: FlaskClient
) -> None:
    fill(place, old(1), old(2, passed=False), old(3), old(4))
    everybody = {"what": "events", "from_archive": "warehouse", "since": "2024-03-01T10:01:00Z"}
    answer = api.post("/api/v1/replays", json={**everybody, "filter": "-attempt:a3", "preview": True})
    preview = answer.json["preview"]
    assert preview["by_subscription"] == [{"subscription": "book", "count": 2}, {"subscription": "crm", "count": 3}]
    assert (answer.json["replay"], preview["excluded"], len(preview["examples"])) == (None, 3, 5)
    row = new(api, subscriptions=["book"], since="2024-03-01T10:01:00Z", until="2024-03-01T10:02:00Z")
    finish(services)
    assert [event.attempt for event in dispatch(services, BOOK).got] == ["a1"]
    assert shown(api, row)["excluded"] == 1


def test_events_that_the_journal_still_has_are_left_out(place: Place, services: Services, api: FlaskClient) -> None:
    now = format_time(clock.to_datetime(services.now() - 60.0))
    kept = {**made(2), "recordedtime": now}
    fill(place, old(1), kept, {**made(3), "recordedtime": now})
    publish(services.state, keys.journal(0), [kept])
    entry = services.state.xrange(keys.journal(0))[0][0].decode()
    milliseconds, sequence = map(int, entry.split("-"))
    ident = kept["id"]
    day = milliseconds // 86_400_000
    value = milliseconds.to_bytes(6, "big") + sequence.to_bytes(2, "big")
    services.state.hset(f"{keys.event_ids(0)}:{day}:{ident[:2]}", ident[2:18], value)
    row = new(api)
    dispatch(services)
    finish(services)
    assert sorted(event.attempt for event in dispatch(services).got) == ["a1", "a3"]
    assert (shown(api, row)["replayed"], shown(api, row)["excluded"]) == (2, 1)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize("point", [point for point in CRASH_POINTS if point not in ("reprocessed", "recorded")])
def test_a_job_whose_process_is_killed_continues_and_sends_each_event_once(
    services: Services, api: FlaskClient, place: Place, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._BATCH", 3)
    fill(place, *(old(number) for number in range(8)))
    row = new(api)
    for at in range(1, 5):
        passed = 0

        def crash(name: str, at: int = at) -> None:
            nonlocal passed
            passed += name == point
            if passed == at:
                raise Killed

        services.state.delete(keys.lease(f"replay:{row['id']}"))
        try:
            finish(services, crash)
        except Killed:
            continue
        break
    services.state.delete(keys.lease(f"replay:{row['id']}"))
    finish(services)
    assert sorted(event.attempt for event in dispatch(services).got) == [f"a{number}" for number in range(8)]
    done = shown(api, row)
    assert (done["state"], done["replayed"], done["waiting"]) == ("done", 8, 0)


def serving(services: Services, api: FlaskClient, partitions: int) -> tuple[Services, FlaskClient]:
    """The services and the API of processes that serve so many partitions."""
    bridge = replace(services.config.bridge, partitions=partitions)
    services = replace(services, config=replace(services.config, bridge=bridge))
    made_api = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made_api.environ_base = api.environ_base
    return services, made_api


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_job_that_was_made_for_fewer_partitions_replays_everything(
    place: Place, services: Services, api: FlaskClient
) -> None:
    fill(place, *(old(number) for number in range(12)))
    row = new(serving(services, api, 2)[1])
    grown, made_api = serving(services, api, 4)
    finish(grown)
    assert (shown(made_api, row)["state"], shown(made_api, row)["replayed"]) == ("done", 12)
    assert sum(services.state.hlen(keys.deliveries("crm", number)) for number in range(2)) == 12


@pytest.mark.own_partitions
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_job_that_was_made_for_more_partitions_fails_loudly_and_stands_in_nobodys_way(
    place: Place, services: Services, api: FlaskClient
) -> None:
    fill(place, *(old(number) for number in range(12)))
    row = new(serving(services, api, 3)[1])
    finish(services)
    says = "it is spread over 3 partitions, and bridge.partitions is 1. Remedy: make it again"
    assert (shown(api, row)["state"], shown(api, row)["error"]) == ("failed", says)
    erase(services)
    job = services.erasures.get("erasure-1")
    assert job is not None
    assert job.state == DONE
    assert [replay["id"] for replay in api.get("/api/v1/replays").json["replays"]] == [row["id"]]


def test_every_partition_gets_its_events_and_none_gets_those_of_another(
    place: Place, services: Services, api: FlaskClient
) -> None:
    services, made_api = serving(services, api, 3)
    fill(place, *(old(number) for number in range(12)))
    row = new(made_api)
    finish(services)
    places = Partitions(services.state, 3).spread()
    for partition in range(3):
        waiting = services.state.hgetall(keys.deliveries("crm", partition))
        attempts = {json.loads(record)["attempt"] for record in waiting.values()}
        assert attempts == {f"a{number}" for number in range(12) if places.home(SOURCE, f"a{number}")[0] == partition}
    assert shown(made_api, row)["replayed"] == 12


def test_a_dead_letter_of_the_same_event_is_replaced_and_what_fails_keeps_its_event(
    place: Place, services: Services, api: FlaskClient
) -> None:
    (body,) = fill(place, old(1))
    new(api)
    finish(services)
    assert dispatch(services, answer=refuse).got
    (letter,) = services.deliveries.dead_letters("crm")
    assert letter.event == body
    new(api)
    finish(services)
    assert list(services.deliveries.dead_letters("crm")) == []
    assert [event.body for event in dispatch(services).got] == [body]


def test_a_job_waits_for_its_database_and_says_why(place: Place, services: Services, api: FlaskClient) -> None:
    fill(place, old(1))
    row = new(api)
    place.do("UPDATE {version} SET version = 9")
    runner = ReplayRunner(services, "test")
    assert runner.step(services.now) == 5.0
    assert shown(api, row)["state"] == "running"
    assert shown(api, row)["waits"].startswith("subscription warehouse: database: the tables ")
    answer = api.post("/api/v1/replays", json={**ARCHIVE, "preview": True})
    assert (answer.status_code, answer.json["detail"][:32]) == (503, "subscription warehouse: database")
    place.do("UPDATE {version} SET version = 1")
    while services.replays.running():
        runner.step(services.now)
    runner.leave()
    assert [event.attempt for event in dispatch(services).got] == ["a1"]


def test_rows_that_are_not_whole_events_are_counted_and_not_sent(
    place: Place, services: Services, api: FlaskClient
) -> None:
    sparse, swapped = old(2), old(3)
    sparse["data"] = {"attempt": sparse["data"]["attempt"]}
    fill(place, old(1), sparse, swapped)
    place.do(f"UPDATE {{events}} SET id = 'other' WHERE id = '{swapped['id']}'")
    row = new(api)
    finish(services)
    assert [event.attempt for event in dispatch(services).got] == ["a1"]
    assert (shown(api, row)["replayed"], shown(api, row)["failed"]) == (1, 2)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_table_that_does_not_keep_the_bytes_is_no_archive(place: Place, api: FlaskClient) -> None:
    fill(place, old(1))
    place.do("ALTER TABLE {events} ALTER COLUMN event TYPE jsonb")
    # It is still written.
    fill(place, old(2))
    answer = api.post("/api/v1/replays", json={**ARCHIVE, "preview": True})
    assert answer.status_code == 503
    assert "is not json: it does not keep the bytes of events. Remedy: archive into tables" in answer.json["detail"]


def erase(services: Services, *, steps: int = 400) -> ErasureRunner:
    job = Erasure(id="erasure-1", source=SOURCE, digest=SAM.digest, dry_run=False, created=1.0, by="cli:ann")
    services.erasures.add(job, SAM)
    runner = ErasureRunner(services, "one")
    for _ in range(steps):
        runner.step(services.now)
    return runner


INES = {"id": "x", "external_id": "X", "email": "ines@example.test", "name": "Ines"}


def test_an_erased_person_does_not_come_back_whenever_the_erasure_begins(
    place: Place, services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._BATCH", 2)
    sams = {made(number)["id"] for number in range(6)}
    for point in ("before", "read", "scheduled"):
        fill(place, *(old(number) for number in range(6)), old(7, candidate=INES))
        row = new(api)
        begun: list[int] = []

        def crash(name: str, point: str = point, begun: list[int] = begun) -> None:
            if name == point and not begun:
                begun.append(1)
                erase(services)

        if point == "before":
            erase(services)
        finish(services, crash)
        job = services.erasures.get("erasure-1")
        assert job is not None
        assert job.state == DONE
        assert [event.attempt for event in dispatch(services).got] == ["a7"], point
        assert shown(api, row)["state"] == "done"
        left = services.state.hgetall(keys.deliveries("crm", 0))
        assert not sams & {name.decode() for name in left}
        assert place.do("SELECT attempt_id FROM {attempts}") == [("a7",)]


def test_a_job_waits_until_an_erasure_that_is_under_way_has_ended(
    place: Place, services: Services, api: FlaskClient
) -> None:
    fill(place, old(1))
    place.do("UPDATE {version} SET version = 9")
    erasing = erase(services)
    place.do("UPDATE {version} SET version = 1")
    row = new(api)
    runner = ReplayRunner(services, "test")
    runner.step(services.now)
    assert shown(api, row)["waits"].startswith("an erasure is under way")
    assert scheduled(services.state, "crm") == []
    runner.leave()
    for _ in range(20):
        erasing.step(services.now)
    finish(services)
    assert dispatch(services).got == []


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 404, "nothing to replay"),
        ({"from_archive": "warehous"}, 422, 'Did you mean \\"warehouse\\"'),
        (
            {"from_archive": "book"},
            422,
            "subscription book has no tables. Remedy: name one with transport: sql: warehouse",
        ),
        ({"subscriptions": ["warehouse"]}, 422, "subscription warehouse has these events"),
        ({"what": "dead_letters"}, 422, "only for events"),
        ({"ids": ["0" * 36]}, 422, "filter by id"),
    ],
)
def test_a_wrong_archive_is_one_problem(
    tmp_path: Path, state: redis.Redis, body: dict[str, Any], status: int, says: str
) -> None:
    place = sqlite_place(str(tmp_path / "attempts.db"))
    fill(place, {**made(1), "type": "attempt.unknown"})
    services = build(state, tmp_path, access=access_of(TOKENS))
    subscriptions = {"crm": CRM, "book": BOOK, "warehouse": place.subscription}
    services = replace(services, config=replace(services.config, subscriptions=subscriptions))
    api = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    answer = api.post(
        "/api/v1/replays", json={**ARCHIVE, **body}, headers={"Authorization": f"Bearer {TOKENS['operator']}"}
    )
    assert answer.status_code == status, answer.json
    assert says in json.dumps(answer.json)


def test_an_archive_without_whole_events_is_refused(services: Services, api: FlaskClient) -> None:
    minimal = replace(services.config.subscriptions["warehouse"], data="minimal")
    subscriptions = {**services.config.subscriptions, "warehouse": minimal}
    changed = replace(services, config=replace(services.config, subscriptions=subscriptions))
    made_api = create_app(changed, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made_api.environ_base = api.environ_base
    answer = made_api.post("/api/v1/replays", json=ARCHIVE)
    assert (answer.status_code, "its data is not full" in answer.json["detail"]) == (422, True)


def test_the_command_previews_and_makes_the_job(
    place: Place, services: Services, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(place, *(old(number) for number in range(12)))
    command = ("replays", "new", "events", "--from-archive", "warehouse", "--subscription", "crm")
    assert cli.run(command) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[1] == "12 of crm would be replayed"
    assert out.count("attempt.completed") == 10
    assert "add --yes" in err
    assert cli.run((*command, "--rate", "5", "--yes", "--no-wait")) == 0
    assert capfd.readouterr().err.endswith(" replays 12\n")
