"""Two beats and two workers, as real processes, at a vendor that counts calls: not one too many, each attempt once."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from werkzeug.serving import make_server

from bridge.quota.budgets import Budgets, Window
from bridge.state import keys
from bridge.vendors.classmarker.simulator import Simulator
from tests.support.commands import Start, Started
from tests.support.comparison import reconcile
from tests.support.servers import Server

pytestmark = pytest.mark.timeout(300)

#: Too small for shares: the polls may spend all of it.
QUOTA = 9


@pytest.fixture
def vendor() -> Iterator[tuple[Simulator, str]]:
    """An account with a quota of an hour, and the address of its API."""
    simulator = Simulator(21, time.time, quota_calls=QUOTA)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, simulator.wsgi, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield simulator, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(tmp_path: Path, own_server: Server, vendor: tuple[Simulator, str]) -> Path:
    simulator, url = vendor
    source = {
        "vendor": "classmarker",
        "base_url": url,
        "credentials": {
            "api_key": simulator.api_key,
            "api_secret": simulator.api_secret,
            "webhook_secret": [simulator.webhook_secret],
        },
        "poll": {"every": "1s", "overlap": "60s", "look_back": "1h"},
        "budget": {"calls": QUOTA, "per": "1h"},
    }
    bridge = {
        "name": "acme",
        "public_url": "http://127.0.0.1:8080",
        "state": own_server.url,
        "broker": own_server.broker_url,
        "data_dir": str(tmp_path / "data"),
    }
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump({"demo": True, "bridge": bridge, "sources": {"eu": source}, "subscriptions": {}}))
    return file


def rounds(started: Started) -> list[int]:
    """The calls of each round that a worker has tried."""
    lines = [line for line in started.err.read_text().splitlines() if line.startswith("{") and "poll_round" in line]
    return [json.loads(line)["calls"] for line in lines]


def test_two_beats_and_two_workers_make_no_call_too_many_and_publish_each_attempt_once(
    start: Start,
    config: Path,
    own_server: Server,
    vendor: tuple[Simulator, str],
    record_property: Callable[[str, object], None],
) -> None:
    simulator, _ = vendor
    for _ in range(30):
        simulator.finish()
    workers = [start("--config", str(config), "worker") for _ in range(2)]
    for _ in range(2):
        start("--config", str(config), "beat")
    with own_server.client() as client:
        budgets = Budgets(client)

        def spent() -> bool:
            simulator.finish()
            return simulator.counts()["api_calls"] == QUOTA

        workers[0].wait_for(spent)
        # Every tick now finds the budget empty: both workers took some of them, and neither called.
        workers[0].wait_for(lambda: all(rounds(worker).count(0) >= 2 for worker in workers))
        assert simulator.counts()["api_calls"] == QUOTA
        assert simulator.counts()["quota_refusals"] == 0
        assert budgets.status("eu", Window(QUOTA, 3600.0), time.time()).left == 0

        # The hour is over, at the vendor and for us.
        simulator.quota_calls *= 2
        client.delete(keys.budget("eu"))
        wanted = {("eu", attempt) for attempt in simulator.expected()}
        workers[0].wait_for(lambda: client.xlen(keys.journal(0)) >= len(wanted))
        counts = reconcile(client, acked=wanted)
    record_property("faults", counts.line(calls=simulator.counts()["api_calls"]))
    assert counts.wrong == {}
    assert counts.events == counts.in_journal == len(wanted)
    assert simulator.counts()["quota_refusals"] == 0
