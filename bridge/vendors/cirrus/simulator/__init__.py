"""A faithful Cirrus for tests and demos: its API as a WSGI app, its webhook, its people who mark and publish.

The bridge itself never needs it. It spells results and attempt ids with its own code; `QUIRKS.md` has the facts
behind each switch.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from flask import Flask

from bridge.sdk.simulator import NO_FAULTS, ExpectedAttempt, Faults, Outbox
from bridge.vendors.cirrus.simulator.api import create_api
from bridge.vendors.cirrus.simulator.behaviour import DOCUMENTED, Behaviour, Plan
from bridge.vendors.cirrus.simulator.lifecycle import Lifecycle
from bridge.vendors.cirrus.simulator.sittings import ASSESSMENTS, Shown, Sitting, webhook_body

__all__ = ["Behaviour", "ExpectedAttempt", "Faults", "Plan", "Simulator", "Sitting", "sandbox"]

#: Ways to void an attempt [documented]; all end in the same result.
VOIDED_BY = ("invigilator", "marker", "publisher", "api")
_TRIES = 10


class Simulator:
    """One simulated Cirrus environment. Thread-safe; all randomness comes from `seed`, all time from `clock`.

    `quota_calls` of `/results` in every `quota_window` seconds, which begin `quota_resets_at` seconds after midnight
    UTC; calls beyond are refused and counted in `refused`. `wsgi` serves the API.
    """

    def __init__(
        self,
        seed: int,
        clock: Callable[[], float],
        *,
        token: str = "sandbox-token",  # noqa: S107 - of a simulated environment
        base_path: str = "/api/v1/integrations",
        quota_calls: int = 3000,
        quota_window: float = 86_400.0,
        quota_resets_at: float = 48_600.0,
        faults: Faults = NO_FAULTS,
        behaviour: Behaviour = DOCUMENTED,
    ) -> None:
        self.token, self.base_path = token, base_path
        #: What belongs in the configuration of a source.
        self.credentials: Mapping[str, str | tuple[str, ...]] = {"token": token}
        self.options: Mapping[str, Any] = {"identity": "attempt" if behaviour.external_attempts else "pair"}
        self.quota_calls, self.quota_window, self.quota_resets_at = quota_calls, quota_window, quota_resets_at
        self.faults, self.behaviour = faults, behaviour
        #: "broken" makes every API call fail.
        self.api_fault: str | None = None
        #: An inactive webhook sends nothing, not even later.
        self.active = True
        self.refused = 0
        self.lock = threading.RLock()
        self.now = clock
        self.schedules: dict[str, Plan] = {}
        self.sittings: dict[str, Sitting] = {}
        self._by_candidate: dict[str, list[Sitting]] = {}
        self.counter: Counter[str] = Counter()
        rng = Random(seed)  # noqa: S311 - invented data, must be repeatable
        self.outbox = Outbox(clock=clock, rng=rng, faults=faults, retry_schedule=_retry_schedule(rng, behaviour))
        self._lifecycle = Lifecycle(self, rng)
        self.wsgi: Flask = create_api(self)

    # What candidates do -------------------------------------------------------------------------------------------

    def finish(
        self, schedule: str, candidate: str, *, at: float, started: float | None = None, score: float, attempt: str = ""
    ) -> str:
        """A candidate hands an attempt in, at UNIX seconds; returns the attempt's id. Nobody has marked it yet."""
        with self.lock:
            sitting = self._sit_down(schedule, candidate, at, attempt)
            sitting.started, sitting.handed_in = at - 3600 if started is None else started, at
            sitting.score = score
            self.counter["completed"] += 1
            if self.behaviour.auto_publish:
                self.publish(sitting.attempt_id, at=at)
            return sitting.attempt_id

    def no_show(self, schedule: str, candidate: str, *, at: float) -> str:
        """A candidate does not come, and that is published; returns an id that must never become an event."""
        with self.lock:
            sitting = self._sit_down(schedule, candidate, at, "")
            self.publish(sitting.attempt_id, at=at)
            return sitting.attempt_id

    def _sit_down(self, schedule: str, candidate: str, at: float, attempt: str) -> Sitting:
        plan = self.schedules.setdefault(
            schedule, Plan(assessment=sorted(ASSESSMENTS)[sum(schedule.encode()) % 3], begins=at - 7200)
        )
        if candidate not in plan.candidates:
            plan.candidates.append(candidate)
        number = len(self.of(candidate, schedule)) + 1
        external = self.behaviour.external_attempts
        sitting = Sitting(
            schedule=schedule,
            candidate=candidate,
            assessment=plan.assessment,
            number=number,
            external=external,
            attempt=attempt or (f"att-{schedule}-{candidate}-{number}" if external else ""),
        )
        if sitting.attempt_id in self.sittings:
            raise ValueError(f"the attempt {sitting.attempt_id} exists. Give another attempt")
        self.sittings[sitting.attempt_id] = sitting
        self._by_candidate.setdefault(candidate, []).append(sitting)
        return sitting

    # What markers, publishers and invigilators do -----------------------------------------------------------------

    def publish(self, attempt_id: str, *, at: float | None = None) -> None:
        """A person publishes the current result. The webhook fires the first time, and when the result has changed."""
        with self.lock:
            sitting = self.sittings[attempt_id]
            before, shown = sitting.visible(), sitting.shown
            moves = shown is None or self.behaviour.published_moves
            published = (self.now() if at is None else at) if moves or shown is None else shown.published
            sitting.shown = Shown(score=sitting.score, published=published, voided=sitting.voided)
            self._changed(sitting, before)

    def grade(self, attempt_id: str, *, score: float | None = None) -> None:
        """A person marks the attempt and publishes the result."""
        with self.lock:
            sitting = self.sittings[attempt_id]
            sitting.score = sitting.score if score is None else score
            self.publish(attempt_id)

    def flag(self, attempt_id: str) -> None:
        """A published result is flagged for re-marking: its figures stay, under review."""
        self._review(attempt_id, "FLAGGED_FOR_REMARKING")

    def remark(self, attempt_id: str) -> None:
        """Somebody has begun to mark it again; `grade` ends that."""
        self._review(attempt_id, "REMARKING_IN_PROGRESS")

    def rescore(self, schedule: str, *, points: float) -> None:
        """All published results of a schedule are rescored, each with a webhook: a burst. The ids stay the same."""
        with self.lock:
            everybody = [sitting for name in self.schedules[schedule].candidates for sitting in self.of(name, schedule)]
            for sitting in everybody:
                if sitting.handed_in is not None and sitting.shown is not None and not sitting.voided:
                    most = ASSESSMENTS[sitting.assessment][0]
                    sitting.score = min(max(sitting.score + points, 0.0), most)
                    self.publish(sitting.attempt_id)

    def void(self, attempt_id: str, *, by: str = "publisher", published: bool = True) -> None:
        """The attempt no longer counts; that is visible once somebody publishes it."""
        if by not in VOIDED_BY:
            raise ValueError(f"{by} cannot void. Known: {', '.join(VOIDED_BY)}")
        with self.lock:
            self.sittings[attempt_id].voided = True
            if published:
                self.publish(attempt_id)

    def retake(self, attempt_id: str, *, at: float, score: float, schedule: str | None = None) -> str:
        """The same candidate sits again, in another schedule or, where it allows several attempts, in the same one."""
        first = self.sittings[attempt_id]
        return self.finish(schedule or first.schedule, first.candidate, at=at, score=score)

    def _review(self, attempt_id: str, word: str) -> None:
        with self.lock:
            sitting = self.sittings[attempt_id]
            if sitting.shown is None:
                raise ValueError(f"{attempt_id}: only a published result can be marked again")
            before = sitting.visible()
            sitting.shown = replace(sitting.shown, publish_status=word)
            self._changed(sitting, before, announce=self.behaviour.announce_remarking)

    def _changed(self, sitting: Sitting, before: tuple[Any, ...], *, announce: bool = True) -> None:
        if sitting.visible() == before:
            return
        sitting.versions.append(sitting.visible())
        failed = sitting.handed_in is None or sitting.voided or sitting.score < ASSESSMENTS[sitting.assessment][1]
        if not announce or not self.active or (self.behaviour.only_satisfactory and failed):
            return
        self.outbox.announce(*self.webhook(sitting.attempt_id), sitting.attempt_id)

    # What can be asked of it --------------------------------------------------------------------------------------

    def of(self, candidate: str | None, schedule: str | None = None, attempt: str | None = None) -> list[Sitting]:
        """The attempts that match everything given; without a candidate, those with that AttemptExtId."""
        with self.lock:
            rows = self.sittings.values() if candidate is None else self._by_candidate.get(candidate, ())
            return [
                sitting
                for sitting in rows
                if schedule in (None, sitting.schedule) and attempt in (None, sitting.attempt)
            ]

    def expected(self) -> dict[str, ExpectedAttempt]:
        """The truth about every attempt that was handed in, by attempt id; what is not published yet has no score."""
        with self.lock:
            expected = {}
            for attempt_id, sitting in self.sittings.items():
                if sitting.handed_in is None:
                    continue
                voided = sitting.shown is not None and sitting.shown.voided
                expected[attempt_id] = ExpectedAttempt(
                    finished_at=int(sitting.handed_in),
                    needs_grading=not voided and (sitting.shown is None or sitting.shown.publish_status != "FINAL"),
                    versions=len(sitting.versions),
                    sent=self.outbox.delivered[attempt_id],
                    lost=self.outbox.lost[attempt_id],
                    percentage=None if voided or sitting.shown is None else sitting.percentage,
                    voided=voided,
                )
            return expected

    def expectations(self) -> list[Mapping[str, str]]:
        """What a person would register: every candidate of every schedule, with the attempt's id where there is one."""
        with self.lock:
            return [self.expectation(attempt_id) for attempt_id in self.sittings]

    def expectation(self, attempt_id: str) -> Mapping[str, str]:
        """What a person would register for one attempt."""
        sitting = self.sittings[attempt_id]
        known = {"schedule": sitting.schedule, "candidate": sitting.candidate, "attempt": sitting.attempt}
        return {name: text for name, text in known.items() if text}

    def counts(self) -> dict[str, int]:
        """What has happened so far, webhooks as in `Outbox.tally`; `lost` are those about attempts handed in."""
        with self.lock:
            seen = {name: self.counter[name] for name in ("completed", "api_calls", "results_calls")}
            lost = sum(attempt.lost for attempt in self.expected().values())
            return seen | self.outbox.tally() | {"quota_refusals": self.refused, "lost": lost}

    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of the webhook about an attempt, as sent now."""
        with self.lock:
            body = webhook_body(self.sittings[attempt_id], self.behaviour.template)
            return json.dumps(body, ensure_ascii=False).encode(), {"Content-Type": "application/json"}

    # What happens on its own, and webhooks ------------------------------------------------------------------------

    def sit(self, now: float, *, candidate: int) -> str:
        """One candidate hands an attempt in at `now`; `tick` does the marking and what may follow when it is due."""
        return self._lifecycle.sit(now, candidate)

    def tick(self, now: float) -> None:
        """Do everything that people do by `now`."""
        self._lifecycle.tick(now)

    def idle(self) -> bool:
        """Whether nobody has anything left to do, and no webhook waits."""
        return self._lifecycle.idle() and not self.outbox.pending()

    def start_webhooks(self, url: str) -> None:
        """Send every webhook when it is due, and retry it; a test may take them from `outbox` instead."""
        self.outbox.start(url)

    def stop(self) -> None:
        """Stop sending webhooks; unsent ones are kept."""
        self.outbox.stop()

    def webhooks_pending(self) -> int:
        """Webhooks that wait for their time, their retry, or an answer."""
        return self.outbox.pending()


def sandbox(seed: int, clock: Callable[[], float], *, scale: float, faults: Faults) -> Simulator:
    """An environment for a demo in which everything happens `scale` times quicker.

    A rescoring may come days after the last recheck of a result, and no demo lasts that long: here nobody rescores.
    """
    behaviour = Behaviour(
        retry_unit=1 / scale,
        marking=(240 / scale, 720 / scale),
        changing=(600 / scale, 1200 / scale),
        rescored=0.0,
    )
    return Simulator(seed, clock, faults=faults, behaviour=behaviour)


def _retry_schedule(rng: Random, behaviour: Behaviour) -> tuple[float, ...]:
    """Delays by the vendor's printed formula, drawn once for all webhooks of an environment."""
    retries = _TRIES - 1 if behaviour.first_is_try else _TRIES
    return tuple(behaviour.retry_unit * round((n - 1) ** 4 + 15 + rng.randrange(30) * n) for n in range(1, retries + 1))
