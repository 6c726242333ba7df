"""The clock is set back: retries, circuits, heartbeats and leases wait no longer than they would have."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.state import keys
from bridge.state.lease import Lease
from tests.support.child_processes import services
from tests.support.dispatch import Receiver, even, lane, publish, refuse, run_until_idle
from tests.support.servers import Server
from workers.dispatch.process import Dispatcher

NAME = "crm"
CRM = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(600.0, 36_000.0), jitter=0.0))
HOUR = 3600.0


def due(state: redis.Redis) -> list[float]:
    result: Any = state.zrange(keys.retry(NAME), 0, -1, withscores=True)
    return [moment for _, moment in result]


@pytest.mark.parametrize("hours", [1, 2, 24 * 365 * 50])
def test_retries_wait_as_long_as_planned_after_the_clock_was_set_back(state: redis.Redis, hours: int) -> None:
    start = 2_000_000_000.0
    ids = publish(state, *range(3))
    receiver = Receiver(refuse)
    crm_lane = lane(state, receiver, subscription=CRM)
    crm_lane.follow_clock(start)
    run_until_idle(crm_lane, start)
    assert crm_lane.follow_clock(start - hours * HOUR) == hours * HOUR
    assert crm_lane.follow_clock(start - hours * HOUR) == 0
    assert due(state) == [start - hours * HOUR + 600.0] * 3
    receiver.answer = lambda sent: None
    run_until_idle(crm_lane, start - hours * HOUR + 600.0)
    assert sorted(receiver.ids) == sorted(ids * 2)


def test_a_step_is_noticed_by_a_process_that_starts_after_it(state: redis.Redis) -> None:
    publish(state, 1)
    doomed = lane(state, Receiver(refuse), subscription=CRM)
    doomed.follow_clock(10_000.0)
    run_until_idle(doomed, 10_000.0)
    heir = lane(state, Receiver(), subscription=CRM, consumer="two")
    assert heir.follow_clock(2_800.0) == 7200
    assert due(state) == [3_400.0]


def test_a_clock_that_goes_on_or_hesitates_moves_nothing(state: redis.Redis) -> None:
    publish(state, 1)
    crm_lane = lane(state, Receiver(refuse), subscription=CRM)
    run_until_idle(crm_lane, 10_000.0)
    for moment in (10_000.0, 10_005.0, 9_999.0, 10_100.0, 10_075.0, 90_000.0):
        assert crm_lane.follow_clock(moment) == 0
    assert due(state) == [10_600.0]


def test_many_retries_are_moved_together(state: redis.Redis) -> None:
    state.zadd(keys.retry(NAME), {f"e{number}": 10_000.0 + number for number in range(1300)})
    crm_lane = lane(state, Receiver(), subscription=CRM)
    crm_lane.follow_clock(10_000.0)
    crm_lane.follow_clock(2_800.0)
    assert due(state) == [2_800.0 + number for number in range(1300)]


def test_the_dispatch_process_follows_the_clock_of_the_state_server(server: Server, state: redis.Redis) -> None:
    dispatcher = Dispatcher(services(server, CRM))
    ahead = dispatcher.now() + 2 * HOUR
    state.hset(keys.subscription_state(NAME), "clock", ahead)
    state.zadd(keys.retry(NAME), {"e": ahead + 5.0})
    dispatcher.beat()
    assert due(state)[0] == pytest.approx(dispatcher.now() + 5.0, abs=2.0)


@pytest.mark.parametrize("key", [keys.alive(0, "dead"), keys.heartbeat("dispatch:dead")], ids=["new", "old"])
def test_the_heartbeat_of_a_dead_process_ends_in_its_usual_time(server: Server, state: redis.Redis, key: str) -> None:
    heartbeat = Dispatcher(services(server, CRM), silent=10.0).heartbeat
    state.set(key, 1, px=int(2 * HOUR * 1000))
    assert heartbeat.is_alive("dead", 0)
    assert 0 < state.pttl(key) <= 10_000  # type: ignore[operator]  # not asynchronous
    state.delete(key)
    assert not heartbeat.is_alive("dead", 0)


def test_the_lease_of_a_dead_holder_ends_in_its_usual_time(state: redis.Redis) -> None:
    assert Lease(state, "poll:eu", "dead", seconds=2 * HOUR).hold()
    heir = Lease(state, "poll:eu", "heir", seconds=40.0)
    assert not heir.hold()
    assert 0 < state.pttl(keys.lease("poll:eu")) <= 40_000  # type: ignore[operator]  # not asynchronous
    # A living holder renews it, and then nobody shortens it.
    assert Lease(state, "poll:eu", "dead", seconds=40.0).hold()
    assert not heir.hold()
    assert state.pttl(keys.lease("poll:eu")) > 35_000  # type: ignore[operator]  # not asynchronous


def test_two_lanes_move_the_same_retries_once(state: redis.Redis) -> None:
    publish(state, 1)
    lanes = [lane(state, Receiver(refuse), subscription=CRM, consumer=name) for name in ("one", "two")]
    lanes[0].follow_clock(10_000.0)
    lanes[0].step(lambda: 10_000.0, even)
    assert [each.follow_clock(2_800.0) for each in lanes] == [7200, 0]
    assert due(state) == [3_400.0]
