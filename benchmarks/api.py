"""Every GET of the operator API over a large state, against the same calls over a small one: p50 and p95."""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import redis
from flask.testing import FlaskClient

import workers.dispatch.settlement
from benchmarks.common import ROOT, header, server, table, verdict
from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.record import Delivery
from bridge.journal import WEBHOOK, Entry, RequestRecord, Submission
from bridge.services import Services, load
from bridge.state import counts, keys
from bridge.web import create_app
from workers.dispatch.settlement import Item, dead_row

BATCH = 200
TOKEN = "benchmark"
CONFIG = """demo: true
bridge: {{name: acme, state: "{state}", broker: "{state}/1", data_dir: "{data}"}}
sources:
  eu: {{vendor: classmarker, credentials: {{api_key: k, api_secret: s, webhook_secret: w}}}}
subscriptions:
  crm: {{transport: celery, task: t, queue: q}}
access: {{tokens: [{{name: ops, role: operator, sha256: {digest}}}]}}
"""
EVENT = json.loads((ROOT / "tests/data/attempt-completed.json").read_text(encoding="utf-8"))
#: What is asked. `{event}`, `{request}`, `{letter}`: ids of the oldest.
CALLS = (
    "events",
    "events?limit=1000",
    "events?filter=source:eu%20passed:false%20percentage:<50",
    "events?filter=attempt:none-such",
    "events?filter=%22no%20such%20text%22",
    "events/{event}",
    "events/{event_beginning}",
    "events/ffffffff-ffff-5fff-8fff-ffffffffffff",
    "requests",
    "requests?outcome=quarantined",
    "requests?filter=%22no%20such%20text%22",
    "requests/{request}",
    "requests/{request}/raw",
    "requests/00000000-0000-7000-8000-ffffffffffff",
    "dead-letters",
    "dead-letters?filter=attempt:none-such",
    "dead-letters/{letter}",
    "deliveries",
    "failure-groups",
    "quarantine",
    "sources",
    "sources/eu",
    "stats?period=1h",
    "stats?period=7d",
    "watches",
    "audit",
    "health",
)


class OpenGate:
    failure = None

    def check(self) -> None: ...

    def report(self, error: Exception) -> None: ...


def browser(services: Services) -> FlaskClient:
    """The application without a network. Its objects are frozen, as the web server does before its first request."""
    client = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.get("/api/v1/openapi.json")
    gc.collect()
    gc.freeze()
    return client


def submission(number: int) -> Submission:
    ident = str(uuid5(NAMESPACE_URL, f"eu#{number}"))
    document = {**EVENT, "id": ident, "data": {**EVENT["data"], "result": {**EVENT["data"]["result"], "passed": True}}}
    event = json.dumps(document).encode()
    return Submission(
        source="eu",
        attempt_id=f"link:{number}",
        digest=b"123456",
        order=1,
        origin=WEBHOOK,
        build=lambda revision, previous: ("attempt.completed", ident, event),
    )


def batches(first: int, last: int) -> Iterator[range]:
    for start in range(first, last, BATCH):
        yield range(start, min(last, start + BATCH))


def fill(services: Services, first: int, last: int) -> None:
    """Publish events; every tenth has a request of about 1 kB."""
    now = services.now()
    for batch in batches(first, last):
        entries = []
        for number in batch:
            ident = f"{int(now * 1000):012x}7000{0x8000_0000_0000_0000 + number:016x}"
            text = f"{ident[:8]}-{ident[8:12]}-{ident[12:16]}-{ident[16:20]}-{ident[20:]}"
            body = b"{%b}" % (b"x" * 1000)
            record = RequestRecord(id=text, source="eu", received_at=now, headers={}, body=body)
            entries.append(Entry(submissions=(submission(number),), request=None if number % 10 else record))
        services.journal.publish_batch(entries, now=now)


