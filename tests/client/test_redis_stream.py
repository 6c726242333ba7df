"""The loop over the journal: acknowledges after the handler, takes over from the dead, reports poison, reconnects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from attempt_bridge_client import Event
from attempt_bridge_client.redis_stream import PoisonMessage, StreamReader
from attempt_bridge_client.samples import Samples
from tests.support.servers import Server
from tests.support.waiting import until

STREAM, GROUP = "ab:{0}:journal", "certificates"
VENDORS = Samples().vendors


def publish(client: redis.Redis, *numbers: int) -> list[str]:
    """Events of the vendors with these numbers."""
    events = [Samples().attempt(VENDORS[number]) for number in numbers]
    for event in events:
        append(client, event)
    return [event["id"] for event in events]


def append(client: redis.Redis, event: dict[str, Any]) -> None:
    client.xadd(STREAM, {"id": event["id"], "type": event["type"], "event": Samples().signed(event)[0]})


@contextmanager
def reading(
    client: redis.Redis, handler: Callable[[Event], Any], poison: list[PoisonMessage] | None = None, **options: Any
) -> Iterator[StreamReader]:
    """A reader in a thread."""
    report = [].append if poison is None else poison.append
    reader = StreamReader(client, GROUP, "one", handler, report, retry_after=0.2, **options)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(reader.run, stop)
        try:
            yield reader
        finally:
            stop.set()
    running.result()


def wait(condition: Callable[[], Any]) -> None:
    until(condition, seconds=20)


def pending(client: redis.Redis) -> int:
    return client.xpending(STREAM, GROUP)["pending"]


def test_an_entry_is_acknowledged_after_its_handler_and_only_results_are_handed_on(state: redis.Redis) -> None:
    seen: list[tuple[str, int]] = []
    idents = publish(state, 1, 2)
    for event in (Samples().notice("source.poll_failing"), Samples().notice("bridge.test")):
        append(state, event)
    with reading(state, lambda event: seen.append((event.id, pending(state)))):
        wait(lambda: len(seen) == 2 and pending(state) == 0)
    assert [ident for ident, _ in seen] == idents
    assert all(waiting > 0 for _, waiting in seen)
    assert state.xinfo_groups(STREAM)[0]["lag"] == 0


def test_an_entry_of_a_dead_consumer_is_taken_over_and_one_of_this_name_comes_first(state: redis.Redis) -> None:
    idents = publish(state, 1, 2, 3)
    state.xgroup_create(STREAM, GROUP, id="0")
    state.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=1)
    state.xreadgroup(GROUP, "one", {STREAM: ">"}, count=1)
    seen: list[str] = []
    with reading(state, lambda event: seen.append(event.id)):
        wait(lambda: len(seen) == 3 and pending(state) == 0)
    assert seen[0] == idents[1]
    assert sorted(seen) == sorted(idents)


def test_what_always_fails_or_cannot_be_read_is_reported_once_and_delays_nothing_else(state: redis.Redis) -> None:
    bad, good = publish(state, 1, 2)
    odd = state.xadd(STREAM, {"type": "attempt.completed", "event": "{}"})
    seen: list[str] = []
    poison: list[PoisonMessage] = []

    def handle(event: Event) -> None:
        seen.append(event.id)
        if event.id == bad:
            raise RuntimeError

    with reading(state, handle, poison, max_deliveries=3):
        wait(lambda: len(poison) == 2 and pending(state) == 0)
    assert [ident for ident in seen if ident == good] == [good]
    assert len(seen) == 4
    assert (poison[0].entry_id, poison[0].body, poison[0].deliveries) == (odd.decode(), b"{}", 1)
    assert Event.from_json(poison[1].body).id == bad
    assert poison[1].deliveries == 3
    assert isinstance(poison[1].error, RuntimeError)


def test_what_kills_its_consumers_is_reported_and_takes_no_other_along(state: redis.Redis) -> None:
    """Entries received together with it were delivered as often, but each again alone."""
    bad, good = publish(state, 1, 2)
    state.xgroup_create(STREAM, GROUP, id="0")
    state.xreadgroup(GROUP, "one", {STREAM: ">"}, count=2)
    poison: list[PoisonMessage] = []
    seen: list[str] = []

    class Killed(BaseException):
        pass

    def handle(event: Event) -> None:
        seen.append(event.id)
        if event.id == bad:
            raise Killed

    def start() -> None:
        reader = StreamReader(state, GROUP, "one", handle, poison.append, max_deliveries=3)
        stop = threading.Event()
        reader.on_poison = lambda message: (poison.append(message), stop.set())
        reader.run(stop)

    for _ in range(2):
        with pytest.raises(Killed):
            start()
    start()
    assert [Event.from_json(message.body).id for message in poison] == [bad]
    assert poison[0].error is None
    with reading(state, handle, max_deliveries=3):
        wait(lambda: pending(state) == 0)
    assert seen == [bad, bad, good]


def test_a_callback_that_fails_leaves_the_entry_where_it_is(state: redis.Redis) -> None:
    calls: list[int] = []

    def on_poison(_: PoisonMessage) -> None:
        calls.append(pending(state))
        if len(calls) < 3:
            raise RuntimeError

    with reading(state, lambda event: None) as reader:
        reader.on_poison = on_poison
        state.xadd(STREAM, {"type": "attempt.completed", "event": "{}"})
        wait(lambda: calls and pending(state) == 0)
    assert set(calls) == {1}


def test_the_loop_survives_a_restart_of_the_server_and_the_loss_of_its_streams(own_server: Server) -> None:
    client = own_server.client(socket_timeout=2, retry=None)
    seen: list[str] = []
    with reading(client, lambda event: seen.append(event.id)):
        (first,) = publish(client, 1)
        wait(lambda: seen == [first] and pending(client) == 0)
        own_server.kill9()
        own_server.start()
        (second,) = publish(client, 2)
        wait(lambda: seen == [first, second])
        client.flushall()
        (third,) = publish(client, 3)
        wait(lambda: seen[-1] == third)
    client.close()
