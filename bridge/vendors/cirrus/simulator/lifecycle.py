"""What happens on its own at a simulated Cirrus: candidates sit; people mark, publish, mark again, rescore and void."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from bridge.vendors.cirrus.simulator.sittings import ASSESSMENTS

if TYPE_CHECKING:
    from bridge.vendors.cirrus.simulator import Simulator

__all__ = ["Lifecycle"]

_SCHEDULES = ("SPRING-07", "SPRING-09", "AUTUMN 1/2")
_SHORTEST, _LONGEST = 1200, 7200
#: Shares of what happens to a published result: flagged, marked again and published; or voided.
_REMARKED, _VOIDED = 0.10, 0.05
#: One candidate in this many does not come.
_ABSENT = 0.04


class Lifecycle:
    """A heap of what is due. Every step draws the same number of random values, so that runs stay comparable."""

    def __init__(self, simulator: Simulator, rng: Random) -> None:
        self._simulator = simulator
        self._rng = rng
        self._serial = count()
        self._due: list[tuple[float, int, Callable[[float], object]]] = []

    def sit(self, now: float, number: int) -> str:
        """Candidate `number` hands an attempt in at `now` (UNIX seconds)."""
        rng, simulator = self._rng, self._simulator
        schedule = rng.choice(_SCHEDULES)
        score = rng.randrange(0, 21) / 2
        started = now - rng.randrange(_SHORTEST, _LONGEST)
        marked = now + rng.uniform(*simulator.behaviour.marking)
        fate, absent = rng.random(), rng.random() < _ABSENT
        changes = [rng.uniform(*simulator.behaviour.changing) for _ in range(3)]
        attempt_id = simulator.finish(schedule, f"cand-{number}", at=now, started=started, score=score)
        if not simulator.behaviour.auto_publish:
            self._at(marked, lambda at: simulator.publish(attempt_id, at=at))
        if absent:
            self._at(marked, lambda at: simulator.no_show(schedule, f"cand-{number}-absent", at=at))
        self._change(attempt_id, schedule, fate, marked, changes)
        return attempt_id

    def tick(self, now: float) -> None:
        """Do everything that is due by `now`, in order."""
        while self._due and self._due[0][0] <= now:
            moment, _, act = heapq.heappop(self._due)
            act(moment)

    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._due

    def _change(self, attempt_id: str, schedule: str, fate: float, marked: float, changes: list[float]) -> None:
        simulator = self._simulator
        first, second, third = marked + changes[0], marked + sum(changes[:2]), marked + sum(changes)
        if fate < _REMARKED:
            most = ASSESSMENTS[simulator.sittings[attempt_id].assessment][0]
            score = min(simulator.sittings[attempt_id].score + 1.5, most)
            self._at(first, lambda _: simulator.flag(attempt_id))
            self._at(second, lambda _: simulator.remark(attempt_id))
            self._at(third, lambda _: simulator.grade(attempt_id, score=score))
        elif fate < _REMARKED + _VOIDED:
            self._at(first, lambda _: simulator.void(attempt_id))
        elif fate < _REMARKED + _VOIDED + simulator.behaviour.rescored:
            self._at(first, lambda _: simulator.rescore(schedule, points=0.5))

    def _at(self, moment: float, act: Callable[[float], object]) -> None:
        heapq.heappush(self._due, (moment, next(self._serial), act))
