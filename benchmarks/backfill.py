"""Accept latency of webhooks at a fixed rate, with and without a backfill that reads pages of 200 new attempts from a
simulated vendor on the same machine. Web, backfill, vendor and state server are processes of their own."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import redis
import requests

from benchmarks.bare_flask import SECRET
from benchmarks.common import free_port, header, program, rounds, server, spread, table, verdict, wait_for
from benchmarks.load import run
from benchmarks.receive import webhooks

DAY = 86_400


def config(directory: Path, state: str, vendor: int) -> Path:
    path = directory / "bridge.yaml"
    path.write_text(
        f"""demo: true
bridge: {{name: bench, public_url: "http://127.0.0.1", state: "{state}/0", broker: "{state}/1", data_dir: {directory}}}
sources:
  eu:
    vendor: classmarker
    base_url: http://127.0.0.1:{vendor}
    credentials: {{api_key: k, api_secret: s, webhook_secret: ["{SECRET.decode()}"]}}
    poll: {{enabled: false}}
    budget: {{calls: 1000000, per: 1h}}
subscriptions: {{}}
"""
    )
    return path


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=10.0, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--webhooks", type=float, default=100.0, help="a second")
    options.add_argument("--pages", type=int, default=60, help="of the backfill, a minute; 0: as fast as it can")
    options.add_argument("--workers", type=int, default=2, help="web processes")
    given = options.parse_args()
    header("live traffic beside a backfill", "flask", "gunicorn", "gevent", "redis", "marshmallow")
    numbers = iter(range(10_000_000, 2_000_000_000, 1_000_000))
    with server() as state:
        vendor, port = free_port(), free_port()
        path = config(Path(tempfile.mkdtemp(prefix="bench-")), state, vendor)
        bridge = ("attempt-bridge", "--config", str(path))
        client = redis.Redis.from_url(f"{state}/0")
        latencies: dict[str, list[tuple[float, float, float]]] = {"without": [], "with": []}

        def accept(name: str) -> float:
            outcome = run(port, webhooks(next(numbers)), connections=100, seconds=given.seconds, rate=given.webhooks)
            if set(outcome.statuses) != {"200"}:
                raise SystemExit(f"answers other than 200: {dict(outcome.statuses)}")
            p50, p95, p99 = (outcome.percentile(share) for share in (0.5, 0.95, 0.99))
            latencies[name].append((p50, p95, p99))
            return p95

        def beside() -> float:
            # Another day each time: attempts that were read before are duplicates, which cost less.
            day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - DAY * (2 + len(latencies["with"]))))
            rate = ("--rate", str(given.pages)) if given.pages else ()
            before = pages(client)
            with program(*bridge, "backfill", "--source", "eu", "--from", day, "--to", day, "--stream", "links", *rate):
                wait_for(lambda: pages(client) > before)
                return accept("with")

        with (
            program(sys.executable, "-m", "benchmarks.listing_vendor", str(vendor)),
            program(*bridge, "web", "--port", str(port), "--workers", str(given.workers)),
        ):
            wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/livez", timeout=1).ok)
            wait_for(lambda: requests.get(f"http://127.0.0.1:{vendor}/", timeout=1).ok)
            run(port, webhooks(next(numbers)), connections=20, seconds=2, rate=given.webhooks)
            rounds(given.rounds, lambda: accept("without"), beside)
            read = pages(client)
    print_table(latencies, given, read)


def pages(client: redis.Redis) -> int:
    """The number of pages that all backfills have read so far."""
    return sum(json.loads(job)["pages"] for job in client.hvals("ab:{backfills}:jobs"))


def print_table(latencies: dict[str, list[tuple[float, float, float]]], given: argparse.Namespace, read: int) -> None:
    columns: list[Callable[[tuple[float, float, float]], float]] = [lambda run, at=at: run[at] for at in range(3)]  # type: ignore[misc]
    rows = [
        [f"{name} a backfill", *(spread([pick(run) for run in runs], ".1f") for pick in columns)]
        for name, runs in latencies.items()
    ]
    table([f"accepting {given.webhooks:.0f} webhooks/s", "p50 ms", "p95 ms", "p99 ms"], rows)
    speed = f"{given.pages} pages of 200 a minute" if given.pages else "as fast as it can"
    print(f"the backfills read {read} pages, {read * 200:,} attempts ({speed})\n")
    for place, name in enumerate(("p50", "p95")):
        ratio = median(
            loaded[place] / idle[place] for loaded, idle in zip(latencies["with"], latencies["without"], strict=True)
        )
        verdict(f"{name} with / without", ratio, 1.10, least=False)


if __name__ == "__main__":
    main()
