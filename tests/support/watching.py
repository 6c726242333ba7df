"""A source as the watchdog sees it, over simulated weeks: seeded traffic by hour of the week, virtual time, no IO."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bridge.monitoring.source_health import SourceFacts, SourceProblem, StreamFacts, assess, with_quota_state
from bridge.monitoring.traffic_baseline import HourlyTotals, TrafficState, observe
from bridge.polling.cursors import RoundReport, StreamPosition
from bridge.quota.budgets import BudgetStatus
from bridge.quota.windows import Window
from schemas.notices import WEBHOOKS_SILENT

MINUTE, HOUR, DAY, WEEK = 60.0, 3600.0, 86_400.0, 604_800.0
#: A Monday, 00:00 UTC.
MONDAY = 1_798_416_000.0
STEP = 5 * MINUTE
#: While a baseline is learnt, checks come as rarely as they may (`MAX_GAP_SECONDS`).
LEARNT, LEARNING_STEP = MONDAY + 2.5 * WEEK, 10 * MINUTE
WINDOW = Window(calls=30, per_seconds=HOUR)
#: Rounds that a check reads; there is one new one a step.
ROUNDS = 20


def working_hours(moment: float) -> float:
    """Attempts an hour: a company's test centre, quiet at night and at the weekend."""
    day, hour = int((moment - MONDAY) // DAY) % 7, (moment - MONDAY) % DAY / HOUR
    if day >= 5:
        return 1.0 if 9 <= hour < 18 else 0.05
    if 8 <= hour < 18:
        return 12.0
    return 2.0 if 18 <= hour < 22 else 0.1


def budget(*, left: int = 30, pause: object = None, spenders: dict[str, int] | None = None) -> BudgetStatus:
    return BudgetStatus(
        window=WINDOW,
        used=WINDOW.calls - left,
        left=left,
        resets_at=None,
        spenders=spenders or {},
        pause=pause,  # type: ignore[arg-type]
        vendor_limit=None,
    )


ENOUGH = budget()


@dataclass
class Simulated:
    """One source. `rate(moment)`: attempts an hour. `announces(moment)`: the share of them that webhooks announce.

    `polled`: found by a round every five minutes. Bursts: a class of 30 sits a test within an hour, once in a while.
    """

    seed: int = 1
    rate: Callable[[float], float] = working_hours
    announces: Callable[[float], float] = lambda _moment: 0.98
    polled: bool = True
    bursts: bool = True
    now: float = MONDAY
    traffic: TrafficState | None = None
    hourly: dict[int, HourlyTotals] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    rounds: list[RoundReport] = field(default_factory=list)
    raised: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._burst_until = 0.0

    def run(self, until: float, *, watched: bool = True) -> Iterator[tuple[float, SourceProblem | None]]:
        """Step by step; yields each change of the alarm of silent webhooks: (moment, trouble or None)."""
        while self.now < until:
            step = STEP if self.now >= LEARNT else LEARNING_STEP
            self.now += step
            self._traffic(step)
            if watched and (change := self.check()) is not None:
                yield change

    def check(self) -> tuple[float, SourceProblem | None] | None:
        """One check; the change that it made, if any."""
        self.traffic = observe(self.traffic, now=self.now, counts=self.counts, rounds=self.rounds)
        self.traffic = with_quota_state(self.traffic, ENOUGH, polled=self.polled, now=self.now)
        self.hourly[int(self.now // HOUR)] = HourlyTotals(self.traffic.webhooks, self.traffic.found_by_polling)
        verdicts = assess(self.facts())
        if WEBHOOKS_SILENT not in verdicts:
            return None
        problem = verdicts[WEBHOOKS_SILENT]
        if (problem is not None) == (WEBHOOKS_SILENT in self.raised):
            return None
        if problem is None:
            del self.raised[WEBHOOKS_SILENT]
        else:
            self.raised[WEBHOOKS_SILENT] = self.now
        return self.now, problem

    def facts(self) -> SourceFacts:
        assert self.traffic is not None
        position = StreamPosition(cursor="1", saved=self.now)
        return SourceFacts(
            name="eu",
            now=self.now,
            paused=False,
            webhooks=True,
            traffic=self.traffic,
            hourly=self.hourly,
            streams=(StreamFacts.of("results", 300.0, position, self.rounds),) if self.polled else (),
            budget=ENOUGH,
            raised=self.raised,
        )

    def _traffic(self, step: float) -> None:
        if self.bursts and self.rate(self.now) > 5 and self._random.random() < 0.0015 * step / STEP:
            self._burst_until = self.now + HOUR
        rate = self.rate(self.now) + (30.0 if self.now < self._burst_until else 0.0)
        attempts = self._poisson(rate * step / HOUR)
        announced = sum(self._random.random() < self.announces(self.now) for _ in range(attempts))
        self.counts[int(self.now // DAY)] += announced
        if self.polled:
            outcomes = {"published": attempts - announced, "duplicate": announced}
            self.rounds.insert(
                0,
                RoundReport(
                    stream="results", from_cursor="", to_cursor="", started=self.now - 2, seconds=1.0, outcomes=outcomes
                ),
            )
            del self.rounds[ROUNDS:]

    def _poisson(self, mean: float) -> int:
        limit, count, product = math.exp(-mean), 0, self._random.random()
        while product > limit:
            count, product = count + 1, product * self._random.random()
        return count


def learnt(*, seed: int = 1, polled: bool = True, **later: Any) -> Simulated:
    """A source whose baseline is learnt. `later`: what is different from now on; until then it is as usual."""
    source = deepcopy(_learnt(seed, polled))
    for name, value in later.items():
        setattr(source, name, value)
    return source


@cache
def _learnt(seed: int, polled: bool) -> Simulated:
    source = Simulated(seed=seed, polled=polled)
    assert list(source.run(LEARNT)) == []
    return source
