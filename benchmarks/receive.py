"""Receiving: the bridge's whole path (signature, strict parse, normalise, publish once, store request) against a bare
Flask route doing HMAC + one XADD, on the same gunicorn and state server: at saturation, then at fixed rates."""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis
import requests

from benchmarks.bare_flask import SECRET
from benchmarks.common import free_port, header, program, ratios, rounds, server, spread, table, verdict, wait_for
from benchmarks.load import Outcome, post, run
from benchmarks.processes import cpu_seconds, family


def webhooks(first: int) -> Iterator[bytes]:
    """Signed link results, each a new attempt, about 1.3 kB."""
    number = first
    while True:
        number += 1
        body = json.dumps(result(number)).encode()
        signature = base64.b64encode(hmac.digest(SECRET, body, "sha256")).decode()
        yield post(
            "/webhooks/eu",
            [("Content-Type", "application/json"), ("X-Classmarker-Hmac-Sha256", signature)],
            body,
        )


def result(number: int) -> dict[str, object]:
    """A link result as the vendor sends it today."""
    extra = {f"extra_info{n}_{part}": "" for n in ("", 2, 3, 4, 5) for part in ("question", "answer")}
    return {
        "payload_type": "single_user_test_results_link",
        "payload_status": "live",
        "test": {"test_id": 90012, "test_name": "Product quiz"},
        "link": {"link_id": 61001, "link_name": "Partners", "link_url_id": "abc5f00000000001"},
        "result": {
            "link_result_id": number,
            "first": "Uma",
            "last": "Rao",
            "email": "uma@example.org",
            "percentage": 90.9,
            "points_scored": 94.5,
            "points_available": 104,
            "requires_grading": "No",
            "time_started": 1767264000,
            "time_finished": 1767266994,
            "duration": "00:49:54",
            "percentage_passmark": "80",
            "passed": True,
            "feedback": "Done.<br />\r\nThank you",
            "give_certificate_only_when_passed": False,
            "certificate_url": "",
            "certificate_serial": "",
            "view_results_url": "",
            "access_code_question": "",
            "access_code_used": "",
            **extra,
            "cm_user_id": "idp|00912",
            "ip_address": "192.0.2.9",
        },
    }


def config(directory: Path, state: str, subscriptions: str = "{}") -> Path:
    path = directory / "bridge.yaml"
    path.write_text(
        f"""demo: true
bridge: {{name: bench, public_url: "http://127.0.0.1", state: "{state}/0", broker: "{state}/1", data_dir: {directory}}}
sources:
  eu:
    vendor: classmarker
    credentials: {{api_key: k, api_secret: s, webhook_secret: ["{SECRET.decode()}"]}}
    poll: {{enabled: false}}
subscriptions: {subscriptions}
"""
    )
    return path


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=6.0, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--rates", type=float, nargs="+", default=[50, 200])
    given = options.parse_args()
    header("receive", "flask", "gunicorn", "gevent", "redis", "marshmallow")
    numbers = iter(range(10_000_000, 2_000_000_000, 1_000_000))
    with server() as state:
        path = config(Path(tempfile.mkdtemp(prefix="bench-")), state)
        ours, bare = free_port(), free_port()
        workers = str(given.workers)
        bridge = program("attempt-bridge", "--config", str(path), "web", "--port", str(ours), "--workers", workers)
        plain = program(sys.executable, "-m", "benchmarks.bare_flask", str(bare), f"{state}/2", workers)
        client = redis.Redis.from_url(f"{state}/0")
        with bridge as our_web, plain as bare_web:
            wait_for(lambda: requests.get(f"http://127.0.0.1:{ours}/livez", timeout=1).ok)
            wait_for(lambda: requests.get(f"http://127.0.0.1:{bare}/", timeout=1).status_code == 404)
            outcomes: dict[int, list[Outcome]] = {ours: [], bare: []}
            cpu: dict[int, list[float]] = {ours: [], bare: []}
            roots = {ours: our_web.pid, bare: bare_web.pid}

            def saturate(port: int) -> float:
                before = sum(map(cpu_seconds, family(roots[port])))
                outcome = run(port, webhooks(next(numbers)), connections=given.connections, seconds=given.seconds)
                spent = sum(map(cpu_seconds, family(roots[port]))) - before
                outcomes[port].append(outcome)
                cpu[port].append(1e6 * spent / len(outcome.latencies))
                if set(outcome.statuses) != {"200"}:
                    raise SystemExit(f"answers other than 200: {dict(outcome.statuses)}")
                return outcome.rate

            client.flushall()
            mine, theirs = rounds(given.rounds, lambda: saturate(ours), lambda: saturate(bare))
            rows = []
            for name, port, rates in (("bridge, whole path", ours, mine), ("Flask + HMAC + XADD", bare, theirs)):
                rows.append(
                    [
                        name,
                        spread(rates),
                        spread([outcome.percentile(0.5) for outcome in outcomes[port]], ".1f"),
                        spread([outcome.percentile(0.99) for outcome in outcomes[port]], ".1f"),
                        spread(cpu[port]),
                    ]
                )
            table([f"closed loop, {given.connections} connections", "requests/s", "p50 ms", "p99 ms", "CPU us"], rows)
            print(f"CPU of the web processes for one request, bridge / bare: {ratios(cpu[ours], cpu[bare]):.2f}")
            verdict("bridge / bare", ratios(mine, theirs), 0.85)
            print()
            rows = []
            for rate in given.rates:
                outcome = run(ours, webhooks(next(numbers)), connections=200, seconds=given.seconds * 2, rate=rate)
                shares = [outcome.percentile(share) for share in (0.5, 0.95, 0.99)]
                rows.append([f"{rate:.0f}/s", *(f"{latency:.1f}" for latency in shares), str(dict(outcome.statuses))])
            table(["open loop, bridge", "p50 ms", "p95 ms", "p99 ms", "answers"], rows)
            verdict("p95 at the last rate", float(rows[-1][2]), 5.5, least=False, unit=" ms")
            verdict("p99 at the last rate", float(rows[-1][3]), 20, least=False, unit=" ms")


if __name__ == "__main__":
    main()
