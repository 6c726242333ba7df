"""A faithful Coremetrix for tests and demos: its report API as a WSGI app, the life of attempts, unsigned webhooks.

The bridge itself never needs it. It spells ids and times with its own code; `QUIRKS.md` has the facts behind each
switch.
"""

from __future__ import annotations

import heapq
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from flask import Flask

from bridge.sdk.simulator import NO_FAULTS, ExpectedAttempt, Faults, Outbox
from bridge.vendors.coremetrix.simulator.api import create_api
from bridge.vendors.coremetrix.simulator.attempts import QUIZZES, Attempt, Quiz, consent_body, event_body
from bridge.vendors.coremetrix.simulator.behaviour import AS_DOCUMENTED, Behaviour

__all__ = ["QUIZZES", "Attempt", "Behaviour", "ExpectedAttempt", "Faults", "Quiz", "Simulator", "sandbox"]


class Simulator:
    """One simulated Coremetrix account. Thread-safe; all randomness comes from `seed`, all time from `clock`.

    `quota_calls` in every `quota_window` seconds (sliding); `refused` counts the calls above it. `wsgi` serves the API.
    """

    def __init__(
        self,
        seed: int,
        clock: Callable[[], float],
        *,
        api_key: str = "sandbox-key",
        quota_calls: int = 60,
        quota_window: float = 60.0,
        faults: Faults = NO_FAULTS,
        behaviour: Behaviour = AS_DOCUMENTED,
    ) -> None:
        self.api_key = api_key
        self.credentials: Mapping[str, str | tuple[str, ...]] = {"api_key": api_key}
        self.options: Mapping[str, Any] = {}
        self.base_path = ""
        self.quota_calls, self.quota_window = quota_calls, quota_window
        self.faults, self.behaviour = faults, behaviour
        #: An HTTP status makes every API call fail with it.
        self.api_fault: int | None = None
        self.refused = 0
        self.lock = threading.RLock()
        self.now = clock
        self._seed = seed
        self._rng = Random(seed)  # noqa: S311 - invented data, must be repeatable
        self._serial = count(1)
        self._attempts: dict[str, Attempt] = {}
        self._sat: Counter[str] = Counter()
        self._scheduled: list[tuple[float, int, Callable[[], None]]] = []
        self.counter: Counter[str] = Counter()
        self.outbox = Outbox(clock=clock, rng=self._rng, faults=faults, retry_schedule=behaviour.retry_schedule)
        self.wsgi: Flask = create_api(self)

    # What people do -----------------------------------------------------------------------------------------------

    def begin(
        self,
        *,
        custom_id: str | None = None,
        quiz: Quiz = QUIZZES[0],
        loaded: float | None = None,
        started: float | None = None,
        test: bool = False,
    ) -> str:
        """Somebody agrees, opens the quiz and, if `started` is given, sends a first answer. Returns the id."""
        with self.lock:
            custom_id = custom_id or f"p-{next(self._serial):03}"
            self._sat[custom_id] += 1
            loaded = self.now() if loaded is None else loaded
            attempt = Attempt(
                id=str(uuid5(NAMESPACE_URL, f"coremetrix/{self._seed}/{custom_id}/{self._sat[custom_id]}")),
                custom_id=custom_id,
                quiz=quiz,
                created=self.now(),
                # The landing page's time is kept from an earlier visit, as in two samples: nine months.
                landing=loaded - self._rng.choice((20, 270 * 86_400)) if quiz.landing else None,
                load=loaded,
                start=started,
                test=test,
            )
            self._attempts[attempt.id] = attempt
            self.outbox.announce(*_printed(consent_body(custom_id, quiz, self.now(), given=True)), attempt.id)
            for event in ("landing_load",) * quiz.landing + ("quiz_load",) + ("quiz_start",) * (started is not None):
                self._announce(attempt, event)
            return attempt.id

    def complete(self, attempt_id: str, at: float | None = None) -> None:
        """The last answer is sent: completed, not yet scored, no flag."""
        with self.lock:
            attempt = self._attempts[attempt_id]
            attempt.end = self.now() if at is None else at
            attempt.start = attempt.end if attempt.start is None else attempt.start
            attempt.versions += 1
            self.counter["completed"] += 1
            self._announce(attempt, "quiz_complete")

    def grade(self, attempt_id: str, *, models: int | None = None, flags: tuple[str, ...] = ()) -> None:
        """The first `models` of the quiz's models score the attempt (default: all), or it is flagged, or both."""
        with self.lock:
            attempt = self._attempts[attempt_id]
            named = attempt.quiz.models[:models]
            attempt.scores = {model: self._score() for model in named}
            attempt.flags = flags
            attempt.versions += bool(named or flags)
            self._announce(attempt, "attempt_scored")
            self._announce(attempt, "attempt_profiled")

    def rescore(self, attempt_id: str) -> None:
        """Every model scores again; the vendor does not say whether that ever happens, so nothing is sent."""
        with self.lock:
            attempt = self._attempts[attempt_id]
            attempt.scores = {model: value + 1.5 for model, value in attempt.scores.items()}
            attempt.versions += 1

    def finish(
        self,
        *,
        custom_id: str | None = None,
        quiz: Quiz = QUIZZES[0],
        started: float | None = None,
        finished: float | None = None,
        scored: bool = True,
    ) -> str:
        """A whole attempt, finished at `finished` (default: now) and scored at once unless told otherwise."""
        with self.lock:
            finished = self.now() if finished is None else finished
            started = finished - 600 if started is None else started
            attempt_id = self.begin(custom_id=custom_id, quiz=quiz, loaded=started - 15, started=started)
            self.complete(attempt_id, finished)
            if scored:
                self.grade(attempt_id)
            return attempt_id

    def retake(self, attempt_id: str, *, finished: float | None = None) -> str:
        """The same person sits the same quiz again: another attempt under the same person."""
        first = self._attempts[attempt_id]
        return self.finish(custom_id=first.custom_id, quiz=first.quiz, finished=finished)

    def withdraw(self, attempt_id: str) -> None:
        """The person takes back the consent for this quiz; the API goes on listing, as far as is known."""
        with self.lock:
            first = self._attempts[attempt_id]
            names_quiz = self.behaviour.withdrawal_names_quiz
            body = consent_body(first.custom_id, first.quiz, self.now(), given=False, names_quiz=names_quiz)
            lost = self.outbox.counts["lost"]
            self.outbox.announce(*_printed(body), attempt_id)
            # Nothing else reports a withdrawal: if its webhook is lost, nobody can know of it.
            if self.outbox.counts["lost"] == lost:
                for attempt in self._attempts.values():
                    attempt.withdrawn |= (attempt.custom_id, attempt.quiz) == (first.custom_id, first.quiz)

    def forge(self) -> tuple[bytes, Mapping[str, str]]:
        """What anyone who knows the address can post: an attempt that this vendor has never seen."""
        stranger = Attempt(id=str(uuid5(NAMESPACE_URL, "forged")), custom_id="nobody", quiz=QUIZZES[0], created=0.0)
        return _printed(event_body(stranger, "attempt_scored", self.now(), id_member="attemptId", names_quiz=True))

    # What a demo does ---------------------------------------------------------------------------------------------

    def sit(self, now: float, *, candidate: int) -> str:
        """Candidate number `candidate` finishes a quiz now."""
        with self.lock:
            rng = Random(f"{self._seed}/{candidate}")  # noqa: S311 - invented data, must be repeatable
            quiz, fate = rng.choice(QUIZZES[:2]), rng.random()
            attempt_id = self.finish(custom_id=f"c-{candidate}", quiz=quiz, finished=now, scored=False)
            soon = now + self.behaviour.scored_after
            if fate < 0.10:
                self._later(soon, partial(self.grade, attempt_id, models=0, flags=("FAST_CLICK",)))
            elif fate < 0.25 and len(quiz.models) > 1:
                self._later(soon, partial(self.grade, attempt_id, models=1, flags=("THIN_DATA",)))
                self._later(soon + self.behaviour.scored_after, partial(self.grade, attempt_id))
            else:
                self._later(soon, partial(self.grade, attempt_id))
            if 0.85 <= fate < 0.92:
                self._later(soon + self.behaviour.scored_after, partial(self.rescore, attempt_id))
            elif fate >= 0.97:
                self._later(now + self.behaviour.withdrawn_after, partial(self.withdraw, attempt_id))
            return attempt_id

    def tick(self, now: float) -> None:
        """Do everything that was due by `now`: scores, second thoughts, withdrawals."""
        with self.lock:
            while self._scheduled and self._scheduled[0][0] <= now:
                heapq.heappop(self._scheduled)[2]()

    def idle(self) -> bool:
        """Whether nothing is due later, and no webhook waits."""
        with self.lock:
            return not self._scheduled and not self.webhooks_pending()

    # What can be asked of it --------------------------------------------------------------------------------------

    def expected(self) -> dict[str, ExpectedAttempt]:
        """The truth about every attempt that was finished, by attempt id."""
        with self.lock:
            return {
                attempt.id: ExpectedAttempt(
                    finished_at=int(attempt.end),
                    needs_grading=attempt.is_unsettled(self.now()),
                    versions=attempt.versions,
                    sent=self.outbox.delivered[attempt.id],
                    lost=self.outbox.lost[attempt.id],
                    percentage=None,
                    voided=attempt.withdrawn,
                )
                for attempt in self._attempts.values()
                if attempt.end is not None and not attempt.test
            }

    def expectations(self) -> list[Mapping[str, str]]:
        """Empty: the report API lists everything."""
        return []

    def counts(self) -> dict[str, int]:
        """What has happened so far, webhooks as in `Outbox.tally`."""
        with self.lock:
            seen = {name: self.counter[name] for name in ("completed", "api_calls")}
            return seen | {"quota_refusals": self.refused} | self.outbox.tally()

    def attempt(self, attempt_id: str) -> Attempt:
        """What the vendor keeps of an attempt."""
        return self._attempts[attempt_id]

    def visible(self, *, include_test: bool) -> list[Attempt]:
        """What the API may list now."""
        with self.lock:
            listed = (
                attempt for attempt in self._attempts.values() if attempt.created + self.behaviour.lag <= self.now()
            )
            return [attempt for attempt in listed if (include_test or not attempt.test) and not attempt.hidden]

    def webhook(self, attempt_id: str, event: str = "attempt_scored") -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of an event about an attempt."""
        behaviour = self.behaviour
        attempt = self._attempts[attempt_id]
        return _printed(
            event_body(attempt, event, self.now(), id_member=behaviour.id_member, names_quiz=behaviour.names_quiz)
        )

    # Webhooks -----------------------------------------------------------------------------------------------------

    def start_webhooks(self, url: str) -> None:
        """A subscription is made: everything is sent when it is due, what waited first."""
        self.outbox.start(url)

    def stop(self) -> None:
        """Stop sending webhooks; unsent ones are kept."""
        self.outbox.stop()

    def webhooks_pending(self) -> int:
        """Webhooks that wait for their time, their retry, or an answer."""
        return self.outbox.pending()

    def due_webhooks(self) -> list[tuple[bytes, Mapping[str, str]]]:
        """Everything that is due now, as if it was delivered: for stepping without threads."""
        taken = self.outbox.take_due()
        for message in taken:
            self.outbox.settle(message, delivered=True)
        return [(message.body, message.headers) for message in taken]

    def _announce(self, attempt: Attempt, event: str) -> None:
        self.outbox.announce(*self.webhook(attempt.id, event), attempt.id)

    def _later(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._scheduled, (moment, next(self._serial), action))

    def _score(self) -> float:
        return self._rng.uniform(180, 300)


def sandbox(seed: int, clock: Callable[[], float], *, scale: float, faults: Faults) -> Simulator:
    """An account for a demo in which everything happens `scale` times quicker."""
    behaviour = Behaviour(
        retry_schedule=(0.5, 1.0, 2.0, 5.0, 10.0), scored_after=480 / scale, withdrawn_after=2_400 / scale
    )
    return Simulator(seed, clock, quota_window=60.0 / scale, faults=faults, behaviour=behaviour)


def _printed(body: Mapping[str, Any]) -> tuple[bytes, Mapping[str, str]]:
    return json.dumps(body, separators=(",", ":")).encode(), {"Content-Type": "application/json"}
