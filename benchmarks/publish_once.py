"""Publish-once in batches of 100, 1.3 kB events, against the same events by bare pipelined XADD, one client each."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from hashlib import md5
from typing import Any
from uuid import UUID

import redis

from benchmarks.common import header, ratios, rounds, server, spread, table, verdict
from bridge.journal import POLL, Entry, Journal, Submission
from bridge.state import keys
from bridge.state.layout import LAYOUT

BATCH = 100


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=20_000, help="events in each round")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    header("publish once in batches of 100", "redis", "hiredis")
    event = b"x" * 1300

    def ident(name: str) -> str:
        # The index of ids is divided by their first characters, which differ from event to event.
        return str(UUID(bytes=md5(name.encode(), usedforsecurity=False).digest()))

    def build(name: str) -> Callable[[int, object], tuple[str, str, bytes]]:
        return lambda revision, previous: ("attempt.completed", ident(name), event)

    with server() as address:
        client = redis.Redis.from_url(address)
        client.hset(keys.BRIDGE, "layout", LAYOUT)
        journal = Journal(client)
        number = 0

        def attempts() -> list[str]:
            nonlocal number
            number += given.events
            return [f"link:{81_000_000 + number + place}" for place in range(given.events)]

        def timed(names: list[str], publish: object) -> float:
            started = time.perf_counter()
            for first in range(0, len(names), BATCH):
                publish(names[first : first + BATCH])  # type: ignore[operator]
            rate = len(names) / (time.perf_counter() - started)
            client.delete("ab:{0}:journal", "bare")
            return rate

        def bare(names: list[str]) -> None:
            pipe = client.pipeline(transaction=False)
            for name in names:
                fields: dict[Any, Any] = {"id": ident(name), "type": "attempt.completed"}
                pipe.xadd("bare", {**fields, "source": "eu", "attempt": name, "event": event})
            pipe.execute()

        def ours(names: list[str]) -> None:
            entries = tuple(
                Submission(source="eu", attempt_id=name, digest=b"123456", order=1, origin=POLL, build=build(name))
                for name in names
            )
            journal.publish(Entry(submissions=entries), now=1.8e9)

        latest: list[str] = []

        def new() -> float:
            nonlocal latest
            latest = attempts()
            return timed(latest, ours)

        mine, duplicates, theirs = rounds(
            given.rounds, new, lambda: timed(latest, ours), lambda: timed(attempts(), bare)
        )
    table(
        ["events/s, median (all rounds)", ""],
        [
            ["publish once, all new", spread(mine)],
            ["publish once, all duplicates", spread(duplicates)],
            ["bare pipelined XADD", spread(theirs)],
        ],
    )
    verdict("publish once / bare XADD", ratios(mine, theirs), 0.80)


if __name__ == "__main__":
    main()
