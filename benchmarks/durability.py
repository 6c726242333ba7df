"""Receiving with `ack: replica` against `ack: local`: the same webhooks, primary and replicas, in turn."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

import redis
import requests

from benchmarks.common import free_port, header, program, ratios, rounds, server, spread, table, verdict, wait_for
from benchmarks.load import Outcome, run
from benchmarks.receive import config, webhooks


def _follow(replica: str, primary: str) -> None:
    host, _, port = primary.removeprefix("redis://").partition(":")
    with redis.Redis.from_url(replica) as client:
        client.replicaof(host, port)
        wait_for(lambda: client.info("replication")["master_link_status"] == "up")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=4.0, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    options.add_argument("--replicas", type=int, default=1)
    given = options.parse_args()
    header("durability", "gunicorn", "gevent", "redis")
    numbers = iter(range(10_000_000, 2_000_000_000, 1_000_000))
    with ExitStack() as stack:
        primary = stack.enter_context(server())
        for _ in range(given.replicas):
            _follow(stack.enter_context(server()), primary)
        ports = {}
        for number, ack in enumerate(("local", "replica")):
            ports[ack] = free_port()
            path = config(Path(tempfile.mkdtemp(prefix="bench-")), primary)
            members = f"durability: {{ack: {ack}, replicas: {given.replicas}}}, state: "
            # Each in a database of its own: both write to the same server and replicas.
            path.write_text(path.read_text().replace("state: ", members).replace("/0", f"/{2 * number}"))
            port = str(ports[ack])
            stack.enter_context(
                program("attempt-bridge", "--config", str(path), "web", "--port", port, "--workers", "1")
            )
        for port in ports.values():
            wait_for(lambda port=port: requests.get(f"http://127.0.0.1:{port}/readyz", timeout=1).ok)
        for connections in given.connections:
            outcomes: dict[str, list[Outcome]] = {ack: [] for ack in ports}

            def receive(
                ack: str, connections: int = connections, outcomes: dict[str, list[Outcome]] = outcomes
            ) -> float:
                outcome = run(ports[ack], webhooks(next(numbers)), connections=connections, seconds=given.seconds)
                outcomes[ack].append(outcome)
                if set(outcome.statuses) != {"200"}:
                    raise SystemExit(f"answers other than 200: {dict(outcome.statuses)}")
                return outcome.rate

            local, replica = rounds(given.rounds, lambda: receive("local"), lambda: receive("replica"))
            rows = [
                [f"ack: {ack}", spread(rates), *_percentiles(outcomes[ack])]
                for ack, rates in (("local", local), ("replica", replica))
            ]
            table([f"closed loop, {connections} connections", "requests/s", "p50 ms", "p99 ms"], rows)
            if connections == 16:
                verdict("replica / local, 16 at a time", ratios(replica, local), 0.7)
            else:
                print(f"replica / local: {ratios(replica, local):.2f}\n", flush=True)


def _percentiles(outcomes: list[Outcome]) -> list[str]:
    return [spread([outcome.percentile(share) for outcome in outcomes], ".1f") for share in (0.5, 0.99)]


if __name__ == "__main__":
    main()
