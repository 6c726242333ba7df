"""A dispatch process that is killed while it sends a digest: the next one sends it again, as one message."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bridge.delivery.store import Deliveries
from bridge.state import keys
from tests.support.child_processes import Child
from tests.support.dispatch import publish
from tests.support.notified import Chat, Reply, chat_server
from tests.support.servers import Server
from tests.support.waiting import until

DRIVER = """
import signal, sys, threading
from bridge.config.model import Subscription
from workers.dispatch.process import Dispatcher
from workers.dispatch.schedule import Limits
from tests.support.child_processes import services

class At:
    def __init__(self, url):
        self.url = self.broker_url = url

url, chat = sys.argv[1:3]
ops = Subscription(
    name="ops", transport="notify", urls=(f"json://:s3cret@127.0.0.1:{chat}/hook",), allow_private=True,
    digest=1.0, public_url="https://bridge.example.test", data="minimal",
)
always = Subscription(
    name="all", transport="notify", urls=(f"json://127.0.0.1:{chat}/never",), allow_private=True, digest=3600.0,
)
dispatcher = Dispatcher(services(At(url), ops, always), silent=1.0, limits=Limits(lease=1.5))
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
dispatcher.serve(stop)
"""


@pytest.fixture
def chat() -> Iterator[Chat]:
    with chat_server() as server:
        yield server


def test_a_digest_outlives_a_process_that_is_killed_while_it_sends_it(
    server: Server, state: redis.Redis, chat: Chat, starts_processes: None, tmp_path: Path
) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    sending, killed = threading.Event(), threading.Event()
    accepted: list[str] = []

    def reply(path: str) -> Reply | None:
        if not killed.is_set():
            sending.set()
            killed.wait(60)
            return None
        accepted.append(path)
        return 200, {}, b""

    chat.reply = reply
    doomed = Child.forked(str(driver), server.url, str(chat.port))
    until(lambda: len(state.xinfo_groups(keys.journal(0))) == 2 if state.exists(keys.journal(0)) else False)
    # All at once, so that they are gathered in the same period.
    together = state.pipeline(transaction=True)
    publish(together, *range(20))
    together.execute()
    assert sending.wait(60)
    doomed.process.send_signal(signal.SIGKILL)
    doomed.process.wait(60)
    killed.set()
    heir = Child.forked(str(driver), server.url, str(chat.port))
    until(lambda: Deliveries(state).state("ops", now=time.time()).delivered == 20)
    assert heir.end() == 0
    assert len(accepted) == 1
    last = chat.bodies[-1]
    assert last["title"] == "20 events, all of them attempts"
    assert "20 attempts: 20 passed" in last["message"]
    # The other subscription gathers for an hour, and a stop loses none of it.
    assert Deliveries(state).state("all", now=time.time()).retrying == 20
    assert "s3cret" not in "\n".join([*doomed.errors, *heir.errors])
