"""A faithful ClassMarker for tests and demos: its API as a WSGI app, its webhooks, its faults.

The bridge itself never needs it. It checks signatures and builds attempt ids with its own code; `QUIRKS.md` has the
facts behind each switch.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from flask import Flask

from bridge.sdk.simulator import NO_FAULTS, ExpectedAttempt, Faults, Outbox
from bridge.vendors.classmarker.simulator.api import create_api
from bridge.vendors.classmarker.simulator.sittings import Sitting, random_fields, verify_body, webhook_body

__all__ = ["Behaviour", "ExpectedAttempt", "Faults", "Simulator", "Sitting", "sandbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the vendor behaves where its pages leave room, or changed over the years.

    `digest`: sha256 or md5 of the API signature. `shape`: one of `sittings.SHAPES`. `inclusive`: "finished after" means
    "at or after". `next_below`: `next_finished_after_timestamp` is below the newest row. `lag`: seconds until a
    finished result is listed. `retry_schedule`: seconds between tries of a webhook. `graded_after`, `again_after`:
    seconds from a sitting to its grade, and to another finish after an administrator re-opened the test, which happens
    to a share of `again_share`.
    """

    digest: str = "sha256"
    shape: str = "2023"
    page_size: int = 200
    inclusive: bool = False
    next_below: bool = False
    newer_fields: bool = True
    lag: float = 0.0
    questions: bool = True
    doubled_header: bool = False
    verify_on_save: bool = True
    send_after_grading: bool = False
    retry_schedule: tuple[float, ...] = (5.0, 30.0, 300.0, 1800.0, 7200.0)
    clock_offset: float = 0.0
    graded_after: float = 2 * 86_400.0
    again_after: float = 3 * 86_400.0
    again_share: float = 0.04


