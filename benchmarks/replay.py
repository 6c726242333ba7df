"""Replay of dead letters: how long the job works, and what it does to the delivery of new events at the same time.

Latency is from the call that appends an event to its arrival at an http receiver, in rounds without and with a job."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from benchmarks import api
from benchmarks.common import header, program, ratios, rounds, server, spread, table, verdict, wait_for
from benchmarks.counting_receiver import counting_receiver, report
from benchmarks.push import SECRET
from benchmarks.receive import config
from bridge import services as composition
from bridge.delivery.replay_jobs import DEAD_LETTERS, Part, Replay
from bridge.journal import Entry
from bridge.services import Services
from bridge.state import keys
from workers.dispatch import replays
from workers.dispatch.replays import ReplayRunner


def add_job(services: Services, name: str, first: str, last: str, rate: float | None = None) -> None:
    """A job for the dead letters from `first` to `last`. `rate`: a second, None: no limit."""
    part = Part("crm", 0, first, last)
    services.replays.add(
        Replay(id=name, kind=DEAD_LETTERS, parts=(part,), rate=rate, created=services.now(), by="bench")
    )


def bury(services: Services, number: int) -> list[str]:
    """Make dead letters; their stream ids."""
    api.fill(services, 0, number)
    api.bury(services, 0, number)
    entries: Any = services.state.xrange(keys.dead("crm"))
    return [entry.decode() for entry, _ in entries]


def work(services: Services, letters: int) -> float:
    """Seconds that a job works where nothing keeps it waiting."""
    entries = bury(services, letters)
    add_job(services, "work", entries[0], entries[-1])
    runner, most = ReplayRunner(services, "bench", live_seconds=0.0), replays._MAX_DUE
    replays._MAX_DUE = 10**9
    started = time.perf_counter()
    while services.replays.running():
        runner.step(services.now)
    took, replays._MAX_DUE = time.perf_counter() - started, most
    runner.leave()
    stored = services.replays.get("work")
    if stored is None or stored.counts["replayed"] != letters:
        raise SystemExit("not every dead letter was replayed")
    return took


class Live:
    """Appends events at a rate while dispatch runs, and finds out when they arrived."""

    def __init__(self, services: Services, port: int, rate: float, seconds: float) -> None:
        self._services, self._port, self._rate, self._seconds = services, port, rate, seconds
        self._next = 10_000_000

    def p99(self) -> float:
        """Milliseconds from the append to the arrival."""
        begun: dict[str, float] = {}
        started = time.time()
        for place in range(int(self._rate * self._seconds)):
            time.sleep(max(0.0, started + place / self._rate - time.time()))
            ident = str(uuid5(NAMESPACE_URL, f"eu#{self._next}"))
            entry = Entry(submissions=(api.submission(self._next),), request=None)
            self._next += 1
            begun[ident] = time.time()
            self._services.journal.publish_batch([entry], now=self._services.now())
        taken: dict[str, float] = {}

        def arrived() -> bool:
            taken.update(report(self._port).get("crm", {"taken": []})["taken"])
            return begun.keys() <= taken.keys()

        wait_for(arrived, 120)
        took = sorted(1000 * (taken[ident] - moment) for ident, moment in begun.items())
        return took[min(len(took) - 1, int(0.99 * len(took)))]


def beside(
    services: Services, port: int, letters: int, number: int, rate: float, seconds: float, job_rate: float | None
) -> None:
    """Latency of new events without and with a job, in turn."""
    entries = bury(services, letters * number)
    live, jobs = Live(services, port, rate, seconds), iter(range(number))

    def with_job() -> float:
        job = next(jobs)
        add_job(services, f"beside-{job}", entries[job * letters], entries[(job + 1) * letters - 1], job_rate)
        p99 = live.p99()
        wait_for(lambda: not services.replays.running(), 300)
        wait_for(lambda: services.state.zcard(keys.retry("crm")) == 0, 300)
        return p99

    with program(sys.executable, "-m", "bridge", "--config", str(services.config.path), "dispatch"):
        # Connections and code are warm after this.
        live.p99()
        alone, together = rounds(number, live.p99, with_job)
    table(
        [f"p99 ms at {rate:g}/s, append to arrival, median (all rounds)", ""],
        [["new events alone", spread(alone, ".1f")], ["beside a replay", spread(together, ".1f")]],
    )
    verdict("p99 beside a replay / alone", ratios(together, alone), 1.1, least=False)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--dead-letters", type=int, default=10_000, help="of each job")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rate", type=float, default=50.0, help="new events a second")
    options.add_argument("--seconds", type=float, default=8.0, help="of each round")
    options.add_argument("--job-rate", type=float, help="what a job sends a second at most")
    given = options.parse_args()
    header(f"replay of {given.dead_letters:,} dead letters", "redis")
    with server() as address, counting_receiver() as port:
        crm = (
            f"{{crm: {{transport: http, url: 'http://127.0.0.1:{port}/crm/0/0', secrets: ['{SECRET}'], "
            "allow_private: true}}"
        )
        path = config(Path(tempfile.mkdtemp(prefix="bench-")), address, crm)
        services = composition.load(config_path=path)
        took = work(services, given.dead_letters)
        print(f"a job of {given.dead_letters:,} that nothing keeps waiting: {took:.2f} s")
        verdict("work", took, 5.0, least=False, unit=" s")
        services.state.flushdb()
        beside(services, port, given.dead_letters, given.rounds, given.rate, given.seconds, given.job_rate)


if __name__ == "__main__":
    main()
