"""End to end: from the moment a webhook is due until a stock Celery worker runs its task, at fixed rates. Web,
dispatch, state server and worker are the real processes, with the bridge's durable configuration."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import requests

from benchmarks.common import free_port, header, program, server, table, verdict, wait_for
from benchmarks.dispatch import SUBSCRIPTION
from benchmarks.load import run
from benchmarks.receive import config, webhooks


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=15.0, help="at each rate")
    options.add_argument("--rates", type=float, nargs="+", default=[50, 200])
    options.add_argument("--workers", type=int, default=2, help="web processes")
    given = options.parse_args()
    header("webhook to stock Celery worker", "celery", "kombu", "gunicorn", "gevent", "redis")
    rows, last = [], 0.0
    with server() as state:
        directory = Path(tempfile.mkdtemp(prefix="bench-"))
        path, noted, port = config(directory, state, SUBSCRIPTION), directory / "arrivals", free_port()
        noted.touch()
        bridge = ("attempt-bridge", "--config", str(path))
        worker = ("celery", "-A", "benchmarks.latency_worker", "worker", "-P", "solo", "-l", "ERROR")
        lean = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-Q", "gradebook")
        with (
            program(*bridge, "web", "--port", str(port), "--workers", str(given.workers)),
            program(*bridge, "dispatch"),
            program(*worker, *lean, env={"LATENCY_BROKER": f"{state}/1", "LATENCY_FILE": str(noted)}),
        ):
            wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/livez", timeout=1).ok)
            run(port, webhooks(1_000_000), connections=10, seconds=2, rate=20)
            wait_for(lambda: len(noted.read_text().splitlines()) >= 40)
            for place, rate in enumerate(given.rates):
                first = 20_000_000 + place * 1_000_000
                started = time.time()
                outcome = run(port, webhooks(first), connections=100, seconds=given.seconds, rate=rate)
                sent = len(outcome.latencies)
                wanted = {f"link:{first + number + 1}": started + number / rate for number in range(sent)}
                took = arrivals(noted, wanted)
                share = [1000 * took[min(len(took) - 1, int(part * len(took)))] for part in (0.5, 0.95, 0.99)]
                last = share[1]
                rows.append(
                    [f"{rate:.0f}/s", str(sent), *(f"{latency:.1f}" for latency in share), f"{1000 * took[-1]:.1f}"]
                )
    table(["webhooks", "number", "p50 ms", "p95 ms", "p99 ms", "max ms"], rows)
    verdict("p95 at the last rate", last, 25, least=False, unit=" ms")


def arrivals(noted: Path, due: dict[str, float]) -> list[float]:
    """Seconds from due to the task's first run, sorted; waits until all tasks have run."""

    def arrived() -> dict[str, float]:
        first: dict[str, float] = {}
        for line in noted.read_text().splitlines():
            name, _, moment = line.partition(" ")
            if name in due:
                first.setdefault(name, float(moment))
        return first

    wait_for(lambda: len(arrived()) == len(due))
    return sorted(moment - due[name] for name, moment in arrived().items())


if __name__ == "__main__":
    main()
