"""A primary fails under steady webhooks: for how long its own attempts are refused, and what the others notice.

Of a cluster of three primaries, it holds some of six partitions, and nothing of the source. Behind Sentinel there is
one primary, and there are no others. A webhook that is not answered 200 is sent again, as vendors do."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.common import header, spread, table, verdict, wait_for
from benchmarks.load import Outcome
from bridge.state.client import state_client
from bridge.state.partitions import Spread
from tests.support.cluster import running_cluster
from tests.support.comparison import reconcile
from tests.support.sentinel import SentinelGroup
from tests.support.servers import Server
from tests.support.traffic import Answered, Traffic
from tests.support.web import Web

PARTITIONS = 6
#: Webhooks that are acknowledged before the fault, and again once the new primary acknowledges.
STEADY = 300


class Servers(NamedTuple):
    """State servers; `primary` is to be killed and holds the partitions `hit` of all."""

    address: str
    primary: Server
    partitions: int
    hit: set[int]

    def holds(self, number: int) -> bool:
        """Whether an attempt is in a partition that is hit."""
        return Spread(self.partitions).home("eu", f"link:{number}")[0] in self.hit


@contextmanager
def cluster(directory: Path, replicas: int) -> Iterator[Servers]:
    with running_cluster(directory, replicas=replicas) as nodes:
        primary, hit = nodes.apart_from("eu", PARTITIONS)
        yield Servers(nodes.url, primary, PARTITIONS, hit)


@contextmanager
def sentinel(directory: Path) -> Iterator[Servers]:
    with closing(SentinelGroup(directory)) as group:
        yield Servers(group.address(0), group.primary(), 1, {0})


Start = Callable[[Path], AbstractContextManager[Servers]]
#: Name -> servers, and the durability of web.
SETUPS: dict[str, tuple[Start, str]] = {
    "cluster": (lambda directory: cluster(directory, 1), "local"),
    "cluster, ack: replica": (lambda directory: cluster(directory, 2), "replica"),
    "sentinel": (sentinel, "local"),
    "sentinel, ack: replica": (sentinel, "replica"),
}


FAULTS = {"killed": Server.kill9, "stalled": Server.stop}


@dataclass(frozen=True)
class Run:
    """One fault. `outage`: seconds until an attempt of the hit partitions is acknowledged again; `others`: the answers
    to the attempts of all other partitions meanwhile, and before the fault; `lost`: attempts that were acknowledged
    and are not there."""

    outage: float
    others: Sequence[Answered]
    before: Sequence[Answered]
    slowest: float
    statuses: Counter[int]
    lost: int

    @property
    def share(self) -> float:
        """Of the others, those that were answered 200, in percent."""
        return 100 * sum(each.status == 200 for each in self.others) / len(self.others)


def percentile(answers: Iterable[Answered], share: float) -> float:
    """In milliseconds."""
    return Outcome(latencies=[each.seconds for each in answers]).percentile(share)


def acknowledged_at(answers: Iterable[Answered], servers: Servers, dead: float) -> float:
    """When an attempt of the hit partitions that was sent after `dead` was acknowledged; 0 if none was."""
    first = (each for each in answers if each.status == 200 and each.sent > dead and servers.holds(each.number))
    return min((each.sent + each.seconds for each in first), default=0.0)


def fail(fault: Callable[[Server], None], start: Start, ack: str, *, senders: int, workers: int) -> Run:
    """Start servers and web, let the primary fail under webhooks, and wait until they are steady again."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        servers = stack.enter_context(start(directory / "servers"))
        how = f"{{ack: {ack}}}"
        web = Web(directory, servers.address, durability=how, partitions=servers.partitions, workers=workers)
        stack.enter_context(closing(web))
        with Traffic(web, senders=senders) as traffic:
            # The first ones open connections and load scripts.
            wait_for(lambda: len(traffic.acked) >= STEADY)
            warm = time.monotonic()
            wait_for(lambda: len(traffic.acked) >= 2 * STEADY)
            began = time.monotonic()
            fault(servers.primary)
            dead = time.monotonic()
            wait_for(lambda: acknowledged_at(traffic.answers[:], servers, dead))
            steady = len(traffic.acked) + STEADY
            wait_for(lambda: len(traffic.acked) >= steady)
        again = acknowledged_at(traffic.answers, servers, dead)
        others = [each for each in traffic.answers if not servers.holds(each.number)]
        before, meanwhile = (
            [answer for answer in others if a <= answer.sent < b] for a, b in ((warm, began), (began, again))
        )
        client = stack.enter_context(closing(state_client(servers.address)))
        lost = reconcile(client, acked=traffic.acked, partitions=servers.partitions).lost
        return Run(again - began, meanwhile, before, traffic.slowest, traffic.statuses, lost)


def report(name: str, runs: Sequence[Run]) -> None:
    statuses = sum((run.statuses for run in runs), Counter[int]())
    rows = [
        ["outage of what it held, s", spread([run.outage for run in runs], ".2f")],
        ["slowest answer of all, s", spread([run.slowest for run in runs], ".2f")],
        ["lost of acknowledged", f"{sum(run.lost for run in runs)} of {statuses[200]:,}"],
        ["answers", ", ".join(f"{number:,} times {status}" for status, number in sorted(statuses.items()))],
    ]
    meanwhile, before = [run.others for run in runs], [run.before for run in runs]
    if all(meanwhile):
        rows += [
            ["others: answers meanwhile", spread([len(run.others) for run in runs])],
            ["others: answered 200, %", spread([run.share for run in runs], ".2f")],
            *(
                [f"others: p{share * 100:.0f}, ms{when}", spread([percentile(each, share) for each in answers], ".1f")]
                for share in (0.5, 0.99)
                for when, answers in (("", meanwhile), (" (before the fault)", before))
            ),
        ]
    table([name, "median (each run)"], rows)
    verdict("outage", median(run.outage for run in runs), 5, least=False, unit=" s")
    verdict("slowest answer", max(run.slowest for run in runs), 3, least=False, unit=" s")
    if all(meanwhile):
        verdict("others answered 200, the worst run", min(run.share for run in runs), 99, unit=" %")
        verdict("others p99", median(percentile(each, 0.99) for each in meanwhile), 50, least=False, unit=" ms")
    print(flush=True)
    if set(statuses) - {200, 503}:
        raise SystemExit(f"answers other than 200 and 503: {dict(statuses)}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--senders", type=int, default=8, help="each sends, waits for the answer, and pauses 20 ms")
    options.add_argument("--workers", type=int, default=2, help="processes of web")
    options.add_argument("--setups", nargs="+", choices=SETUPS, default=list(SETUPS))
    options.add_argument("--fault", choices=FAULTS, default="killed")
    given = options.parse_args()
    header("failover", "gunicorn", "gevent", "redis")
    for name in given.setups:
        start, ack = SETUPS[name]
        how = {"senders": given.senders, "workers": given.workers}
        report(f"{name}, {given.fault}", [fail(FAULTS[given.fault], start, ack, **how) for _ in range(given.runs)])


if __name__ == "__main__":
    main()
