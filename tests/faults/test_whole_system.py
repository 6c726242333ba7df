"""The whole bridge while a simulated vendor is busy and `kill -9` goes through its processes one after the other."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import redis
import yaml
from werkzeug.serving import make_server

from bridge.runtime import processes
from bridge.sdk.simulator import Faults
from bridge.state.server_socket import addresses
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from tests.support.child_processes import ROOT, Child
from tests.support.commands import Start, Started, alive, descendants, kill, parent_of, part_pids
from tests.support.comparison import Attempt, Counts, reconcile
from tests.support.inbox import Inbox
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)

#: `eu` is heard and polled. `us` is only heard, so that nothing but its webhook can bring an acknowledged attempt.
SOURCES = ("eu", "us")
VICTIMS = ("web worker process", *processes.PARTS, "state server")
RETRY = {"schedule": ["300ms", "500ms", "1s", "1s", "2s", "2s", "3s", "5s", "5s"]}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Vendors:
    """Two simulated accounts behind real HTTP; their webhooks are lost, doubled, late and out of order."""

    def __init__(self, seed: int) -> None:
        slow = Behaviour(retry_schedule=(0.3, 0.5, 1.0, 1.0, 2.0, 2.0, 3.0, 5.0, 5.0, 10.0, 10.0))
        self.simulators = {
            name: Simulator(
                seed + number,
                time.time,
                quota_calls=1000,
                behaviour=slow,
                faults=Faults(lose=0.2 if name == "eu" else 0.0, duplicate=0.2, delay=1.0, reorder=True),
            )
            for number, name in enumerate(SOURCES)
        }
        self.servers = {
            name: make_server("127.0.0.1", 0, simulator.wsgi, threaded=True)
            for name, simulator in self.simulators.items()
        }
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.threads = [threading.Thread(target=server.serve_forever) for server in self.servers.values()]
        for thread in self.threads:
            thread.start()

    def configured(self, name: str) -> dict[str, object]:
        simulator = self.simulators[name]
        credentials = {
            "api_key": simulator.api_key,
            "api_secret": simulator.api_secret,
            "webhook_secret": [simulator.webhook_secret],
        }
        return {
            "vendor": "classmarker",
            "base_url": f"http://127.0.0.1:{self.servers[name].server_port}",
            "credentials": credentials,
            "poll": {"enabled": name == "eu", "every": "1s", "overlap": "30s", "look_back": "10m"},
            "budget": {"calls": 1000, "per": "1h"},
        }

    @contextmanager
    def busy(self, seed: int) -> Iterator[None]:
        """While the block runs, somebody finishes a test at each vendor again and again; some sit it twice."""
        draw, over = Random(seed), threading.Event()

        def sit() -> None:
            while not over.wait(0.2):
                for simulator in self.simulators.values():
                    attempt = simulator.finish()
                    if draw.random() < 0.15:
                        simulator.reopen(attempt)

        sitting = threading.Thread(target=sit)
        sitting.start()
        try:
            yield
        finally:
            over.set()
            sitting.join()

    def count(self, name: str) -> int:
        return sum(simulator.counts()[name] for simulator in self.simulators.values())

    def finished(self) -> set[Attempt]:
        return {(name, attempt) for name, simulator in self.simulators.items() for attempt in simulator.expected()}

    def acknowledged(self) -> set[Attempt]:
        """Attempts with a webhook that was answered 2xx."""
        return {
            (name, attempt)
            for name, simulator in self.simulators.items()
            for attempt, truth in simulator.expected().items()
            if truth.sent
        }

    def close(self) -> None:
        for simulator in self.simulators.values():
            simulator.stop()
        for server in self.servers.values():
            server.shutdown()
            server.server_close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    made = Vendors(seed=11)
    yield made
    made.close()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


@pytest.fixture
def config(tmp_path: Path, vendors: Vendors, inbox: Inbox) -> Path:
    crm = {
        "transport": "http",
        "url": f"http://127.0.0.1:{inbox.server_port}/",
        "secrets": [SECRET],
        "allow_private": True,
        "retry": RETRY,
    }
    document = {
        "demo": True,
        "bridge": {"name": "acme", "public_url": "http://127.0.0.1:8080", "data_dir": "data"},
        "sources": {name: vendors.configured(name) for name in SOURCES},
        "subscriptions": {"crm": crm},
    }
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture
def reader(config: Path) -> Iterator[Callable[[], Counter[str]]]:
    """A subscriber that reads the journal itself: the example, started by the first call. Answers what it got."""
    children: list[Child] = []
    got: Counter[str] = Counter()

    def received() -> Counter[str]:
        if not children:
            state = addresses(config.parent / "data")[0]
            children.append(Child.python(str(ROOT / "examples" / "stream_subscriber.py"), "--state", state))
        (child,) = children
        assert child.process.poll() is None, "\n".join(child.errors)
        while not child.lines.empty():
            got[json.loads(child.lines.get())["received"]] += 1
        return got

    yield received
    for child in children:
        child.end()


def victims(started: Started, data: Path) -> dict[str, int]:
    """Process ids by name, of those that live now."""
    result = part_pids(started)
    if "web" in result:
        workers = [pid for pid in descendants(result["web"]) if parent_of(pid) == result["web"]]
        if workers:
            result["web worker process"] = min(workers)
    pid_file = data / "server.pid"
    if pid_file.exists() and alive(int(pid_file.read_text() or 0)):
        result["state server"] = int(pid_file.read_text())
    return result


def test_kill_9_of_every_process_loses_no_attempt_and_doubles_none_in_the_journal(
    start: Start,
    config: Path,
    vendors: Vendors,
    inbox: Inbox,
    reader: Callable[[], Counter[str]],
    record_property: Callable[[str, object], None],
) -> None:
    started, data = start("--config", str(config), "up", "--port", "0"), config.parent / "data"
    url = started.ready()
    reader()
    for name, simulator in vendors.simulators.items():
        simulator.start_webhooks(f"{url}/webhooks/{name}")
    #: What only goes on while the victim works.
    work: dict[str, Callable[[], int]] = {
        "web worker process": lambda: vendors.count("webhooks_sent"),
        "web": lambda: vendors.count("webhooks_sent"),
        "beat": lambda: vendors.count("api_calls"),
        "worker": lambda: vendors.count("api_calls"),
        "dispatch": lambda: inbox.got.total(),
        "state server": lambda: inbox.got.total() + reader().total(),
    }

    def goes_on(name: str) -> None:
        before = work[name]()
        started.wait_for(lambda: work[name]() >= before + 3)

    killed = []
    with vendors.busy(seed=5):
        for name in VICTIMS:
            goes_on(name)
            victim = victims(started, data)[name]
            kill(victim)
            until(lambda victim=victim: not alive(victim))
            until(lambda name=name, victim=victim: victims(started, data).get(name, victim) != victim, seconds=90)
            goes_on(name)
            killed.append(name)

    def compared() -> Counts:
        with redis.Redis.from_url(addresses(data)[0], socket_timeout=10) as client:
            effects = {"crm": inbox.got.copy(), "stream": reader()}
            return reconcile(client, acked=vendors.finished(), effects=effects, subscriptions=("crm",))

    def quiet() -> bool:
        waiting = sum(simulator.webhooks_pending() for simulator in vendors.simulators.values())
        return not waiting and not compared().wrong

    deadline = time.monotonic() + 120
    while not quiet() and time.monotonic() < deadline:
        time.sleep(0.2)
    counts, acknowledged, refused = compared(), vendors.acknowledged(), vendors.count("webhooks_refused")
    record_property("faults", counts.line(killed=len(killed), webhooks_acked=len(acknowledged), refused=refused))
    assert killed == list(VICTIMS)
    assert refused > 0, "no webhook met a dead process: the kills proved nothing"
    assert counts.wrong == {}
    assert counts.dead_letters == 0
    assert counts.in_journal == len(vendors.finished()) >= 60
    # Of `us` every attempt came by an acknowledged webhook, of `eu` some came by poll alone.
    assert {attempt_id for attempt_id in vendors.finished() if attempt_id[0] == "us"} <= acknowledged
    assert vendors.finished() - acknowledged
