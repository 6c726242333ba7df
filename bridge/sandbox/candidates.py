"""Candidates who take tests at the simulated vendors, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.sdk.simulator import SimulatedVendor

__all__ = ["Candidates"]

#: Candidate numbers reserved for one run.
_NUMBERS_PER_RUN = 1_000_000


class Candidates:
    """The candidates of one run. Their numbers start at `run` million, so runs on the same journal share none."""

    def __init__(
        self, simulators: Mapping[str, SimulatedVendor], *, run: int, per_second: float, attempts: int | None
    ) -> None:
        self._simulators = simulators
        self._per_second = per_second
        self._attempts = attempts
        self._first = run * _NUMBERS_PER_RUN
        self._finished = 0
        self._started_at: float | None = None

    @property
    def done(self) -> bool:
        """Whether all candidates have finished and no vendor has anything left to grade or send."""
        return self._finished == self._attempts and all(simulator.idle() for simulator in self._simulators.values())

    def step(self, now: float) -> None:
        """Do everything that is due by `now` (UNIX seconds); the vendors take turns."""
        self._started_at = now if self._started_at is None else self._started_at
        due = int((now - self._started_at) * self._per_second) + 1
        simulators = list(self._simulators.values())
        for _ in range(self._finished, due if self._attempts is None else min(due, self._attempts)):
            self._finished += 1
            simulators[self._finished % len(simulators)].sit(now, candidate=self._first + self._finished)
        for simulator in simulators:
            simulator.tick(now)
