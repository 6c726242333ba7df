"""How long polls pause when one of three RabbitMQ nodes is killed (kill -9): the node that worker and beat are
connected to, the node of the leader of the queue of ticks, and one that is both. One source, polled each second: the
longest time without a poll from the kill on is the outage and at most one interval."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.common import header, server, spread, table, verdict, wait_for
from tests.support.rabbitmq import RabbitCluster
from tests.support.workers import ListingVendor, listing_vendor, running_parts

#: Case -> (place of the leader, place of the node that is killed); worker and beat are connected to the first node.
CASES = {"connected node": (1, 0), "leader of the queue": (1, 1), "both in one": (0, 0)}


@contextmanager
def cluster() -> Iterator[RabbitCluster]:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as directory:
        nodes = RabbitCluster(Path(directory))
        try:
            yield nodes
        finally:
            nodes.close()


def longest_pause(vendor: ListingVendor, seconds: float) -> float:
    """The longest time between two polls within the next `seconds`, from now to the last moment."""
    last = time.monotonic()
    end, longest, count = last + seconds, 0.0, len(vendor.asked)
    while (now := time.monotonic()) < end:
        longest = max(longest, now - last)
        if len(vendor.asked) > count:
            last, count = now, len(vendor.asked)
        time.sleep(0.005)
    return longest


def run(nodes: RabbitCluster, case: str, seconds: float) -> float:
    """The pause of one kill; afterwards the node is back."""
    leader, killed = CASES[case]
    nodes.queue_ticks(nodes.nodes[leader])
    with ExitStack() as stack:
        state = stack.enter_context(server())
        vendor = stack.enter_context(listing_vendor())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        start = stack.enter_context(running_parts(directory, f"{state}/0", nodes.url, vendor.url))
        parts = start("worker"), start("beat")
        wait_for(lambda: len(vendor.asked) > 5, 60)
        count = len(vendor.asked)
        wait_for(lambda: len(vendor.asked) > count)  # a moment after a poll, so that none is under way
        nodes.nodes[killed].kill()
        pause = longest_pause(vendor, seconds)
        for part in parts:
            if part.poll() is not None:
                raise SystemExit(f"{part.args[2]} ended: somebody else stopped it?")
    nodes.restart()
    print(f"{case}: {pause:.2f} s", flush=True)
    return pause


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="kills of each kind")
    options.add_argument("--seconds", type=float, default=20.0, help="to watch after each kill")
    options.add_argument("--only", choices=CASES, help="one kind of kill")
    given = options.parse_args()
    header("polls while a RabbitMQ node is down", "amqp", "celery", "kombu")
    cases = [given.only] if given.only else list(CASES)
    pauses: dict[str, list[float]] = {case: [] for case in cases}
    with cluster() as nodes:
        for _ in range(given.rounds):
            for case in cases:
                pauses[case].append(run(nodes, case, given.seconds))
    table(["killed", "longest pause of polls, s"], [[case, spread(pauses[case], ".2f")] for case in cases])
    verdict("worst pause", max(max(each) for each in pauses.values()), 5, least=False, unit=" s")


if __name__ == "__main__":
    main()
