"""A faithful Mettl for tests and demos: its API as a WSGI app, its webhooks, the life of an attempt, its faults.

The bridge itself never needs it. It checks signatures and builds attempt ids with its own code; `QUIRKS.md` has the
facts behind each switch.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from random import Random
from typing import Any

from flask import Flask

from bridge.sdk.simulator import NO_FAULTS, ExpectedAttempt, Faults, Outbox
from bridge.vendors.mettl.simulator.api import create_api
from bridge.vendors.mettl.simulator.behaviour import Behaviour
from bridge.vendors.mettl.simulator.candidates import Candidates
from bridge.vendors.mettl.simulator.sittings import (
    SCHEDULES,
    TESTS,
    Schedule,
    Sitting,
    Style,
    Test,
    notice,
    random_fields,
)

__all__ = ["Behaviour", "ExpectedAttempt", "Faults", "Simulator", "Sitting", "Style", "sandbox"]


#: As the vendor behaves today.
TODAY = Behaviour()


class Simulator:
    """One simulated Mettl account. Thread-safe; all randomness comes from `seed`, all time from `clock`.

    `quota_calls` in every `quota_window` seconds (sliding). `wsgi` serves the API; `base_url`: the address under which
    its clients see it; None: that of the call. `schedules`, `tests`: what the account has. Attempts are named by id; a
    second sitting after a deletion ends in `:2`.
    """

    def __init__(
        self,
        seed: int,
        clock: Callable[[], float],
        *,
        public_key: str = "sandbox-public",
        private_key: str = "sandbox-private",
        base_url: str | None = None,
        quota_calls: int = 60,
        quota_window: float = 60.0,
        faults: Faults = NO_FAULTS,
        behaviour: Behaviour = TODAY,
        schedules: Sequence[Schedule] = SCHEDULES,
        tests: Sequence[Test] = TESTS,
    ) -> None:
        self.schedules, self.tests = tuple(schedules), tuple(tests)
        self.public_key, self.private_key, self.base_url = public_key, private_key, base_url
        self.credentials: Mapping[str, str | tuple[str, ...]] = {"public_key": public_key, "private_key": private_key}
        self.quota_calls, self.quota_window = quota_calls, quota_window
        self.faults, self.behaviour = faults, behaviour
        #: Of a source that reads this account; `wsgi` serves the API below `base_path`.
        self.options: Mapping[str, Any] = {}
        self.base_path = ""
        #: "unavailable" or "broken" makes every API call fail that way.
        self.api_fault: str | None = None
        self.lock = threading.RLock()
        self.counter: Counter[str] = Counter()
        self._clock = clock
        self._seed = seed
        self._instances = count(90_000_001)
        self._numbers = count(1)
        self._sittings: dict[str, Sitting] = {}
        #: Sittings of one person in one schedule, oldest first; all but the last one are deleted.
        self._sittings_by_attempt: dict[str, list[Sitting]] = {}
        self._versions: Counter[str] = Counter()
        self._candidates = Candidates(self, seed)
        rng = Random(seed)  # noqa: S311 - invented data, must be repeatable
        self.outbox = Outbox(clock=self.now, rng=rng, faults=faults, retry_schedule=behaviour.retry_schedule)
        self.wsgi: Flask = create_api(self)

    @property
    def refused(self) -> int:
        """Calls over the quota."""
        return self.counter["quota_refusals"]

    def now(self) -> float:
        """UNIX seconds on the vendor's clock."""
        return self._clock() + self.behaviour.clock_offset

    # What candidates and administrators do ------------------------------------------------------------------------

    def invite(self, *, schedule: int = 0, email: str | None = None, state: str = "mapped", **fields: Any) -> str:
        """Somebody is registered for a schedule (its place in `schedules`). Returns the attempt's id."""
        with self.lock:
            number = next(self._numbers)
            invented = random_fields(Random(f"{self._seed}/{number}"), number)  # noqa: S311 - invented data
            sitting = Sitting(
                schedule=self.schedules[schedule],
                instance=next(self._instances),
                state=state,
                **{**invented, **({"email": email} if email else {}), **fields},
            )
            attempt_id = sitting.base_id
            before = self._sittings_by_attempt.setdefault(attempt_id, [])
            if before and not before[-1].deleted:
                raise ValueError(f"{attempt_id} exists: one test per address and schedule; delete it first")
            before.append(sitting)
            attempt_id += f":{len(before)}" if len(before) > 1 else ""
            self._sittings[attempt_id] = sitting
            return attempt_id

    def start(self, attempt_id: str, at: float | None = None) -> None:
        """The test begins, or continues after a resume."""
        with self.lock:
            sitting = self._sittings[attempt_id]
            sitting.started = sitting.started or int(self.now() if at is None else at)
            sitting.state = "in_progress"
            self._announce(attempt_id, "startAssessment")

    def submit(self, attempt_id: str, at: float | None = None, *, ending: str = "finished", marks: float = 0.0) -> None:
        """The test ends in one of `sittings.ENDINGS`; its result is generated later."""
        with self.lock:
            sitting = self._sittings[attempt_id]
            first = not self._versions[attempt_id]
            sitting.state, sitting.ended = ending, int(self.now() if at is None else at)
            sitting.marks, sitting.graded = marks, False
            self.counter["completed"] += first
            self._versions[attempt_id] += 1
            self._announce(attempt_id, "finishTest")

    def grade(self, attempt_id: str, *, marks: float | None = None) -> None:
        """The result is generated, or marks are changed by a person; the end of the test does not move."""
        with self.lock:
            sitting = self._sittings[attempt_id]
            again = sitting.graded
            sitting.graded, sitting.marks = True, sitting.marks if marks is None else marks
            self._versions[attempt_id] += 1
            if not again or self.behaviour.send_after_grading:
                self._announce(attempt_id, "gradedAssessment")

    def allow_resume(self, attempt_id: str) -> None:
        """An administrator lets the candidate continue an expired test."""
        with self.lock:
            self._sittings[attempt_id].state = "resume_allowed"
            self._announce(attempt_id, "UNKNOWN_PLACEHOLDER")

    def set_state(self, attempt_id: str, state: str) -> None:
        """Any other change that no webhook announces: blocked, access expired, waiting for permission."""
        self._sittings[attempt_id].state = state

    def delete(self, attempt_id: str) -> None:
        """The result is deleted at the vendor; the address may then be registered again."""
        self._sittings[attempt_id].deleted = True

    def finish(
        self,
        *,
        at: float | None = None,
        started: float | None = None,
        graded: bool = True,
        marks: float = 14.5,
        ending: str = "finished",
        **fields: Any,
    ) -> str:
        """A whole sitting at once: invited, started, submitted at `at` and, if `graded`, with its result."""
        finished = self.now() if at is None else at
        attempt_id = self.invite(**fields)
        self.start(attempt_id, finished - 600 if started is None else started)
        self.submit(attempt_id, finished, ending=ending, marks=marks)
        if graded:
            self.grade(attempt_id)
        return attempt_id

    def retake(self, attempt_id: str, *, at: float | None = None) -> str:
        """The same person sits the same test again: at Mettl that is another schedule, so another attempt."""
        first = self._sittings[attempt_id]
        other = next(place for place, schedule in enumerate(self.schedules) if schedule is not first.schedule)
        return self.finish(at=at, schedule=other, email=first.email, first=first.first, last=first.last)

    def sit_again(self, attempt_id: str, *, at: float | None = None) -> str:
        """The result is deleted, and the same person sits in the same schedule again: one more sitting."""
        first = self._sittings[attempt_id]
        self.delete(attempt_id)
        place = self.schedules.index(first.schedule)
        return self.finish(at=at, schedule=place, email=first.email, first=first.first, last=first.last)

    # A demo's candidates ------------------------------------------------------------------------------------------

    def sit(self, now: float, *, candidate: int) -> str:
        """One candidate sits and finishes one test now; results, resumes and new marks come with `tick`."""
        with self.lock:
            return self._candidates.sit(now, candidate)

    def tick(self, now: float) -> None:
        """Do everything that was planned by `now` (UNIX seconds)."""
        with self.lock:
            self._candidates.tick(now)

    def idle(self) -> bool:
        """Whether nothing is planned, and no webhook waits."""
        with self.lock:
            return not self._candidates.planned and not self.webhooks_pending()

    def expectations(self) -> list[Mapping[str, str]]:
        """The references that operators would register: none, because the list shows every candidate."""
        return []

    # What can be asked of it --------------------------------------------------------------------------------------

    def expected(self) -> dict[str, ExpectedAttempt]:
        """The truth about every attempt that was handed in, by attempt id."""
        with self.lock:
            return {
                attempt_id: ExpectedAttempt(
                    finished_at=sitting.ended,
                    needs_grading=not sitting.graded,
                    versions=self._versions[attempt_id],
                    sent=self.outbox.delivered[attempt_id],
                    lost=self.outbox.lost[attempt_id],
                    percentage=sitting.percentage,
                )
                for attempt_id, sitting in self._sittings.items()
                if self._versions[attempt_id]
            }

    def counts(self) -> dict[str, int]:
        """What has happened so far, webhooks as in `Outbox.tally`."""
        with self.lock:
            names = ("completed", "api_calls", "quota_refusals")
            return {name: self.counter[name] for name in names} | self.outbox.tally()

    def sittings(self, access_key: str) -> list[Sitting]:
        """What the API may list of a schedule, as it was registered."""
        with self.lock:
            kept = (sitting for sitting in self._sittings.values() if not sitting.deleted)
            return [sitting for sitting in kept if sitting.schedule.access_key == access_key]

    def sitting(self, attempt_id: str) -> Sitting:
        """One sitting."""
        return self._sittings[attempt_id]

    def webhook(self, attempt_id: str, event: str | None = None) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of a webhook about an attempt as it is now; without `event`, its final one."""
        with self.lock:
            sitting = self._sittings[attempt_id]
            event = event or ("gradedAssessment" if sitting.graded else "finishTest")
            body = notice(sitting, event, self.now(), self.behaviour.style)
            return json.dumps(body, ensure_ascii=False).encode(), {"Content-Type": "application/json"}

    # Webhooks -----------------------------------------------------------------------------------------------------

    def start_webhooks(self, url: str) -> None:
        """The addresses are set in every schedule: what happened is sent there when it is due."""
        self.outbox.start(url)

    def stop(self) -> None:
        """Stop sending webhooks; unsent ones are kept."""
        self.outbox.stop()

    def webhooks_pending(self) -> int:
        """Webhooks that wait for their time, their retry, or an answer."""
        return self.outbox.pending()

    def _announce(self, attempt_id: str, event: str) -> None:
        self.outbox.announce(*self.webhook(attempt_id, event), attempt_id)


def sandbox(seed: int, clock: Callable[[], float], *, scale: float, faults: Faults) -> Simulator:
    """An account for a demo in which everything happens `scale` times quicker.

    Tests that expire and marks that change are for real time only: if such a webhook is lost, the bridge finds the
    change within a day, and no demo lasts that long.
    """
    rare = 0.1 if scale == 1 else 0.0
    behaviour = Behaviour(
        processing=120 / scale,
        hand_grading=1_200 / scale,
        resume_share=rare,
        regrade_share=rare,
        retry_schedule=(0.5, 1.0, 2.0, 5.0, 10.0),
    )
    return Simulator(seed, clock, quota_window=60.0 / scale, faults=faults, behaviour=behaviour)