def bury(services: Services, first: int, last: int, subscription: str = "crm") -> None:
    """Give deliveries up, as a lane does."""
    client = services.state
    script = register(client, workers.dispatch.settlement.__file__, "settle", after=(counts.ADD_COUNTS,))
    now, group, journal = services.now(), keys.group(subscription), keys.journal(0)
    client.sadd(keys.subscriptions(), subscription)
    if group.encode() not in [each["name"] for each in client.xinfo_groups(journal)]:
        client.xgroup_create(journal, group, id="0")
    names = [*outcome_keys(subscription, 0), journal, *counts.names(keys.delivery_counts, 0, now)]
    for batch in batches(first, last):
        read: Any = client.xreadgroup(group, "c", {journal: ">"}, count=len(batch))
        rows: list[Any] = []
        for place, (entry, fields) in enumerate(read[0][1]):
            delivery = Delivery(
                id=fields[b"id"].decode(),
                type="attempt.completed",
                source="eu",
                attempt=fields[b"attempt"].decode(),
                entry=entry.decode(),
                tries=8,
                error=f"HTTP 50{place % 5}",
            )
            rows += dead_row(Item(entry.decode(), fields[b"event"], delivery), "http_5xx", now)
        script(keys=names, args=[group, "c", "", f"{now:.3f}", subscription, str(len(batch)), *rows])


def oldest(client: redis.Redis) -> dict[str, str]:
    """The ids of the oldest event, request and dead letter."""
    event: Any = client.xrange(keys.journal(0), count=1)
    request: Any = client.xrange(keys.requests(0), count=1)
    letter: Any = client.xrange(keys.dead("crm"), count=1)
    ident = event[0][1][b"id"].decode()
    return {
        "event": ident,
        "event_beginning": ident[:13],
        "request": request[0][1][b"id"].decode(),
        "letter": f"crm/0:{letter[0][0].decode()}",
    }


def measure(api: FlaskClient, ids: dict[str, str], times: int) -> dict[str, list[float]]:
    """Call -> milliseconds of each of its rounds, in turn with the others."""
    timings: dict[str, list[float]] = {call: [] for call in CALLS}
    for _ in range(times):
        for call, values in timings.items():
            started = time.perf_counter()
            answer = api.get(f"/api/v1/{call.format(**ids)}")
            values.append((time.perf_counter() - started) * 1000)
            if answer.status_code not in (200, 404):
                raise SystemExit(f"{call}: HTTP {answer.status_code}: {answer.text[:300]}")
    return timings


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--dead-letters", type=int, default=100_000)
    options.add_argument("--small", type=int, default=1_000, help="events of the state that it is compared with")
    options.add_argument("--rounds", type=int, default=40)
    given = options.parse_args()
    header(f"GETs over {given.events:,} events and {given.dead_letters:,} dead letters", "redis", "hiredis", "flask")
    with server() as address, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.yaml"
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        path.write_text(CONFIG.format(state=address, data=folder, digest=digest))
        services = load(config_path=path)
        api = browser(services)
        api.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
        small_letters = max(1, min(given.dead_letters, given.small // 10))
        fill(services, 0, given.small)
        bury(services, 0, small_letters)
        small = measure(api, oldest(services.state), given.rounds)
        fill(services, given.small, given.events)
        bury(services, small_letters, given.dead_letters)
        large = measure(api, oldest(services.state), given.rounds)
    rows = [
        [
            call,
            f"{median(small[call]):.1f}",
            f"{p95(small[call]):.1f}",
            f"{median(large[call]):.1f}",
            f"{p95(large[call]):.1f}",
        ]
        for call in CALLS
    ]
    table(["ms", "p50 small", "p95 small", "p50 large", "p95 large"], rows)
    slowest = max(CALLS, key=lambda call: p95(large[call]))
    verdict(f"slowest p95, GET {slowest}", p95(large[slowest]), 100.0, least=False, unit=" ms")


if __name__ == "__main__":
    main()
