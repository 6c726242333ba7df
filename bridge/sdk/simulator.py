"""What every simulated vendor shares: faults, the truth that is checked against, and an outbox for its webhooks.

The bridge itself never needs it. Payloads, signatures and ids are each simulator's own business.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Protocol

import urllib3

__all__ = ["NO_FAULTS", "ExpectedAttempt", "Faults", "Outbox", "OutgoingWebhook", "SimulatedVendor"]

#: The clock may run at any speed, so waiting for a due time means looking again this often (real seconds).
_LOOK_EVERY = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong with webhooks. `lose`, `duplicate`: shares 0-1; `delay`: up to so many seconds late.

    `reorder`: a late webhook may be overtaken; otherwise lateness is passed on to those behind it.
    """

    lose: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: bool = False


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAttempt:
    """The truth of one attempt. `finished_at`: UNIX seconds; `needs_grading`: somebody still has to grade it.

    `versions`: results it has had; `sent`: webhooks answered 2xx; `lost`: never sent; `percentage`: of the last
    version, None where the vendor tells none; `voided`: it does not count any more.
    """

    finished_at: int
    needs_grading: bool
    versions: int
    sent: int
    lost: int
    percentage: float | None
    voided: bool = False


class SimulatedVendor(Protocol):
    """What demos and simulations use of any simulated vendor; `sandbox` in its package builds one.

    `credentials`, `options`: of a source that reads it. `wsgi` serves its API below `base_path`.
    `sit`: candidate number so and so finishes a test now; what follows from it (grading, publishing, another sitting)
    is done by `tick` when its time has come. Returns the attempt's id. `idle`: nothing is to follow, no webhook waits.
    `expected`: the truth by attempt id. `expectations`: references that operators would register; empty where polls
    find everything. `counts`: `completed`, `lost`, `duplicated` and more. Moments are UNIX seconds.
    """

    credentials: Mapping[str, str | tuple[str, ...]]
    options: Mapping[str, Any]
    base_path: str
    wsgi: Any
    outbox: Outbox

    def sit(self, now: float, *, candidate: int) -> str: ...
    def tick(self, now: float) -> None: ...
    def idle(self) -> bool: ...
    def expected(self) -> Mapping[str, ExpectedAttempt]: ...
    def expectations(self) -> Sequence[Mapping[str, str]]: ...
    def counts(self) -> Mapping[str, int]: ...
    def start_webhooks(self, url: str) -> None: ...
    def stop(self) -> None: ...


@dataclass(order=True, slots=True)
class OutgoingWebhook:
    """One webhook on its way. Bytes and headers never change between tries."""

    due: float
    serial: int
    body: bytes = field(compare=False, repr=False)
    headers: Mapping[str, str] = field(compare=False, repr=False)
    attempt_id: str | None = field(compare=False, default=None)
    tries: int = field(compare=False, default=0)


