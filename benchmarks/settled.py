"""Bytes of state per settled delivery, and the state server's time to settle one, against settling without a record."""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import redis

import workers.dispatch.settlement
from benchmarks.common import header, server, table, verdict
from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.settled import DELIVERED, pack
from bridge.state import counts, keys

BATCH = 100
GROUP, CONSUMER, NAME, NOW = "g", "c", "crm", 1.8e9
SOURCE = "eu-classmarker"


def rows_of(kind: str, ids: list[str], entries: list[bytes], first: int) -> list[Any]:
    """The rows of a batch. `skip`: acknowledged and counted, nothing is kept."""
    rows: list[Any] = []
    for number, (event_id, entry) in enumerate(zip(ids, entries, strict=True)):
        rows += [kind, entry, event_id]
        if kind == "ok":
            attempt = f"link:{62_510_937 + first + number}"
            settled = {"event_id": event_id, "event_type": "attempt.completed", "source": SOURCE, "attempt": attempt}
            rows += [pack(DELIVERED, **settled, tries=1, status=200, seconds=0.012), "", "", "lag_0.2"]
    return rows


def settle(client: redis.Redis, kind: str, number: int) -> float:
    """Settle deliveries in batches; microseconds of the state server for each."""
    script = register(client, workers.dispatch.settlement.__file__, "settle", after=(counts.ADD_COUNTS,))
    journal = keys.journal(0)
    client.flushall()
    client.xgroup_create(journal, GROUP, id="0", mkstream=True)
    client.config_resetstat()
    names = [*outcome_keys(NAME, 0), journal, *counts.names(keys.delivery_counts, 0, NOW)]
    for first in range(0, number, BATCH):
        ids = [str(uuid5(NAMESPACE_URL, str(each))) for each in range(first, first + BATCH)]
        pipe = client.pipeline(transaction=False)
        for event_id in ids:
            pipe.xadd(journal, {"id": event_id})
        entries = pipe.execute()
        client.xreadgroup(GROUP, CONSUMER, {journal: ">"}, count=BATCH)
        rows = rows_of(kind, ids, entries, first)
        script(keys=names, args=[GROUP, CONSUMER, "", f"{NOW:.3f}", NAME, str(BATCH), *rows])
        client.xtrim(journal, maxlen=0, approximate=False)
    return float(client.info("commandstats")["cmdstat_evalsha"]["usec"]) / number


def size(client: redis.Redis, name: str) -> int:
    """Bytes of a key."""
    return int(client.memory_usage(name, samples=0) or 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--deliveries", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=1)
    given = options.parse_args()
    header(f"settled deliveries, up to {given.deliveries:,}", "redis")
    rows = []
    with server() as address:
        client = redis.Redis.from_url(address)
        for number in sorted({min(1_000, given.deliveries), min(10_000, given.deliveries), given.deliveries}):
            plain, kept = [], []
            for _ in range(given.rounds):
                plain.append(settle(client, "skip", number))
                kept.append(settle(client, "ok", number))
            stream = size(client, keys.settled(NAME)) / number
            index = sum(size(client, name.decode()) for name in client.scan_iter(f"{keys.settled(NAME)}:*")) / number
            times = (median(plain), median(kept))
            each = [f"{value:.1f}" for value in (stream, index, stream + index, *times)]
            rows.append([f"{number:,}", *each])
    table(["deliveries", "stream", "index", "bytes each", "us without", "us with record"], rows)
    verdict("bytes per settled delivery", float(rows[-1][3]), 128, least=False, unit=" B")


if __name__ == "__main__":
    main()
