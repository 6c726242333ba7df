"""From a webhook with a pointer until the event is in the journal: a simulated Cirrus and a whole `attempt-bridge up`
with its embedded server. The times are random, so that they do not coincide with ticks of beat."""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import redis
import requests
from werkzeug.serving import make_server

from benchmarks.common import free_port, header, program, table, verdict, wait_for
from bridge.journal.reading import Reader
from bridge.state import keys
from bridge.state.server_socket import addresses
from bridge.vendors.cirrus.simulator import Behaviour, Simulator
from workers.tasks import RECHECK_TICK_SECONDS

TOKEN = "token-of-the-benchmark-1"


def config(directory: Path, vendor: str) -> Path:
    path = directory / "bridge.yaml"
    path.write_text(
        f"""demo: true
bridge: {{name: bench, public_url: "http://127.0.0.1", data_dir: {directory}}}
sources:
  exams:
    vendor: cirrus
    base_url: {vendor}
    credentials: {{token: sandbox-token}}
    webhook: {{token: {TOKEN}}}
    budget: {{calls: 100000, per: 1h}}
subscriptions: {{}}
"""
    )
    return path


@contextmanager
def served(simulator: Simulator) -> Iterator[str]:
    """Serve the simulator's API on a local port; its address."""
    api = make_server("127.0.0.1", 0, simulator.wsgi, threaded=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    thread = threading.Thread(target=api.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{api.server_port}"
    finally:
        simulator.stop()
        api.shutdown()
        thread.join()
        api.server_close()


def publish(simulator: Simulator, number: int, pause: float, draw: Random) -> dict[str, float]:
    """Finish attempts, `pause` seconds apart on average; attempt id -> when its webhook was due."""
    due = {}
    for place in range(number):
        time.sleep(draw.uniform(0, 2 * pause))
        moment = time.time()
        due[simulator.finish(f"SCHEDULE-{place % 10}", f"cand-{place}", at=moment, score=5.0)] = moment
    return due


def arrivals(state: redis.Redis) -> dict[str, float]:
    """Attempt id -> when its first event was appended, by this machine's clock."""
    return {event.attempt: int(event.entry_id.partition("-")[0]) / 1000 for event in Reader(state).events()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--webhooks", type=int, default=100)
    options.add_argument("--pause", type=float, default=0.7, help="between two webhooks, on average")
    given = options.parse_args()
    header("pointer to journal", "celery", "kombu", "gunicorn", "gevent", "redis")
    simulator = Simulator(1, time.time, quota_calls=100_000, behaviour=Behaviour(auto_publish=True))
    directory, port = Path(tempfile.mkdtemp(prefix="bench-")), free_port()
    with served(simulator) as vendor:
        path = config(directory, vendor)
        with program("attempt-bridge", "--config", str(path), "up", "--port", str(port)):
            wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/readyz", timeout=1).ok)
            state = redis.Redis.from_url(addresses(directory)[0])
            wait_for(lambda: state.exists(keys.heartbeat("worker")) and state.exists(keys.heartbeat("beat")))
            simulator.start_webhooks(f"http://127.0.0.1:{port}/webhooks/exams/{TOKEN}")
            due = publish(simulator, given.webhooks, given.pause, Random(1))
            wait_for(lambda: due.keys() <= arrivals(state).keys())
            came = arrivals(state)
    took = sorted(came[name] - moment for name, moment in due.items())
    shares = [took[min(len(took) - 1, int(part * len(took)))] for part in (0.5, 0.95, 0.99)]
    table(
        ["webhooks", "p50 s", "p95 s", "p99 s", "max s", "calls each"],
        [
            [
                str(len(took)),
                *(f"{latency:.2f}" for latency in (*shares, took[-1])),
                f"{simulator.counts()['api_calls'] / len(took):.2f}",
            ]
        ],
    )
    # At worst a tick has just passed and the next one starts the recheck, which is one call; the rest is the bridge.
    verdict("p95", shares[1], RECHECK_TICK_SECONDS + 0.5, least=False, unit=" s")


if __name__ == "__main__":
    main()
