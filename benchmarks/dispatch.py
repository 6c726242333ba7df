"""Dispatch: events of the journal onto a Celery queue on Redis by the bridge's dispatcher, against a bare `send_task`
loop with the same events, one process each, same server."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from celery import Celery

from benchmarks.common import header, ratios, rounds, server, spread, table, verdict
from benchmarks.receive import config, result
from bridge import services as composition
from bridge.ingest.pipeline import ingest
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Ignored
from workers.dispatch.process import Dispatcher

SUBSCRIPTION = "{gradebook: {transport: celery, task: gradebook.attempt_completed, queue: gradebook}}"


def publish(services: composition.Services, first: int, number: int) -> list[bytes]:
    """Append `number` new events to the journal; their JSON."""
    context = services.ingest_context("eu")
    for start in range(first, first + number, 200):
        bodies = (json.dumps(result(place)).encode() for place in range(start, min(start + 200, first + number)))
        records = [
            record for body in bodies for record in _records(context.vendor.split(parse(body), context.source.options))
        ]
        ingest(context, records, now=services.now())
    entries = services.state.xrevrange("ab:{0}:journal", count=number)
    return [fields[b"event"] for _, fields in entries]


def _records(reading: object) -> Iterator[object]:
    if isinstance(reading, Ignored):
        raise SystemExit("the sample is not a result")
    yield from reading  # type: ignore[attr-defined]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=4000, help="in each round")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    header("dispatch to a Celery queue on Redis", "celery", "kombu", "redis")
    with server() as address:
        path = config(Path(tempfile.mkdtemp(prefix="bench-")), address, SUBSCRIPTION)
        services = composition.load(config_path=path)
        broker = redis.Redis.from_url(f"{address}/1")
        app = Celery("bare", broker=f"{address}/1")
        dispatcher = Dispatcher(services)
        dispatcher.step_all(services.now, random.random)
        events: list[bytes] = []
        first = 10_000_000

        def ours() -> float:
            nonlocal first, events
            events = publish(services, first, given.events)
            first += given.events
            started = time.perf_counter()
            while broker.llen("gradebook") < given.events:
                dispatcher.step_all(services.now, random.random)
            rate = given.events / (time.perf_counter() - started)
            broker.flushdb()
            return rate

        def bare() -> float:
            loaded = [json.loads(event) for event in events]
            started = time.perf_counter()
            for event in loaded:
                app.send_task("gradebook.attempt_completed", args=[event], queue="gradebook", task_id=event["id"])
            rate = len(loaded) / (time.perf_counter() - started)
            broker.flushdb()
            return rate

        mine, theirs = rounds(given.rounds, ours, bare)
    table(
        ["events/s, median (all rounds)", ""],
        [["dispatch: journal to queue, settled", spread(mine)], ["bare send_task loop", spread(theirs)]],
    )
    verdict("dispatch / bare", ratios(mine, theirs), 1.5)


if __name__ == "__main__":
    main()
