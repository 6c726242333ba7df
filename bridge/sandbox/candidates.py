"""A class of candidates at a simulated vendor: they finish tests, some are graded later, some sit again."""

from __future__ import annotations

from collections import deque
from random import Random

from bridge.vendors.classmarker.simulator import Simulator

__all__ = ["Candidates"]

_LONGEST_SITTING, _SHORTEST_SITTING = 5400, 90
#: Seconds of the sandbox from finishing to the grade, and to sitting again after an administrator re-opened the test.
_GRADED_AFTER = 7.0
_AGAIN_AFTER = 8.0
_REOPENED_SHARE = 0.04
#: Room for the attempts of one run in the ids that the vendor gives.
_ROOM = 1_000_000


class Candidates:
    """Do what is due at each `step`. Ids start at `run` million, so that no two runs on one journal share one."""

    def __init__(
        self, simulator: Simulator, *, run: int, draw: Random, per_second: float, attempts: int | None, scale: float
    ) -> None:
        self._simulator = simulator
        self._draw = draw
        self._per_second = per_second
        self._attempts = attempts
        self._scale = scale
        self._first_id = run * _ROOM
        self._finished = 0
        self._begun_at: float | None = None
        self._to_reopen: deque[tuple[float, str]] = deque()
        self._ungraded = 0

    @property
    def done(self) -> bool:
        """Everybody has finished, everything is graded, and the vendor has no webhook left to send."""
        return (
            self._finished == self._attempts
            and not self._to_reopen
            and not self._ungraded
            and not self._simulator.webhooks_pending()
        )

    def step(self, now: float) -> None:
        """Everything that was due until `now` (UNIX seconds)."""
        self._begun_at = now if self._begun_at is None else self._begun_at
        due = int((now - self._begun_at) * self._per_second) + 1
        for _ in range(self._finished, due if self._attempts is None else min(due, self._attempts)):
            self._finish(now)
        while self._to_reopen and self._to_reopen[0][0] <= now:
            self._simulator.reopen(self._to_reopen.popleft()[1], time_finished=now)
        self._grade(now)

    def _finish(self, now: float) -> None:
        self._finished += 1
        number = self._first_id + self._finished
        channel = self._draw.choice(("group", "link"))
        seconds = self._draw.randrange(_SHORTEST_SITTING, _LONGEST_SITTING) / self._scale
        attempt_id = self._simulator.finish(
            channel=channel,
            time_finished=now,
            time_started=int(now - max(seconds, 1)),
            **({"user_id": number} if channel == "group" else {"link_result_id": number}),
        )
        if self._draw.random() < _REOPENED_SHARE:
            self._to_reopen.append((now + _AGAIN_AFTER, attempt_id))

    def _grade(self, now: float) -> None:
        # Nothing is graded late enough to leave this window, so what is outside of it needs no look.
        recent = [
            sitting
            for channel in ("group", "link")
            for sitting in self._simulator.sittings(channel, now - 4 * _GRADED_AFTER)
            if sitting.requires_grading
        ]
        due = [sitting for sitting in recent if sitting.time_finished <= now - _GRADED_AFTER]
        for sitting in due:
            self._simulator.grade(sitting.attempt_id)
        self._ungraded = len(recent) - len(due)
