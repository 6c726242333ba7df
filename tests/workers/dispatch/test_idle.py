"""Idle lanes wait together: they ask the state server nothing, and miss nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from bridge.config.model import Subscription
from bridge.delivery.store import Deliveries
from bridge.state import keys
from tests.support.child_processes import services
from tests.support.dispatch import Receiver, publish
from tests.support.servers import Server
from tests.support.waiting import until
from workers.dispatch import idle as idle_module
from workers.dispatch import membership, process
from workers.dispatch.idle import IdleLane, IdleLanes
from workers.dispatch.membership import GroupMember
from workers.dispatch.process import Dispatcher

NAMES = ("crm", "lms", "erp")


@pytest.fixture
def served(server: Server, state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatcher]:
    """A process whose lanes, three subscriptions in two partitions, are all idle; no step comes by time alone."""
    monkeypatch.setattr(membership, "_QUIET_READS", 0)
    monkeypatch.setattr(process, "IDLE_SECONDS", 600.0)
    monkeypatch.setattr(idle_module, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(idle_module, "POLL_STOPPED_SECONDS", 0.1)
    named = [Subscription(name=name, transport="kombu", queue=name) for name in NAMES]
    dispatcher, stop = Dispatcher(services(server, *named, partitions=2), silent=1.0), threading.Event()
    for lane in dispatcher.lanes:
        lane.transport = Receiver()
    running = threading.Thread(target=dispatcher.serve, args=(stop,))
    running.start()
    try:
        until(lambda: all_idle(dispatcher))
        yield dispatcher
    finally:
        stop.set()
        running.join(10)
        assert not running.is_alive()


def all_idle(dispatcher: Dispatcher) -> bool:
    return len(dispatcher._idle._waiting()) == len(dispatcher.lanes)


def got(dispatcher: Dispatcher) -> list[str]:
    """What all receivers got, sorted."""
    return sorted(event_id for lane in dispatcher.lanes for event_id in lane.transport.ids)  # type: ignore[attr-defined]


def calls(state: redis.Redis, command: str) -> int:
    return int(state.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def test_lanes_that_wait_read_nothing_and_each_event_wakes_those_of_its_partition(
    served: Dispatcher, state: redis.Redis
) -> None:
    reads, polls = calls(state, "xreadgroup"), calls(state, "xrevrange")
    until(lambda: calls(state, "xrevrange") >= polls + 6)
    assert calls(state, "xreadgroup") == reads
    for partition in (0, 1):
        (event_id,) = publish(state, partition, partition=partition)
        until(lambda: got(served).count(event_id) == len(NAMES))  # noqa: B023 - called at once
        until(lambda: all_idle(served))
    # Lanes look again until they find nothing several times; those of the other partition sleep.
    assert calls(state, "xreadgroup") < reads + 2 * 7 * len(NAMES)


def test_a_pause_a_resumption_a_retry_and_the_entries_of_the_dead_end_a_wait(
    served: Dispatcher, state: redis.Redis
) -> None:
    deliveries = Deliveries(state, partitions=2)
    deliveries.pause("crm")
    until(lambda: deliveries.sending("crm") == 0)
    # Paused again before anybody saw the end of the first pause: it is confirmed anew.
    until(lambda: all_idle(served))
    deliveries.resume("crm")
    deliveries.pause("crm")
    until(lambda: deliveries.sending("crm") == 0)
    (first,) = publish(state, 1)
    until(lambda: got(served) == [first, first])
    deliveries.resume("crm")
    until(lambda: got(served) == [first] * 3)

    until(lambda: all_idle(served))
    # As a replay or another process schedules it.
    second = publish(state, 2, partition=1)[0]
    until(lambda: got(served).count(second) == 3 and all_idle(served))
    record = f'{{"id": "{second}", "type": "t", "source": "s", "attempt": "a", "entry": "1-1", "event": "{{}}"}}'
    state.hset(keys.deliveries("lms", 1), second, record)
    state.zadd(keys.retry("lms", 1), {second: served.now()})
    until(lambda: got(served).count(second) == 4)

    until(lambda: all_idle(served))
    deliveries.pause("erp")
    until(lambda: deliveries.sending("erp") == 0)
    (third,) = publish(state, 3)
    state.xreadgroup(keys.group("erp"), "dead", {keys.journal(0): ">"})
    deliveries.resume("erp")
    until(lambda: got(served).count(third) == 3)


class Between:
    """A client that does something before its n-th command, counted over all clients of one `Commands`."""

    def __init__(self, commands: Commands, client: redis.Redis) -> None:
        self._commands, self._client = commands, client

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if name == "pipeline":
            return lambda **options: Between(self._commands, value(**options))
        if name not in ("xreadgroup", "xread", "execute"):
            return value

        def call(*args: Any, **options: Any) -> Any:
            self._commands.next(name)
            return value(*args, **options)

        return call


class Commands:
    def __init__(self, at: int, what: Callable[[str], object]) -> None:
        self.number, self._at, self._what = 0, at, what

    def next(self, name: str) -> None:
        self.number += 1
        if self.number == self._at:
            self._what(name)


@pytest.mark.parametrize("neighbours", [0, 1])
def test_an_event_that_comes_at_any_moment_between_two_commands_ends_the_wait(
    empty_state: Callable[[], redis.Redis], monkeypatch: pytest.MonkeyPatch, neighbours: int
) -> None:
    monkeypatch.setattr(membership, "_QUIET_READS", 0)
    at, number = 0, 1
    while at <= number:
        at += 1
        state = empty_state()
        state.xgroup_create(keys.journal(0), keys.group("crm"), mkstream=True)
        old = state.xadd(keys.journal(0), {"id": "old"})
        state.xreadgroup(keys.group("crm"), "one", {keys.journal(0): ">"})

        def publish_before(command: str) -> None:
            state.xadd(keys.journal(0), {"id": "new"})  # noqa: B023 - called at once
            # While the lane reads, the watch may see the event, and then that nothing came since.
            for other in others if command in ("xreadgroup", "arm") else ():  # noqa: B023
                watch.step(block=0.001)  # noqa: B023
                other.arm()
                watch.step(block=0.001)  # noqa: B023

        commands = Commands(at, publish_before)
        client: Any = Between(commands, state)
        watch = IdleLanes(state=client, blocking_client=client, partitions=1, now=lambda: 1.0)
        others = [IdleLane(watch, "lms", 0, "one|0") for _ in range(neighbours)]
        for other in others:
            other.arm()
            watch.step(block=0.001)
        lane = IdleLane(watch, "crm", 0, "one|0")
        member = GroupMember(client, journal=keys.journal(0), group=keys.group("crm"), consumer="one", idle=lane)

        def wait(_: float) -> None:
            for _ in range(3):
                if not lane._rung.is_set():  # noqa: B023 - called at once
                    watch.step(block=0.001)  # noqa: B023

        def arm(armed: Callable[[], None] = lane.arm) -> None:
            commands.next("arm")  # noqa: B023
            armed()

        monkeypatch.setattr(lane._rung, "wait", wait)
        monkeypatch.setattr(lane, "arm", arm)
        entries: list[bytes] = []
        # The lane looks again whenever its wait ends, as its steps do.
        for _ in range(2):
            entries += [entry for entry, _ in member.read(10, 60.0)]
            if commands.number >= at:
                break
        number = commands.number
        assert old not in entries
        assert len(entries) == (1 if number >= at else 0), at
    assert number >= 6