class Outbox:
    """Webhooks on their way: faults at the start, due times, retries with the same bytes.

    Either `start` sends them over HTTP in a few threads, or a test takes them with `take_due` and tells `settle` how it
    went. Anything but a 2xx is tried again after the next step of `retry_schedule`. `clock`: the vendor's UNIX seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        draw: Random,
        faults: Faults,
        retry_schedule: tuple[float, ...],
        timeout: float = 10.0,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._faults = faults
        self._retry_schedule = retry_schedule
        self._serial = count(1)
        self._last_due = 0.0
        self._http = urllib3.PoolManager(maxsize=8, timeout=timeout, retries=False)
        self._changed = threading.Condition()
        self._waiting: list[OutgoingWebhook] = []
        self._in_flight = 0
        self._stopping = False
        self._threads: list[threading.Thread] = []
        #: lost, duplicated, tries, sent, refused, given_up
        self.counts: Counter[str] = Counter()
        #: attempt id -> webhooks that were never sent.
        self.lost: Counter[str] = Counter()
        #: attempt id -> tries that were answered with 2xx.
        self.delivered: Counter[str] = Counter()

    def announce(self, body: bytes, headers: Mapping[str, str], attempt_id: str | None = None) -> None:
        """Hand a webhook over to the faults: it may be lost, doubled, late."""
        draw, faults = self._draw, self._faults
        # Always the same number of draws, so that one switch does not change everything behind it.
        lost, doubled = draw.random() < faults.lose, draw.random() < faults.duplicate
        dues = [self._clock() + draw.uniform(0, faults.delay) for _ in range(2)]
        with self._changed:
            if lost:
                self.counts["lost"] += 1
                if attempt_id is not None:
                    self.lost[attempt_id] += 1
                return
            if not faults.reorder:
                dues = [max(due, self._last_due) for due in dues]
                self._last_due = max(dues) if doubled else dues[0]
            self.counts["duplicated"] += doubled
        for due in dues if doubled else dues[:1]:
            self.put(body, headers, attempt_id, due=due)

    def put(self, body: bytes, headers: Mapping[str, str], attempt_id: str | None = None, *, due: float = 0.0) -> None:
        """Hand a webhook over that no fault touches; it waits until `due`, and until somebody sends or takes it."""
        with self._changed:
            heapq.heappush(self._waiting, OutgoingWebhook(due, next(self._serial), body, headers, attempt_id))
            self._changed.notify()

    def take_due(self) -> list[OutgoingWebhook]:
        """Every message that is due now, in order; each must come back through `settle`."""
        taken = []
        with self._changed:
            while self._waiting and self._waiting[0].due <= self._clock():
                self._in_flight += 1
                taken.append(heapq.heappop(self._waiting))
        return taken

    def settle(self, message: OutgoingWebhook, *, delivered: bool) -> None:
        """How a try went; a failed one waits for its next."""
        with self._changed:
            self._in_flight -= 1
            self._settle(message, delivered=delivered)

    def start(self, url: str) -> None:
        """Begin sending to `url`. One thread keeps the order; several let messages overtake each other."""
        self._stopping = False
        threads = 4 if self._faults.reorder else 1
        self._threads = [threading.Thread(target=self._run, args=(url,), daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the tries under way; what waits stays in hand for a later `start`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._http.clear()

    def pending(self) -> int:
        """Messages that wait or are being sent right now."""
        with self._changed:
            return len(self._waiting) + self._in_flight

    def tally(self) -> dict[str, int]:
        """What has happened to webhooks so far. `webhooks_sent`: tries answered 2xx; `webhooks_refused`: all others."""
        with self._changed:
            counts = self.counts
            return {name: counts[name] for name in ("lost", "duplicated", "given_up")} | {
                "webhooks_sent": counts["sent"],
                "webhooks_refused": counts["refused"],
            }

    def _run(self, url: str) -> None:
        while (message := self._next()) is not None:
            self.settle(message, delivered=self._post(url, message))

    def _next(self) -> OutgoingWebhook | None:
        with self._changed:
            while not self._stopping:
                if self._waiting and self._waiting[0].due <= self._clock():
                    self._in_flight += 1
                    return heapq.heappop(self._waiting)
                self._changed.wait(_LOOK_EVERY if self._waiting else 0.5)
            return None

    def _post(self, url: str, message: OutgoingWebhook) -> bool:
        try:
            answer = self._http.request("POST", url, body=message.body, headers=dict(message.headers))
        except urllib3.exceptions.HTTPError:
            return False  # no answer: the same as a bad one
        return 200 <= answer.status < 300

    def _settle(self, message: OutgoingWebhook, *, delivered: bool) -> None:
        self.counts["tries"] += 1
        if delivered:
            self.counts["sent"] += 1
            if message.attempt_id is not None:
                self.delivered[message.attempt_id] += 1
            return
        self.counts["refused"] += 1
        if message.tries < len(self._retry_schedule):
            message.due = self._clock() + self._retry_schedule[message.tries]
            message.tries += 1
            heapq.heappush(self._waiting, message)
        else:
            self.counts["given_up"] += 1
