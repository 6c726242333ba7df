"""What else a bridge does while memories move between partitions: each time as if nothing moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import redis
from flask.testing import FlaskClient

from bridge.config.model import Retention as RetentionConfig
from bridge.journal.reading import Reader
from bridge.journal.retention import Retention
from bridge.services import Services
from bridge.state import keys
from bridge.state.repartition import Repartition
from tests.support import erasing
from tests.support.comparison import misplaced
from tests.support.dispatch import Receiver, lane, run_until_idle
from tests.support.erasing import OTHER, SAM, Named, body_of, make_client, places_of
from tests.support.pointing import NAME, World
from tests.support.polling import DAY, START, Sitting
from workers.dispatch.repartition import RepartitionRunner
from workers.dispatch.replays import ReplayRunner
from workers.polling.poll import poll_once
from workers.polling.reconcile import ReconcileOptions, reconcile

#: Processes serve four partitions; attempts are spread over two, then over three, then over one.
SERVED, BEFORE, AFTER, LAST = 4, 2, 3, 1
#: Steps of the mover after the change has begun: none, those of one of the two partitions, all and its end.
STAGES = (0, 1, 9)
PEOPLE = [f"p{number}" for number in range(12)]

pytestmark = pytest.mark.parametrize("stage", STAGES)


def serving(services: Services, state: redis.Redis) -> Services:
    """Processes that serve all partitions, over a state that spreads attempts over two."""
    bridge = replace(services.config.bridge, partitions=SERVED)
    state.hset(keys.BRIDGE, mapping={"name": bridge.name, "partitions": str(BEFORE), "layout": "3"})
    return replace(services, config=replace(services.config, bridge=bridge))


def change(services: Services, number: int, stage: int) -> RepartitionRunner:
    """Begin a change and move some of what is remembered."""
    assert Repartition(services.state, configured=SERVED).begin(number, now=services.now())
    mover = RepartitionRunner(services, "mover")
    for _ in range(stage):
        mover.step(services.now)
    return mover


def finish(services: Services, mover: RepartitionRunner) -> None:
    while mover.step(services.now) == 0.0:
        pass
    assert Repartition(services.state, configured=SERVED).read().before is None
    assert misplaced(services.state, SERVED) == 0


def types(state: redis.Redis) -> dict[str, int]:
    """Type of event -> number; no id may occur twice."""
    events = list(Reader(state, partitions=SERVED).events())
    assert len({event.id for event in events}) == len(events)
    return Counter(event.type for event in events)


@pytest.fixture
def world(state: redis.Redis) -> World:
    """A vendor with three sittings of each person, all published."""
    world = World(state)
    world.services = serving(world.services, state)
    world.api.page_size = 100
    numbers = count(1)
    world.api.add(*(Sitting(f"{person}-{each}", START - next(numbers)) for person in PEOPLE for each in range(3)))
    poll_once(world.services, NAME)
    assert types(state) == {"attempt.completed": 36}
    return world


def withdraw(world: World, *people: str) -> None:
    for person in people:
        world.moment += 1
        world.webhook(person=person, consent=False, at=START)


def test_a_withdrawal_voids_every_attempt_and_is_announced_once(world: World, stage: int) -> None:
    withdraw(world, *PEOPLE[:3])
    published = {"attempt.completed": 36, "attempt.revised": 9, "consent.withdrawn": 3}
    assert types(world.client) == published
    mover = change(world.services, AFTER, stage)
    withdraw(world, *PEOPLE[:6], *PEOPLE[:6])
    assert types(world.client) == {**published, "attempt.revised": 18, "consent.withdrawn": 6}
    finish(world.services, mover)
    finish(world.services, change(world.services, LAST, stage))
    withdraw(world, *PEOPLE)
    assert types(world.client) == {**published, "attempt.revised": 36, "consent.withdrawn": 12}


def test_a_reconciliation_misses_what_is_missing_and_nothing_else(world: World, stage: int) -> None:
    mover = change(world.services, AFTER, stage)
    world.api.add(Sitting("late-1", START - 500))
    options = ReconcileOptions(since=START - DAY, until=START, check=lambda: None)

    def listed_and_missing() -> tuple[int, list[str]]:
        made = reconcile(world.services, NAME, options)
        return made.total("listed"), made.ids["missing"]

    assert listed_and_missing() == (37, ["a:late-1"])
    finish(world.services, mover)
    assert listed_and_missing() == (37, ["a:late-1"])
    world.moment += 400
    world.api.find("late-1").finished = world.moment - 1
    poll_once(world.services, NAME)
    assert types(world.client) == {"attempt.completed": 37}


def test_events_are_trimmed_in_every_partition_and_stay_known(world: World, stage: int) -> None:
    mover = change(world.services, AFTER, stage)
    bridge = replace(world.services.config.bridge, retention=RetentionConfig(events=1.0), remember_attempts=9e9)
    report = Retention(world.client, partitions=SERVED).run(bridge, now=9e9)
    assert (report.events, types(world.client)) == (36, {})
    for row in world.api.streams["results"][:12]:
        row.score = 20
    world.moment += 400
    world.client.delete(keys.cursor(NAME, "results"))
    poll_once(world.services, NAME)
    assert types(world.client) == {"attempt.revised": 12}
    finish(world.services, mover)


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return serving(erasing.make_services(state, tmp_path), state)


@pytest.fixture
def api(services: Services) -> FlaskClient:
    return make_client(services)


def results(api: FlaskClient, percentage: float, *people: Named) -> None:
    """A webhook about each."""
    for person in people:
        erasing.send(api, body_of(person, percentage=percentage))


def somebody(number: int) -> Named:
    return Named(f"77{number:05}", f"First{number}", f"Last{number}", f"p{number}@example.org", 1_767_000_000 + number)


EVERYTHING = {"what": "events", "subscriptions": ["desk"], "since": "2020-01-01T00:00:00Z"}
CROWD = [somebody(number) for number in range(12)]


def test_an_attempt_and_its_events_are_found(services: Services, api: FlaskClient, stage: int) -> None:
    results(api, 50.0, *CROWD)
    mover = change(services, AFTER, stage)

    def shown(revisions: int) -> None:
        for person in CROWD:
            row = api.get("/api/v1/attempts/eu", query_string={"attempt": person.attempt}).json
            assert (row["revision"], len(row["events"]), row["missing"]) == (revisions, revisions, 0)
            for event in row["events"]:
                assert [stored.id for stored in services.event_index.find(event["id"], services.now())] == [event["id"]]
        listed = api.get("/api/v1/attempts", query_string={"limit": 100}).json["attempts"]
        assert Counter(row["attempt"] for row in listed) == {person.attempt: 1 for person in CROWD}
        assert {row["revision"] for row in listed} == {revisions}

    shown(1)
    results(api, 60.0, *CROWD)
    shown(2)
    finish(services, mover)
    shown(2)


def test_a_person_is_erased_and_what_was_published_stays_known(
    services: Services, api: FlaskClient, stage: int
) -> None:
    for person in (OTHER, SAM):
        erasing.receive(services, api, person)
        erasing.remember(services, person)
    mover = change(services, AFTER, stage)
    results(api, 60.0, OTHER, SAM)
    others = places_of(services.state, OTHER)
    before = types(services.state)
    answer = api.post("/api/v1/erasures", json={"source": "eu", "email": SAM.email})
    assert answer.status_code == 201, answer.json
    erasing.finish(services)
    assert places_of(services.state, SAM) == {}
    assert places_of(services.state, OTHER) == others
    finish(services, mover)
    left = types(services.state)
    assert sum(left.values()) == sum(before.values()) / 2
    results(api, 60.0, SAM)
    assert types(services.state) == left


def test_a_replay_sends_each_event_once_more(services: Services, api: FlaskClient, stage: int) -> None:
    results(api, 50.0, *CROWD)
    ids = [event.id for event in Reader(services.state, partitions=SERVED).events()]
    assert sent(services) == Counter(ids)
    mover = change(services, AFTER, stage)
    answer = api.post("/api/v1/replays", json=EVERYTHING)
    assert answer.status_code == 201, answer.json
    results(api, 60.0, *CROWD)
    runner = ReplayRunner(services, "test", live_seconds=0.0)
    while services.replays.running():
        runner.step(services.now)
    finish(services, mover)
    revised = [event.id for event in Reader(services.state, partitions=SERVED).events(event_type="attempt.revised")]
    assert len(revised) == len(CROWD)
    assert sent(services) == Counter(ids + revised)


def sent(services: Services) -> Counter[str]:
    """What the lanes of all partitions send now."""
    receivers = [Receiver() for _ in range(SERVED)]
    for partition, receiver in enumerate(receivers):
        subscription = services.config.subscriptions["desk"]
        desk_lane = lane(services.state, receiver, subscription=subscription, partition=partition)
        run_until_idle(desk_lane, services.now() + 1, steps=1000)
    return Counter(ident for receiver in receivers for ident in receiver.ids)
