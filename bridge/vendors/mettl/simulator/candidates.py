"""Candidates of a demo: each sits one test, and what follows at the vendor is planned and done when it is due."""

from __future__ import annotations

import heapq
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from bridge.vendors.mettl.simulator.sittings import random_fields

if TYPE_CHECKING:
    from bridge.vendors.mettl.simulator import Simulator

__all__ = ["Candidates"]

#: Seconds from an expired test to the administrator's permission to resume, to resuming, and to finishing.
_RESUME_AFTER, _GO_ON_AFTER, _FINISH_AFTER = 60.0, 60.0, 120.0
_NEW_MARKS_AFTER = 3600.0


class Candidates:
    """Deterministic by seed and number of the candidate. Its simulator holds the lock."""

    def __init__(self, simulator: Simulator, seed: int) -> None:
        self._simulator = simulator
        self._seed = seed
        self._serial = count(1)
        #: (due, serial, what happens, attempt id)
        self.planned: list[tuple[float, int, str, str]] = []

    def sit(self, now: float, candidate: int) -> str:
        """One sitting that ends now; its result comes later."""
        simulator, behaviour = self._simulator, self._simulator.behaviour
        rng = Random(f"{self._seed}:{candidate}")  # noqa: S311 - invented data, must be repeatable
        place = rng.randrange(len(simulator.schedules))
        test = simulator.schedules[place].test
        marks = rng.randint(0, 2 * int(test.marks)) / 2
        resumed, regraded = rng.random() < behaviour.resume_share, rng.random() < behaviour.regrade_share
        ending = rng.choices(("finished", "time_over", "proctor_stopped"), (8, 1, 1))[0]
        attempt_id = simulator.invite(schedule=place, **random_fields(rng, candidate))
        simulator.start(attempt_id, now - 1)
        simulator.submit(attempt_id, now, ending="expired" if resumed else ending, marks=marks)
        due = now + (behaviour.hand_grading if test.essay else behaviour.processing)
        self._plan(due, "grade", attempt_id)
        if resumed:
            self._plan(due + _RESUME_AFTER, "allow", attempt_id)
        elif regraded:
            self._plan(due + _NEW_MARKS_AFTER, "change", attempt_id)
        return attempt_id

    def tick(self, now: float) -> None:
        """Do everything that was planned by `now`."""
        while self.planned and self.planned[0][0] <= now:
            due, _, what, attempt_id = heapq.heappop(self.planned)
            self._do(due, what, attempt_id)

    def _do(self, due: float, what: str, attempt_id: str) -> None:
        simulator = self._simulator
        sitting = simulator.sitting(attempt_id)
        if what == "grade":
            simulator.grade(attempt_id)
        elif what == "change":
            simulator.grade(attempt_id, marks=sitting.marks + (0.5 if sitting.marks < 1 else -0.5))
        elif what == "allow":
            simulator.allow_resume(attempt_id)
            self._plan(due + _GO_ON_AFTER, "go on", attempt_id)
        elif what == "go on":
            simulator.start(attempt_id)
            self._plan(due + _FINISH_AFTER, "finish", attempt_id)
        else:
            simulator.submit(attempt_id, due, marks=sitting.marks)
            self._plan(due + simulator.behaviour.processing, "grade", attempt_id)

    def _plan(self, due: float, what: str, attempt_id: str) -> None:
        heapq.heappush(self.planned, (due, next(self._serial), what, attempt_id))
