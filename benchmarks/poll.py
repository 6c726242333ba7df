"""Poll pages to journal in one process: from the bytes of a response (200 results of 40 members) until its attempts are
published and the cursor has moved, against bare pipelined XADD of the same events. The vendor's time does not count."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.common import header, ratios, rounds, server, spread, table, verdict
from benchmarks.listing_vendor import A_PAGE, page
from benchmarks.receive import config
from bridge import services as composition
from bridge.ingest.pipeline import ingest
from bridge.journal import POLL, StoredEvent
from bridge.journal.reading import Reader

STREAM = "links"
#: Seconds of results on one page (`benchmarks/listing_vendor.py`).
A_PAGE_SECONDS = 10


class Prepared:
    """`bridge.sdk.vendor.VendorCalls` that returns pages made before the measurement starts."""

    def __init__(self, pages: Sequence[bytes], now: float) -> None:
        self._pages = iter(pages)
        self._now = now

    def request(self, method: str, url: str, **_: object) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {}, next(self._pages)

    def now(self) -> float:
        return self._now


def read(services: composition.Services, pages: Sequence[bytes], first: int, now: float) -> float:
    """What a poll does with its pages (`workers/polling/poll.py`), without lease, budget and HTTP; CPU seconds of this
    process."""
    started = time.process_time()
    context = services.ingest_context("eu")
    poll, client = context.vendor.polls[STREAM], context.vendor.connect(context.source, Prepared(pages, now))
    cursor = str(first)
    for _ in pages:
        page = poll.fetch(client, cursor)
        report = ingest(context, page.records, origin=POLL, now=now)
        if report.outcomes["published"] + report.outcomes["duplicate"] != A_PAGE or page.cursor is None:
            raise SystemExit(f"not every result of a page was read: {dict(report.outcomes)}")
        services.cursors.save("eu", STREAM, page.cursor, now, midway=True)
        cursor = page.cursor
    return time.process_time() - started


def prepared(number: int, now: float) -> Iterator[tuple[int, list[bytes]]]:
    """Round by round: where its pages begin (UNIX seconds), and `number` pages of new results."""
    first = int(now) - 30 * 86_400
    while True:
        yield first, [page(first + place * A_PAGE_SECONDS) for place in range(number)]
        first += number * A_PAGE_SECONDS


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pages", type=int, default=50, help="of 200 attempts, in each round")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    header("poll pages to journal", "redis", "hiredis", "marshmallow")
    attempts, now = given.pages * A_PAGE, time.time()
    batches = prepared(given.pages, now)
    cpu: dict[str, list[float]] = {"new": [], "known": []}
    with server() as address:
        services = composition.load(config_path=config(Path(tempfile.mkdtemp(prefix="bench-")), address))
        state, current, events = services.state, next(batches), list[StoredEvent]()

        def ours(kind: str) -> float:
            nonlocal current, events
            if kind == "new":
                current = next(batches)
            started = time.perf_counter()
            cpu[kind].append(1e6 * read(services, current[1], current[0], now) / attempts)
            rate = attempts / (time.perf_counter() - started)
            if kind == "new":
                events = list(Reader(state).events())
                state.delete("ab:{0}:journal")
            return rate

        def bare() -> float:
            started = time.perf_counter()
            for first in range(0, len(events), A_PAGE):
                pipe = state.pipeline(transaction=False)
                for event in events[first : first + A_PAGE]:
                    fields = {"id": event.id, "type": event.type, "source": event.source, "attempt": event.attempt}
                    pipe.xadd("bare", {**fields, "event": event.event})
                pipe.execute()
            rate = attempts / (time.perf_counter() - started)
            state.delete("bare")
            return rate

        ours("new")
        mine, known, theirs = rounds(given.rounds, lambda: ours("new"), lambda: ours("known"), bare)
    table(
        ["attempts/s, median (all rounds)", "", "CPU us each"],
        [
            ["poll pages, all new", spread(mine), spread(cpu["new"][1:])],
            ["poll pages, all known", spread(known), spread(cpu["known"])],
            ["bare pipelined XADD", spread(theirs), ""],
        ],
    )
    print(f"poll pages / bare: {ratios(mine, theirs):.2f}")
    verdict("attempts/s, all new", sorted(mine)[len(mine) // 2], 5000, unit="/s")


if __name__ == "__main__":
    main()
