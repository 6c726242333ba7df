"""Dispatch processes that are killed, doubled or cut off, over a real server: nothing is lost, little is doubled."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import StateUnavailable
from bridge.state import keys
from tests.support.child_processes import Child, services
from tests.support.dispatch import Receiver, at, even, lane, publish
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.waiting import until
from workers.dispatch.lane import CRASH_POINTS
from workers.dispatch.process import Dispatcher

pytestmark = pytest.mark.usefixtures("starts_processes")

WAREHOUSE = Subscription(name="warehouse", transport="kombu", queue="warehouse", retry=RetryPolicy(schedule=(0.1,) * 9))

#: A dispatch process that ends without a word the third time it comes to a named point.
DRIVER = """
import os, signal, sys, threading
from bridge.config.model import Receipts, RetryPolicy, Subscription
from workers.dispatch.process import Dispatcher
from tests.support.child_processes import services

class At:
    def __init__(self, url, broker):
        self.url, self.broker_url = url, broker

url, broker, point = sys.argv[1:4]
hits = 0
def crash(here):
    global hits
    hits += here == point
    if hits == 3:
        print("{}", flush=True)
        os._exit(9)

subscription = Subscription(
    name="warehouse", transport="kombu", queue="warehouse", retry=RetryPolicy(schedule=(0.1,) * 9),
    receipts=Receipts(required=point == "expected", within=600.0),
)
dispatcher = Dispatcher(services(At(url, broker), subscription), silent=1.0, crash=crash)
for lane in dispatcher.lanes:
    lane.transport.batch = 5
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
dispatcher.serve(stop)
"""


def queued(broker: redis.Redis) -> Counter[str]:
    """Event ids in the queue, and how often each."""
    texts = broker.lrange("warehouse", 0, -1)
    return Counter(json.loads(text)["properties"]["correlation_id"] for text in texts)  # type: ignore[union-attr]


@pytest.fixture
def driver(tmp_path: Path) -> str:
    path = tmp_path / "driver.py"
    path.write_text(DRIVER)
    return str(path)


@pytest.mark.parametrize("point", [point for point in CRASH_POINTS if point not in ("judged", "parked")])
def test_a_killed_dispatch_process_is_replaced_and_nothing_is_lost(
    server: Server, state: redis.Redis, driver: str, point: str
) -> None:
    ids = publish(state, *range(40))
    broker = redis.Redis.from_url(server.broker_url)
    doomed = Child.forked(driver, server.url, server.broker_url, point)
    assert doomed.process.wait(60) == 9
    assert doomed.end() == 9
    heir = Child.forked(driver, server.url, server.broker_url, "never")
    until(lambda: set(queued(broker)) == set(ids))
    until(lambda: state.xpending(keys.journal(0), keys.group("warehouse"))["pending"] == 0)
    # A dead process that has left nothing is removed, too.
    until(lambda: len(state.xinfo_consumers(keys.journal(0), keys.group("warehouse"))) == 1)
    assert heir.end() == 0
    # Only what was in hand at the moment of death may have gone twice.
    assert sum(queued(broker).values()) - len(ids) <= 5
    assert state.xinfo_consumers(keys.journal(0), keys.group("warehouse")) == []
    broker.close()


def test_two_dispatch_processes_share_a_journal_and_double_nothing(
    server: Server, state: redis.Redis, driver: str
) -> None:
    broker = redis.Redis.from_url(server.broker_url)
    both = [Child.forked(driver, server.url, server.broker_url, "never") for _ in range(2)]
    until(lambda: state.exists(keys.journal(0)))
    until(lambda: len(state.xinfo_consumers(keys.journal(0), keys.group("warehouse"))) == 2)
    ids = publish(state, *range(400))
    until(lambda: Deliveries(state).state("warehouse", now=time.time()).delivered == 400)
    assert queued(broker) == Counter(ids)
    assert [process.end() for process in both] == [0, 0]
    broker.close()


def test_a_paused_process_cannot_undo_what_its_heir_has_done(server: Server, state: redis.Redis, driver: str) -> None:
    zombie = Child.forked(driver, server.url, server.broker_url, "never")
    until(lambda: state.exists(keys.journal(0)))
    until(lambda: state.xinfo_consumers(keys.journal(0), keys.group("warehouse")))
    zombie.process.send_signal(signal.SIGSTOP)
    ids = publish(state, *range(30))
    heir = Child.forked(driver, server.url, server.broker_url, "never")
    broker = redis.Redis.from_url(server.broker_url)
    until(lambda: set(queued(broker)) == set(ids))
    zombie.process.send_signal(signal.SIGCONT)
    more = publish(state, *range(100, 130))
    until(lambda: set(queued(broker)) == {*ids, *more})
    until(lambda: state.xpending(keys.journal(0), keys.group("warehouse"))["pending"] == 0)
    assert (zombie.end(), heir.end()) == (0, 0)
    broker.close()


def test_lost_answers_of_the_state_server_hide_no_event(server: Server, state: redis.Redis) -> None:
    ids = publish(state, *range(1000))
    proxy = Proxy.before(server.url, seed=11)
    away = redis.Redis.from_url(proxy.url(server.url), socket_timeout=5)
    receiver = Receiver(batch=10)
    away_lane = lane(away, receiver, subscription=WAREHOUSE)
    away_lane.step(at(1.0), even)
    proxy.drop_replies(b"XREADGROUP", times=20, share=0.2)
    for _ in range(1000):
        try:
            if away_lane.step(at(1.0), even) > 0 and proxy.keep == 0:
                break
        except StateUnavailable:
            away_lane.recover()
        if proxy.keep == 0:
            proxy.mode = "pass"
    assert proxy.fired >= 10
    assert sorted(receiver.ids) == sorted(ids)
    assert state.xpending(keys.journal(0), keys.group("warehouse"))["pending"] == 0
    away.close()
    proxy.close()


def test_lost_answers_to_settling_lose_nothing_and_schedule_nothing_twice(server: Server, state: redis.Redis) -> None:
    ids = publish(state, *range(200))
    proxy = Proxy.before(server.url, seed=5)
    away = redis.Redis.from_url(proxy.url(server.url), socket_timeout=5)
    receiver = Receiver(batch=10)
    away_lane = lane(away, receiver, subscription=WAREHOUSE)
    away_lane.step(at(1.0), even)
    proxy.drop_replies(b"EVALSHA", times=10, share=0.3)
    for _ in range(1000):
        try:
            if away_lane.step(at(1.0), even) > 0:
                break
        except StateUnavailable:
            away_lane.recover()
    assert proxy.fired > 3
    assert set(receiver.ids) == set(ids)
    assert Deliveries(state).state("warehouse", now=1.0).delivered == 200
    assert Deliveries(state).state("warehouse", now=1.0).pending == 0
    away.close()
    proxy.close()


def test_a_state_server_that_is_killed_and_comes_back_is_met_again(own_server: Server) -> None:
    what = services(own_server, WAREHOUSE)
    stop = threading.Event()
    running = threading.Thread(target=Dispatcher(what, silent=1.0).serve, args=(stop,))
    client, broker = own_server.client(), redis.Redis.from_url(own_server.broker_url)
    running.start()
    ids = publish(client, *range(10))
    until(lambda: len(queued(broker)) == 10)
    own_server.kill9()
    time.sleep(0.5)
    own_server.start()
    ids += publish(client, *range(10, 20))
    until(lambda: set(queued(broker)) == set(ids))
    stop.set()
    running.join(10)
    assert not running.is_alive()
    client.close()
    broker.close()
