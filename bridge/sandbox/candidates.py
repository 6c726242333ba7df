"""A class of candidates at simulated vendors: they sit tests, one after the other; vendors and graders do the rest."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.sdk.simulator import SimulatedVendor

__all__ = ["Candidates"]

#: Room for the attempts of one run in the ids that a vendor gives.
_ROOM = 1_000_000


class Candidates:
    """Do what is due at each `step`. Numbers start at `run` million, so that no two runs on one journal share one."""

    def __init__(
        self, simulators: Mapping[str, SimulatedVendor], *, run: int, per_second: float, attempts: int | None
    ) -> None:
        self._simulators = simulators
        self._per_second = per_second
        self._attempts = attempts
        self._first = run * _ROOM
        self._finished = 0
        self._begun_at: float | None = None

    @property
    def done(self) -> bool:
        """Everybody has finished, nothing is to follow, and no vendor has a webhook left to send."""
        return self._finished == self._attempts and all(one.idle() for one in self._simulators.values())

    def step(self, now: float) -> None:
        """Everything that was due until `now` (UNIX seconds); the vendors take turns."""
        self._begun_at = now if self._begun_at is None else self._begun_at
        due = int((now - self._begun_at) * self._per_second) + 1
        simulators = list(self._simulators.values())
        for _ in range(self._finished, due if self._attempts is None else min(due, self._attempts)):
            self._finished += 1
            simulators[self._finished % len(simulators)].sit(now, candidate=self._first + self._finished)
        for simulator in simulators:
            simulator.tick(now)
