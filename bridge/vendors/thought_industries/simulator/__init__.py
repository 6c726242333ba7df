"""A faithful Thought Industries for tests and demos: its API as a WSGI app, its webhooks, its faults.

The bridge itself never needs it. It signs and spells with its own code; `QUIRKS.md` has the facts behind each
switch.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from flask import Flask

from bridge.sdk.simulator import NO_FAULTS, ExpectedAttempt, Faults, Outbox
from bridge.vendors.thought_industries.simulator.api import create_api
from bridge.vendors.thought_industries.simulator.behaviour import AS_DOCUMENTED, Behaviour
from bridge.vendors.thought_industries.simulator.rows import TESTS, Attempt, Test, invented_uuid

__all__ = ["Attempt", "Behaviour", "ExpectedAttempt", "Faults", "Simulator", "Test", "sandbox"]

#: The clock of the vendor's database advances at least this far between two changes of one row, seconds.
_TICK = 0.02


class Simulator:
    """One simulated tenant. Thread-safe; all randomness comes from `seed`, all time from `clock`.

    `quota_calls` in every `quota_window` seconds (sliding). `wsgi` serves the API, at the root and at `base_path`.
    """

    def __init__(
        self,
        seed: int,
        clock: Callable[[], float],
        *,
        api_key: str = "ti_test_sandbox",
        webhook_secret: str = "sandbox-phrase",  # noqa: S107 - of a simulated account
        quota_calls: int = 120,
        quota_window: float = 60.0,
        faults: Faults = NO_FAULTS,
        behaviour: Behaviour = AS_DOCUMENTED,
    ) -> None:
        self.api_key, self.webhook_secret = api_key, webhook_secret
        self.quota_calls, self.quota_window = quota_calls, quota_window
        self.faults, self.behaviour = faults, behaviour
        #: "maintenance" or "broken" makes every API call fail that way.
        self.api_fault: str | None = None
        self.lock = threading.RLock()
        self.now = clock
        self._rng = Random(seed)  # noqa: S311 - invented data, must be repeatable
        self._attempts: dict[str, Attempt] = {}
        self._finished_at: dict[str, float] = {}
        self._versions: Counter[str] = Counter()
        self._to_grade: list[tuple[float, str]] = []
        self.credentials: Mapping[str, str | tuple[str, ...]] = {
            "api_key": api_key,
            "webhook_secret": (webhook_secret,),
        }
        self.options: Mapping[str, Any] = {"dates": behaviour.dates}
        self.base_path = "/incoming/v2"
        self.counter: Counter[str] = Counter()
        self.outbox = Outbox(clock=clock, rng=self._rng, faults=faults, retry_schedule=behaviour.retry_schedule)
        self.wsgi: Flask = create_api(self)

    @property
    def refused(self) -> int:
        """Calls that were over the quota."""
        return self.counter["quota_refusals"]

    # What learners and graders do ---------------------------------------------------------------------------------

    def begin(self, at: float | None = None, **fields: Any) -> str:
        """Somebody opens a test: fields of `Attempt`; the rest is invented. Returns the attempt's id."""
        with self.lock:
            moment = self.now() if at is None else float(at)
            attempt = Attempt(
                **{
                    "id": invented_uuid(self._rng),
                    "person": self._rng.randrange(400),
                    "course": self._rng.randrange(2),
                    "test": self._rng.choice(TESTS),
                    "created": moment,
                    "updated": moment,
                    **fields,
                }
            )
            if attempt.id in self._attempts:
                raise ValueError(f"the attempt {attempt.id} exists. Give another id")
            self._attempts[attempt.id] = attempt
            return attempt.id

    def hand_in(self, attempt_id: str, at: float | None = None, *, grade: int = 0, graded: bool = True) -> None:
        """The learner is done: `finished` with a grade, or `pending` until somebody grades. The course is completed."""
        with self.lock:
            attempt = self._attempts[attempt_id]
            attempt.status = "finished" if graded else "pending"
            if graded:
                attempt.grade = attempt.original_grade = grade
            else:
                attempt.submission = invented_uuid(self._rng)
            self._change(attempt, at)
            self._finished_at[attempt_id] = attempt.updated
            self.counter["completed"] += 1
            self.outbox.announce(*self.webhook(attempt_id), attempt_id)

    def finish(
        self,
        at: float | None = None,
        *,
        started: float | None = None,
        grade: int | None = None,
        graded: bool = True,
        **fields: Any,
    ) -> str:
        """Somebody has sat a whole test by `at`: `begin` and `hand_in` in one; without a start it took minutes."""
        with self.lock:
            moment = self.now() if at is None else float(at)
            attempt_id = self.begin(moment - self._rng.uniform(20, 240) if started is None else started, **fields)
            grade = self._rng.randint(0, 100) if grade is None else grade
            self.hand_in(attempt_id, moment, grade=grade, graded=graded)
            return attempt_id

    def grade(self, attempt_id: str, grade: int | None = None, at: float | None = None) -> None:
        """A person grades: first what is pending, later what was graded before; `originalGrade` stays as it was."""
        with self.lock:
            attempt = self._attempts[attempt_id]
            attempt.grade = self._rng.randint(0, 100) if grade is None else grade
            if attempt.status == "pending":
                attempt.status, attempt.original_grade = "finished", attempt.grade
            self._change(attempt, at)

    def forgive(self, attempt_id: str, at: float | None = None) -> None:
        """An administrator forgives the attempt; the vendor does not explain what that means."""
        with self.lock:
            self._attempts[attempt_id].forgiven = True
            self._change(self._attempts[attempt_id], at)

    def retake(self, attempt_id: str, at: float | None = None) -> str:
        """The same learner sits the same test again: another attempt."""
        first = self._attempts[attempt_id]
        return self.finish(at, person=first.person, course=first.course, test=first.test)

    def side_attempt(self, attempt_id: str) -> str:
        """The learner skipped questions and answers them now: a second attempt, until it is merged."""
        first = self._attempts[attempt_id]
        return self.begin(person=first.person, course=first.course, test=first.test)

    def fold(self, side_id: str, attempt_id: str, grade: int) -> None:
        """The side attempt is gone, and the finished one has changed."""
        with self.lock:
            self._attempts[side_id].hidden = True
            self.grade(attempt_id, grade)

    # What demos and simulations use -------------------------------------------------------------------------------

    def sit(self, now: float, *, candidate: int) -> str:
        """One candidate sits and finishes one test now; `tick` does what people do about it later."""
        with self.lock:
            test, behaviour = self._rng.choice(TESTS), self.behaviour
            graded = not (test.by_hand and self._rng.random() < 0.7)
            attempt_id = str(uuid5(NAMESPACE_URL, f"https://vendor.test/attempts/{candidate}"))
            started = now - self._rng.uniform(1, 45)
            self.finish(now, started=started, id=attempt_id, person=candidate, test=test, graded=graded)
            if not graded:
                heapq.heappush(self._to_grade, (now + behaviour.graded_after, attempt_id))
            if self._rng.random() < behaviour.regraded_share:
                heapq.heappush(self._to_grade, (now + behaviour.regraded_after, attempt_id))
            return attempt_id

    def tick(self, now: float) -> None:
        """Do what is due."""
        with self.lock:
            while self._to_grade and self._to_grade[0][0] <= now:
                due, attempt_id = heapq.heappop(self._to_grade)
                self.grade(attempt_id, at=due)

    def idle(self) -> bool:
        """Whether nothing is due later, and no webhook is left to send."""
        with self.lock:
            return not self._to_grade and not self.outbox.pending()

    def expectations(self) -> list[Mapping[str, str]]:
        """The references that operators would register: none, because polling finds everything."""
        return []

    def expected(self) -> dict[str, ExpectedAttempt]:
        """The truth about every attempt that was handed in, by attempt id."""
        with self.lock:
            return {attempt_id: self._expected(self._attempts[attempt_id]) for attempt_id in self._finished_at}

    def counts(self) -> dict[str, int]:
        """What has happened so far, webhooks as in `Outbox.tally`."""
        with self.lock:
            names = ("completed", "api_calls", "quota_refusals")
            return {name: self.counter[name] for name in names} | self.outbox.tally()

    def attempt(self, attempt_id: str) -> Attempt:
        """What the vendor keeps of an attempt."""
        return self._attempts[attempt_id]

    def place(self, attempt_id: str) -> Mapping[str, str]:
        """Who sat in which course: all that an operator can know beforehand."""
        attempt = self._attempts[attempt_id]
        return {"user_id": attempt.user_id, "course_id": attempt.course_id}

    # Webhooks and rows --------------------------------------------------------------------------------------------

    def start_webhooks(self, url: str) -> None:
        """Begin sending; saving the address does not trigger a webhook at this vendor."""
        self.outbox.start(url)

    def stop(self) -> None:
        """Stop sending webhooks; unsent ones are kept."""
        self.outbox.stop()

    def webhooks_pending(self) -> int:
        """Webhooks that wait for their time, their retry, or an answer."""
        return self.outbox.pending()

    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of `course.completed` for the attempt's user and course; nothing in it is the attempt."""
        attempt, place = self._attempts[attempt_id], self.place(attempt_id)
        data = {"userId": place["user_id"], "courseId": place["course_id"]} if self.behaviour.names_ids else {}
        moment = datetime.fromtimestamp(attempt.updated, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return self.signed({"event": "course.completed", "timestamp": moment, "data": data})

    def signed(self, document: Mapping[str, Any]) -> tuple[bytes, Mapping[str, str]]:
        """Any webhook of this tenant as it is sent."""
        raw = json.dumps(document, separators=(",", ":")).encode()
        over = json.dumps(document).encode() if self.behaviour.reserialised else raw
        signature = hmac.new(self.webhook_secret.encode(), over, hashlib.sha256).hexdigest()
        return raw, {"Content-Type": "application/json", "X-TI-Signature": signature}

    def listed(
        self, *, created_from: float | None, created_until: float | None, user_id: str | None, course_id: str | None
    ) -> list[Attempt]:
        """What the API may list now, in no order: created in the period, both ends included."""
        now = self.now()
        return [
            attempt
            for attempt in self._attempts.values()
            if not attempt.hidden
            and attempt.created + self.behaviour.lag <= now
            and (created_from is None or attempt.created >= created_from)
            and (created_until is None or attempt.created <= created_until)
            and user_id in (None, attempt.user_id)
            and course_id in (None, attempt.course_id)
        ]

    def _change(self, attempt: Attempt, at: float | None) -> None:
        attempt.updated = max(self.now() if at is None else float(at), attempt.updated + _TICK)
        self._versions[attempt.id] += 1

    def _expected(self, attempt: Attempt) -> ExpectedAttempt:
        scored = attempt.status == "finished" and attempt.test.kind != "survey"
        return ExpectedAttempt(
            finished_at=int(self._finished_at[attempt.id]),
            needs_grading=attempt.status == "pending",
            versions=self._versions[attempt.id],
            sent=self.outbox.delivered[attempt.id],
            lost=self.outbox.lost[attempt.id],
            percentage=float(attempt.grade) if scored else None,
        )


def sandbox(seed: int, clock: Callable[[], float], *, scale: float, faults: Faults) -> Simulator:
    """A tenant in which everything happens `scale` times quicker. In a demo no grade is changed later: the bridge looks
    for such changes only every six hours."""
    if scale == 1:
        return Simulator(seed, clock, faults=faults)
    quick = Behaviour(retry_schedule=(0.5, 1.0, 2.0, 5.0, 10.0), graded_after=840 / scale, regraded_share=0.0)
    return Simulator(seed, clock, faults=faults, behaviour=quick)