class Simulator:
    """One simulated ClassMarker account. Thread-safe; all randomness comes from `seed`, all time from `clock`.

    `quota_calls` in every `quota_window` seconds (sliding), over all GET calls. `wsgi` serves the API.
    """

    def __init__(
        self,
        seed: int,
        clock: Callable[[], float],
        *,
        api_key: str = "sandbox-key",
        api_secret: str = "sandbox-secret",  # noqa: S107 - of a simulated account
        webhook_secret: str = "sandbox-phrase",  # noqa: S107 - of a simulated account
        quota_calls: int = 30,
        quota_window: float = 3600.0,
        faults: Faults = NO_FAULTS,
        behaviour: Behaviour = Behaviour(),
    ) -> None:
        self.api_key, self.api_secret, self.webhook_secret = api_key, api_secret, webhook_secret
        self.quota_calls, self.quota_window = quota_calls, quota_window
        self.faults, self.behaviour = faults, behaviour
        #: "maintenance" or "broken" makes every API call fail that way.
        self.api_fault: str | None = None
        self.access_lists: dict[int, set[str]] = {3301: set()}
        self.lock = threading.RLock()
        self._clock = clock
        self._to_come: list[tuple[float, str, str]] = []
        self.credentials: Mapping[str, str | tuple[str, ...]] = {
            "api_key": api_key,
            "api_secret": api_secret,
            "webhook_secret": (webhook_secret,),
        }
        self.options: Mapping[str, Any] = {}
        self.base_path = ""
        self._rng = Random(seed)  # noqa: S311 - invented data, must be repeatable
        self._link_results = count(81_234_567)
        self._sittings: dict[str, Sitting] = {}
        self._order: dict[str, list[tuple[int, str]]] = {"group": [], "link": []}
        self._versions: Counter[str] = Counter()
        self.counter: Counter[str] = Counter()
        self.outbox = Outbox(clock=self.now, rng=self._rng, faults=faults, retry_schedule=behaviour.retry_schedule)
        self.wsgi: Flask = create_api(self)

    def now(self) -> float:
        """UNIX seconds on the vendor's clock."""
        return self._clock() + self.behaviour.clock_offset

    # What candidates and administrators do ------------------------------------------------------------------------

    def finish(self, **fields: Any) -> str:
        """Somebody finishes a test: fields of `Sitting`; the rest is invented. Returns the attempt's id."""
        with self.lock:
            finished = int(fields.get("time_finished", self.now()))
            channel = fields.get("channel") or self._rng.choice(("group", "link"))
            invented = random_fields(self._rng, channel, finished)
            sitting = Sitting(**{**invented, **fields, "time_finished": finished})
            if channel == "link" and not sitting.link_result_id:
                sitting.link_result_id = next(self._link_results)
            while sitting.attempt_id in self._sittings:
                if "time_started" in fields or channel == "link":
                    raise ValueError(f"the sitting {sitting.attempt_id} exists. Give another start or result id")
                sitting.time_started -= 1
            self._sittings[sitting.attempt_id] = sitting
            insort(self._order[channel], (finished, sitting.attempt_id))
            self.counter["completed"] += 1
            self._announce(sitting)
            return sitting.attempt_id

    def finish_random(self, now: float | None = None) -> str:
        """An invented sitting finishes at `now` (UNIX seconds, default: the vendor's clock)."""
        return self.finish() if now is None else self.finish(time_finished=int(now))

    def grade(self, attempt_id: str, *, points_scored: float | None = None) -> None:
        """A person grades the essays: the score may change, `time_finished` does not move."""
        with self.lock:
            sitting = self._sittings[attempt_id]
            sitting.requires_grading = False
            if points_scored is None:
                points_scored = self._rng.randint(int(sitting.points_scored), int(sitting.points_available))
            sitting.points_scored = points_scored
            self._versions[attempt_id] += 1
            if self.behaviour.send_after_grading:
                self._announce(sitting, version=False)

    def retake(self, attempt_id: str, *, time_finished: float | None = None) -> str:
        """The same candidate sits the same test again: another attempt."""
        with self.lock:
            first = self._sittings[attempt_id]
            finished = int(time_finished or self.now())
            fields = {name: getattr(first, name) for name in Sitting.__slots__}
            return self.finish(
                **fields | {"link_result_id": 0, "time_finished": finished, "time_started": finished - 60}
            )

    def reopen(self, attempt_id: str, *, time_finished: float | None = None) -> None:
        """An administrator re-opens the test and the candidate finishes it again: later finish, same identity."""
        with self.lock:
            sitting = self._sittings[attempt_id]
            self._order[sitting.channel].remove((sitting.time_finished, attempt_id))
            sitting.time_finished = max(int(time_finished or self.now()), sitting.time_finished + 1)
            insort(self._order[sitting.channel], (sitting.time_finished, attempt_id))
            self._announce(sitting)

    # What a demo lets happen --------------------------------------------------------------------------------------

    def sit(self, now: float, *, candidate: int) -> str:
        """Candidate number `candidate` finishes a test now."""
        with self.lock:
            channel = self._rng.choice(("group", "link"))
            seconds = self._rng.randrange(90, 5400)
            attempt_id = self.finish(
                channel=channel,
                time_finished=now,
                time_started=int(now - seconds),
                **({"user_id": candidate} if channel == "group" else {"link_result_id": candidate}),
            )
            if self._sittings[attempt_id].requires_grading:
                heappush(self._to_come, (now + self.behaviour.graded_after, attempt_id, "grade"))
            if self._rng.random() < self.behaviour.again_share:
                heappush(self._to_come, (now + self.behaviour.again_after, attempt_id, "again"))
            return attempt_id

    def tick(self, now: float) -> None:
        """Do everything that was due by `now`."""
        with self.lock:
            while self._to_come and self._to_come[0][0] <= now:
                _, attempt_id, what = heappop(self._to_come)
                if what == "grade":
                    self.grade(attempt_id)
                else:
                    self.reopen(attempt_id, time_finished=now)

    def idle(self) -> bool:
        """Whether nothing is due later, and no webhook waits."""
        with self.lock:
            return not self._to_come and not self.webhooks_pending()

    def expectations(self) -> list[Mapping[str, str]]:
        """Polls find everything."""
        return []

    # What can be asked of it --------------------------------------------------------------------------------------

    def expected(self) -> dict[str, ExpectedAttempt]:
        """The truth about every attempt that was finished, by attempt id."""
        with self.lock:
            return {
                attempt_id: ExpectedAttempt(
                    finished_at=sitting.time_finished,
                    needs_grading=sitting.requires_grading,
                    versions=self._versions[attempt_id],
                    sent=self.outbox.delivered[attempt_id],
                    lost=self.outbox.lost[attempt_id],
                    percentage=sitting.percentage,
                )
                for attempt_id, sitting in self._sittings.items()
            }

    def counts(self) -> dict[str, int]:
        """What has happened so far, webhooks as in `Outbox.tally`."""
        with self.lock:
            names = ("completed", "api_calls", "quota_refusals")
            return {name: self.counter[name] for name in names} | self.outbox.tally()

    def sitting(self, attempt_id: str) -> Sitting:
        """What the vendor keeps of an attempt."""
        return self._sittings[attempt_id]

    def sittings(
        self, channel: str, after: float, *, place: int | None = None, test: int | None = None
    ) -> list[Sitting]:
        """What the API may list now: by finish, oldest first, later than `after` (or at it, if `inclusive`)."""
        with self.lock:
            first = int(after) if self.behaviour.inclusive else int(after) + 1
            rows = self._order[channel]
            listed = (self._sittings[key] for _, key in rows[bisect_left(rows, (first, "")) :])
            return [
                sitting
                for sitting in listed
                if place in (None, sitting.place_id)
                and test in (None, sitting.test_id)
                and sitting.time_finished + self.behaviour.lag <= self.now()
                and not sitting.hidden
            ]

    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of the webhook about an attempt as it is now, signed."""
        with self.lock:
            body = webhook_body(
                self._sittings[attempt_id], shape=self.behaviour.shape, questions=self.behaviour.questions
            )
            return self._signed(body)

    # Webhooks -----------------------------------------------------------------------------------------------------

    def start_webhooks(self, url: str) -> None:
        """The administrator saves the webhook: the canned sample is sent first, then every result when it is due."""
        if self.behaviour.verify_on_save:
            raw, headers = self._signed(verify_body())
            self.outbox.put(raw, headers)
        self.outbox.start(url)

    def stop(self) -> None:
        """Stop sending webhooks; unsent ones are kept."""
        self.outbox.stop()

    def webhooks_pending(self) -> int:
        """Webhooks that wait for their time, their retry, or an answer."""
        return self.outbox.pending()

    def _announce(self, sitting: Sitting, *, version: bool = True) -> None:
        if version:
            self._versions[sitting.attempt_id] += 1
        self.outbox.announce(*self.webhook(sitting.attempt_id), sitting.attempt_id)

    def _signed(self, document: Mapping[str, Any]) -> tuple[bytes, Mapping[str, str]]:
        # As PHP prints JSON: other letters as \u escapes, slashes escaped. Only the bytes as sent carry the signature.
        raw = json.dumps(document).replace("/", "\\/").encode()
        digest = hmac.new(self.webhook_secret.encode(), raw, hashlib.sha256).digest()
        value = base64.b64encode(digest).decode()
        if self.behaviour.doubled_header:
            value = f"{value}, {value}"
        return raw, {"Content-Type": "application/json", "X-Classmarker-Hmac-Sha256": value}


def sandbox(seed: int, clock: Callable[[], float], *, scale: float, faults: Faults) -> Simulator:
    """An account in which everything happens `scale` times quicker."""
    if scale == 1:
        return Simulator(seed, clock, faults=faults)
    return Simulator(
        seed,
        clock,
        quota_window=3600.0 / scale,
        faults=faults,
        behaviour=Behaviour(
            retry_schedule=(0.5, 1.0, 2.0, 5.0, 10.0), graded_after=840 / scale, again_after=960 / scale
        ),
    )
