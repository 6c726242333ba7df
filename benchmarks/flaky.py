"""Events to three http subscriptions, of which one fails 30 % of the requests, by one dispatch process: what is lost,
repeated or out of order, and whether its memory stays level. Each attempt has five events; answers take up to 20 ms."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from benchmarks.common import header, program, server, table, verdict
from benchmarks.counting_receiver import counting_receiver, report
from benchmarks.processes import cpu_seconds, megabytes
from benchmarks.push import SECRET
from benchmarks.receive import config
from bridge import services as composition
from bridge.delivery.store import Deliveries
from bridge.state import keys

SHARES = {"steady": 0.0, "second": 0.0, "flaky": 0.3}
_REVISIONS, _PAGE = 5, 500


def subscriptions(port: int) -> str:
    retry = f"{{schedule: [{', '.join(['1s'] * 40)}]}}"
    each = (
        f"{name}: {{transport: http, url: 'http://127.0.0.1:{port}/{name}/{share}/20', secrets: ['{SECRET}'], "
        f"allow_private: true, retry: {retry}}}"
        for name, share in SHARES.items()
    )
    return "{" + ", ".join(each) + "}"


def publish(state: redis.Redis, number: int) -> None:
    """Append events of about 1 kB; the id says attempt and revision."""
    filler = "x" * 800
    for start in range(0, number, _PAGE):
        pipe = state.pipeline(transaction=False)
        for place in range(start, min(number, start + _PAGE)):
            # The revisions of one attempt are near each other, and others are in between.
            group, within = divmod(place, 20 * _REVISIONS)
            revision, attempt = within // 20 + 1, f"a{group * 20 + within % 20}"
            ident, kind = f"{attempt}:{revision}", "attempt.completed" if revision == 1 else "attempt.revised"
            event = json.dumps({"id": ident, "type": kind, "data": {"attempt": {"id": attempt}, "filler": filler}})
            fields = {"id": ident, "type": kind, "source": "eu", "attempt": attempt, "event": event}
            pipe.xadd(keys.journal(0), fields)  # type: ignore[arg-type]
        pipe.execute()


def disorder(taken: Sequence[Any], failed: Sequence[str]) -> tuple[int, int]:
    """(attempts out of order without a failed try, attempts out of order at all)."""
    order: dict[str, list[int]] = defaultdict(list)
    for ident, _ in taken:
        attempt, _, revision = ident.partition(":")
        order[attempt].append(int(revision))
    disturbed = {ident.partition(":")[0] for ident in failed}
    wrong = {attempt for attempt, revisions in order.items() if revisions != sorted(revisions)}
    return len(wrong - disturbed), len(wrong)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=100_000)
    given = options.parse_args()
    header("three receivers, one of which fails 30 %", "redis")
    with server() as address, counting_receiver() as port:
        path = config(Path(tempfile.mkdtemp(prefix="bench-")), address, subscriptions(port))
        services = composition.load(config_path=path)
        deliveries = Deliveries(services.state)
        publish(services.state, given.events)
        samples = []
        with program(sys.executable, "-m", "bridge", "--config", str(path), "dispatch") as process:
            started = time.perf_counter()
            while any(deliveries.state(name, now=time.time()).delivered < given.events for name in SHARES):
                samples.append(megabytes(process.pid))
                time.sleep(0.5)
            took, cpu = time.perf_counter() - started, cpu_seconds(process.pid)
            samples.append(megabytes(process.pid))
        states = {name: deliveries.state(name, now=time.time()) for name in SHARES}
        seen = report(port)
    rows, wrong = [], 0
    for name, state in states.items():
        taken, failed = seen[name]["taken"], seen[name]["failed"]
        times = Counter(ident for ident, _ in taken)
        lost, repeated = given.events - len(times), times.total() - len(times)
        unexplained, out_of_order = disorder(taken, failed)
        wrong += lost + repeated + unexplained + state.dead_letters + (state.delivered != given.events)
        numbers = (len(taken) + len(failed), state.delivered, len(times), lost, repeated, state.dead_letters)
        rows.append([name, *(f"{number:,}" for number in (*numbers, unexplained, out_of_order))])
    names = [
        "sent",
        "acked",
        "delivered",
        "lost",
        "repeated",
        "dead letters",
        "out of order without a failure",
        "at all",
    ]
    table(["subscription", *names], rows)
    tenths = [samples[min(len(samples) - 1, len(samples) * tenth // 10)] for tenth in range(1, 11)]
    print(f"MB of the process, at each tenth of the time: {' '.join(f'{size:.0f}' for size in tenths)}")
    print(f"{took:.0f} s, {1e6 * cpu / (3 * given.events):.0f} us of CPU for each delivery")
    verdict("memory", max(samples), 150, least=False, unit=" MB")
    if wrong:
        raise SystemExit("events were lost, repeated or out of order")


if __name__ == "__main__":
    main()
