"""The number of partitions changes under two web processes, worker, beat and dispatch, while webhooks come and repeat.

The process that moves memories is killed in the middle and another one goes on; a move is stopped, and resumed.
"""

from __future__ import annotations

import itertools
import json
import logging
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import redis
import yaml
from werkzeug.serving import make_server

from bridge.config.model import BridgeConfig
from bridge.journal import StoredEvent, memories
from bridge.journal.reading import Reader
from bridge.monitoring.state_checks import require_same_bridge
from bridge.state import keys, scripts
from bridge.state.repartition import DONE, RUNNING, STOPPED, Move, Repartition
from bridge.vendors.classmarker.simulator import Simulator
from tests.support.commands import Start, Started, kill
from tests.support.comparison import Attempt, Counts, misplaced, reconcile
from tests.support.inbox import Inbox
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import SECRET, post, read_answer, result

pytestmark = pytest.mark.timeout(300)

#: Partitions that each process serves; in the beginning attempts are spread over half of them.
SERVED, BEFORE = 4, 2
#: Memories of other attempts, in each partition: a move takes long enough to be met in its middle.
OTHERS = 20_000
SENDERS = 2


class Senders:
    """Webhooks without a pause: new attempts, later results of known ones, and webhooks that were acknowledged before.

    Each is sent until it is answered 200. A sender has attempts of its own, so it knows what the answer must be.
    """

    def __init__(self, port: int) -> None:
        self._port, self._stop = port, threading.Event()
        #: Attempt number -> the number of results that were acknowledged.
        self.revisions: dict[int, int] = {}
        #: (what it was, outcome) -> number.
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.refused = 0
        self._threads = [threading.Thread(target=self._send, args=[number]) for number in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Wait until more was acknowledged."""
        before = self.outcomes.total()
        until(lambda: self.outcomes.total() > before + 30)

    def _send(self, sender: int) -> None:
        draw, numbers, mine = Random(sender), itertools.count(sender + 1, SENDERS), list[int]()
        while not self._stop.wait(0.08):
            kind = draw.choice(("new", "later", "repeat", "repeat")) if len(mine) > 9 else "new"
            if kind == "new":
                mine.append(next(numbers))
            number = mine[-1] if kind == "new" else draw.choice(mine)
            revision = self.revisions.get(number, 0) + (kind != "repeat")
            outcome = self._until_acknowledged(number, revision)
            self.outcomes[kind, outcome] += 1
            self.revisions[number] = revision

    def _until_acknowledged(self, number: int, revision: int) -> str:
        webhook = post("/webhooks/eu", result(number, points_scored=float(revision % 30), percentage=revision / 10))
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
                    connection.sendall(webhook)
                    answer = read_answer(connection)
            except OSError:
                self.refused += 1
                continue
            if answer.status == 200:
                return answer.outcome
            self.refused += 1
            time.sleep(0.05)


@pytest.fixture
def receiver() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


@pytest.fixture
def vendor() -> Iterator[tuple[Simulator, str]]:
    """An account that is polled, and the address of its API."""
    simulator = Simulator(3, time.time, quota_calls=1000)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, simulator.wsgi, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield simulator, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def state(own_server: Server) -> Iterator[redis.Redis]:
    """A state of two partitions, which remembers much."""
    with own_server.client(socket_timeout=20) as client:
        bridge = BridgeConfig(name="acme", public_url="http://127.0.0.1:8080", partitions=BEFORE)
        require_same_bridge(client, bridge)
        client.hset(keys.BRIDGE, "layout", 3)
        add, draw, now = scripts.register(client, memories.__file__, "buckets", "add_memories"), Random(1), time.time()
        value = bytes(10) + int(now * 1000).to_bytes(6, "big") + bytes(8)
        for partition in range(BEFORE):
            names = [keys.seen(partition), keys.event_ids(partition)]
            fields = [
                draw.randbytes(12) + (draw.randrange(2**30) * BEFORE + partition).to_bytes(4, "little")
                for _ in range(OTHERS)
            ]
            for start in range(0, OTHERS, 2000):
                add(keys=names, args=[0, *(each for field in fields[start : start + 2000] for each in (field, value))])
        yield client


@pytest.fixture
def config(tmp_path: Path, own_server: Server, receiver: Inbox, vendor: tuple[Simulator, str]) -> Path:
    simulator, url = vendor
    eu = {"vendor": "classmarker", "credentials": {"api_key": "k", "api_secret": "s", "webhook_secret": [SECRET]}}
    us = {
        "vendor": "classmarker",
        "base_url": url,
        "credentials": {"api_key": simulator.api_key, "api_secret": simulator.api_secret, "webhook_secret": ["s"]},
        "poll": {"every": "1s", "overlap": "30s", "look_back": "10m"},
        "budget": {"calls": 1000, "per": "1h"},
    }
    crm = {
        "transport": "http",
        "url": f"http://127.0.0.1:{receiver.server_port}/",
        "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "allow_private": True,
    }
    bridge = {
        "name": "acme",
        "public_url": "http://127.0.0.1:8080",
        "state": own_server.url,
        "broker": own_server.broker_url,
        "data_dir": str(tmp_path / "data"),
        "partitions": SERVED,
    }
    document = {
        "demo": True,
        "bridge": bridge,
        "sources": {"eu": eu | {"poll": {"enabled": False}}, "us": us},
        "subscriptions": {"crm": crm},
    }
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


class Parts:
    """The processes, and the change of partitions as an operator sees it."""

    def __init__(self, start: Start, config: Path, state: redis.Redis) -> None:
        self._start, self._config = start, config
        self.store = Repartition(state, configured=SERVED)
        self.dispatch = self("dispatch")
        self.web = self("web", "--port", "0", "--workers", "2")
        self("worker")
        self("beat")
        self.web.wait_for(lambda: self._listening() is not None)

    def __call__(self, *line: str) -> Started:
        return self._start("--config", str(self._config), *line)

    @property
    def port(self) -> int:
        return int(json.loads(self._listening() or "")["port"])

    def _listening(self) -> str | None:
        lines = self.web.err.read_text().splitlines()
        return next((line for line in lines if '"web_listening"' in line), None)

    def done(self, *line: str) -> None:
        """A command that must succeed."""
        command = self("partitions", *line)
        assert command.ends() == 0, command.err.read_text()

    def in_the_middle(self) -> Move:
        """Wait until a tenth of the first partition has moved."""

        def reached() -> Move | None:
            at = self.store.read()
            return at if at.partition or at.bucket > OTHERS / 64 / 10 else None

        return until(reached)


@pytest.fixture
def parts(start: Start, config: Path, state: redis.Redis) -> Parts:
    return Parts(start, config, state)


@pytest.fixture
def senders(parts: Parts) -> Iterator[Senders]:
    made = Senders(parts.port)
    yield made
    made.close()


def test_nothing_is_lost_or_doubled_whoever_is_killed_while_attempts_move(
    parts: Parts,
    senders: Senders,
    state: redis.Redis,
    receiver: Inbox,
    vendor: tuple[Simulator, str],
    record_property: Callable[[str, object], None],
) -> None:
    simulator, _ = vendor
    until(lambda: len(senders.revisions) > 30 and receiver.got.total() > 30)

    growing = parts("partitions", "repartition", "4", "--yes")
    parts.in_the_middle()
    kill(parts.dispatch.process.pid)
    parts.dispatch.process.wait()
    assert parts.store.read().state == RUNNING
    simulator.finish()
    mover = parts("dispatch")
    assert growing.ends() == 0
    assert (parts.store.read().state, misplaced(state, SERVED)) == (DONE, 0)

    parts.done("repartition", "1", "--yes", "--no-wait")
    parts.in_the_middle()
    # Held, because it would be done before a command has started.
    mover.process.send_signal(signal.SIGSTOP)
    parts.done("stop")
    mover.process.send_signal(signal.SIGCONT)
    senders.go_on()
    simulator.finish()
    assert (parts.store.read().state, misplaced(state, SERVED) > 0) == (STOPPED, True)
    parts.done("resume")
    assert (parts.store.read().state, misplaced(state, SERVED)) == (DONE, 0)

    senders.go_on()
    senders.close()
    polled: set[Attempt] = {("us", attempt) for attempt in simulator.expected()}
    acknowledged: set[Attempt] = {("eu", f"link:{number}") for number in senders.revisions} | polled

    def events() -> list[StoredEvent]:
        return list(Reader(state, partitions=SERVED).events())

    until(lambda: polled <= {(event.source, event.attempt) for event in events()})
    until(lambda: {event.id for event in events()} <= set(receiver.got))

    def compared() -> Counts:
        effects = {"crm": receiver.got.copy()}
        return reconcile(state, acked=acknowledged, effects=effects, subscriptions=("crm",), partitions=SERVED)

    # The lane settles after the receiver's answer.
    until(lambda: compared().pending == 0)
    counts = compared()
    record_property("faults", counts.line(refused=senders.refused, repeats=senders.outcomes["repeat", "duplicate"]))
    # All others are still remembered.
    assert counts.wrong == {"key_without_entry": BEFORE * OTHERS}
    assert counts.in_journal == len(acknowledged)
    assert counts.events == sum(senders.revisions.values()) + len(polled)
    assert set(senders.outcomes) <= {("new", "published"), ("later", "revised"), ("repeat", "duplicate")} | {
        # Sent again because its answer was lost.
        ("new", "duplicate"),
        ("later", "duplicate"),
    }
