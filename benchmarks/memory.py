"""Bytes of state per remembered attempt: used_memory with the journal emptied, at growing numbers of attempts."""

from __future__ import annotations

import argparse

import redis

from benchmarks.common import header, server, table, verdict, wait_for
from bridge.journal import WEBHOOK, Entry, Journal, Submission
from bridge.state import keys
from bridge.state.layout import LAYOUT

BATCH = 200


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--attempts", type=int, default=200_000, help="200000; 1000000 takes about 1 min")
    given = options.parse_args()
    header(f"memory per remembered attempt, up to {given.attempts:,}", "redis")
    steps = [step for step in (10_000, 50_000, 200_000, 500_000) if step < given.attempts] + [given.attempts]
    rows, last = [], 0.0
    with server() as address:
        client = redis.Redis.from_url(address)
        client.hset(keys.BRIDGE, "layout", LAYOUT)
        journal = Journal(client)

        def build(revision: int, previous: object) -> tuple[str, str, bytes]:
            return "attempt.completed", "x", b"{}"

        def used() -> int:
            client.delete("ab:{0}:journal")
            # Large streams are freed in the background.
            wait_for(lambda: client.info("memory")["lazyfree_pending_objects"] == 0)
            return int(client.info("memory")["used_memory"])

        journal.publish(Entry(), now=1.8e9)
        empty, done = used(), 0
        for step in steps:
            while done < step:
                upto = min(done + BATCH, step)
                entries = tuple(
                    Submission(
                        source="eu-classmarker",
                        attempt_id=f"link:{81_000_000 + number}",
                        digest=number.to_bytes(6, "big"),
                        order=3_600_000_000 + number,
                        origin=WEBHOOK,
                        build=build,
                    )
                    for number in range(done, upto)
                )
                journal.publish(Entry(submissions=entries), now=1.8e9)
                done = upto
            last = (used() - empty) / step
            rows.append([f"{step:,}", f"{last:.1f}", str(int(client.hget("ab:{0}:seen", "b") or 0))])
    table(["attempts", "bytes each", "buckets"], rows)
    verdict("bytes per remembered attempt (the target is for 1 million)", last, 48, least=False, unit=" B")


if __name__ == "__main__":
    main()
