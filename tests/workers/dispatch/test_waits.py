"""While nothing can be tried, operators see for what a subscription waits, since when, and later an alarm."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.config.model import Subscription
from bridge.delivery.status import SubscriptionState, read_state
from bridge.delivery.subscription_rows import subscription_row
from bridge.errors import DeliveryFailed
from bridge.journal.reading import Reader
from bridge.monitoring.state_findings import _subscription
from bridge.services import Services
from bridge.state import keys
from tests.support import sql_tables
from tests.support.dispatch import Receiver, at, even, lane, publish, run_until_idle
from tests.support.sql_tables import sqlite_place
from tests.support.watches_api import build
from workers.polling.subscription_watchdog import check_subscriptions

NAME = "crm"
QUEUE = Subscription(name=NAME, transport="kombu", queue="crm")


def down(_: Any) -> DeliveryFailed:
    return DeliveryFailed("broker: down. Remedy: start it", reason="broker_unavailable", charged=False)


def state_of(client: redis.Redis, now: float = 2000.0) -> SubscriptionState:
    return read_state(client, NAME, partitions=1, now=now)


def noted(client: redis.Redis) -> tuple[str, float | None]:
    state = state_of(client)
    return state.blocked_by, state.blocked_since


def test_it_is_noted_since_when_nothing_can_be_tried_also_after_a_restart(state: redis.Redis) -> None:
    publish(state, 1, 2)
    first = lane(state, Receiver(down), subscription=QUEUE, consumer="one")
    for moment in (1000.0, 1100.0):
        first.step(at(moment), even)
    assert noted(state) == ("broker: down. Remedy: start it", 1000.0)
    first.adopt(lambda consumer: False)
    receiver = Receiver(down)
    second = lane(state, receiver, subscription=QUEUE, consumer="one")
    second.step(at(1200.0), even)
    assert noted(state) == ("broker: down. Remedy: start it", 1000.0)
    receiver.answer = None
    run_until_idle(second, 1300.0)
    assert noted(state) == ("", None)
    # Another problem is a new one, and one that was noted before the clock was set back is not in the future.
    publish(state, 3)
    receiver.answer = down
    second.step(at(1400.0), even)
    second.step(at(900.0), even)
    assert noted(state) == ("broker: down. Remedy: start it", 900.0)


def test_a_process_with_nothing_to_send_forgets_what_an_earlier_one_noted_unless_a_retry_waits(
    state: redis.Redis,
) -> None:
    publish(state, 1)
    receiver = Receiver(lambda sent: DeliveryFailed("no", reason="x"))
    run_until_idle(lane(state, receiver, subscription=QUEUE), 1000.0)
    (due,) = [score for _, score in state.zrange(keys.retry(NAME), 0, -1, withscores=True)]
    state.hset(keys.subscription_state(NAME, 0), mapping={"waits": "broker: down", "waits_since": "900.000"})
    lane(state, receiver, subscription=QUEUE).step(at(due - 30.0), even)
    assert noted(state) == ("broker: down", 900.0)
    lane(state, receiver, subscription=QUEUE).step(at(due - 90.0), even)
    assert noted(state) == ("", None)


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return build(state, tmp_path)


def announced(services: Services) -> list[tuple[str, dict[str, Any]]]:
    events = Reader(services.state).events(newest_first=False)
    alarms = [
        (event.type, json.loads(event.event)["data"]) for event in events if event.type.startswith("subscription.")
    ]
    return [(kind, data["subscription"]) for kind, data in alarms]


def test_tables_that_are_missing_raise_an_alarm_with_the_remedy_and_it_ends_when_they_are_there(
    services: Services, tmp_path: Path
) -> None:
    place = sqlite_place(str(tmp_path / "attempts.db"), create=False)
    place.do("CREATE TABLE something (else_ text)")
    warehouse = replace(place.subscription, name=NAME)
    services = replace(services, config=replace(services.config, subscriptions={NAME: warehouse}))
    sql_tables.publish(services.state, keys.journal(0), [sql_tables.made(1)])
    transport = place.transport()
    running = lane(services.state, transport, subscription=warehouse)
    for now, kinds in (
        (1000.0, []),
        (1299.0, []),
        (1300.0, ["subscription.failing"]),
        (9000.0, ["subscription.failing"]),
    ):
        running.step(at(now), even)
        check_subscriptions(replace(services, now=lambda now=now: now))
        assert [kind for kind, _ in announced(services)] == kinds, now
    ((_, facts),) = announced(services)
    assert facts["fact"] == "nothing can be sent"
    assert facts["value"].startswith("database: table ")
    assert facts["remedy"].startswith("run what attempt-bridge sql schema prints")
    row = subscription_row(services.deliveries, services.config, NAME, now=9000.0)
    assert (row["waits"][:15], row["waits_since"]) == ("database: table", "1970-01-01T00:16:40.000Z")
    assert "blocked: database: table" in _subscription(NAME, state_of(services.state)).text
    maker = replace(place, subscription=replace(warehouse, create=True)).transport()
    maker._database.check()
    maker.close()
    run_until_idle(running, 9100.0)
    check_subscriptions(replace(services, now=lambda: 9100.0))
    assert [kind for kind, _ in announced(services)] == ["subscription.failing", "subscription.recovered"]
    transport.close()
