"""What all simulated vendors share: faults, expected attempts to check against, and an outbox for webhooks.

The bridge itself never uses it. Payloads, signatures and ids belong to each simulator.
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

#: The clock may run at any speed, so due times are checked this often (real seconds).
_CHECK_INTERVAL = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong with webhooks."""

    #: Share of webhooks that are never sent, 0-1.
    lose: float = 0.0
    #: Share of webhooks that are sent twice, 0-1.
    duplicate: float = 0.0
    #: Maximum number of seconds by which a webhook is late.
    delay: float = 0.0
    #: A late webhook may be overtaken; otherwise it delays those behind it.
    reorder: bool = False


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAttempt:
    """One attempt as the simulated vendor knows it: what the bridge should publish."""

    #: UNIX seconds.
    finished_at: int
    #: A person has yet to grade it.
    needs_grading: bool
    #: Results it has had.
    versions: int
    #: Webhooks answered 2xx.
    sent: int
    #: Webhooks never sent.
    lost: int
    #: Of the last version; None if the vendor reports none.
    percentage: float | None
    #: It no longer counts.
    voided: bool = False


class SimulatedVendor(Protocol):
    """What demos and simulations use of a simulated vendor; `sandbox` in its package builds one.

    All times are UNIX seconds.
    """

    #: The credentials of a source that reads this vendor.
    credentials: Mapping[str, str | tuple[str, ...]]
    #: The options of such a source.
    options: Mapping[str, Any]
    #: Where `wsgi` serves the API.
    base_path: str
    #: The API, a WSGI application.
    wsgi: Any
    #: Webhooks that wait or are being sent.
    outbox: Outbox

    def sit(self, now: float, *, candidate: int) -> str:
        """A candidate, by number, finishes a test now; returns the attempt's id. `tick` does what follows later."""
        ...

    def tick(self, now: float) -> None:
        """Do everything that is due by now: grading, publishing, another sitting."""
        ...

    def idle(self) -> bool:
        """Whether nothing is due later and no webhook waits."""
        ...

    def expected(self) -> Mapping[str, ExpectedAttempt]:
        """Attempt id -> what the bridge should publish."""
        ...

    def expectations(self) -> Sequence[Mapping[str, str]]:
        """The references that operators would register; empty if polls find everything."""
        ...

    def counts(self) -> Mapping[str, int]:
        """`completed`, `lost`, `duplicated` and more."""
        ...

    def start_webhooks(self, url: str) -> None:
        """Begin sending webhooks to `url`."""
        ...

    def stop(self) -> None:
        """Stop sending."""
        ...


@dataclass(order=True, slots=True)
class OutgoingWebhook:
    """One webhook to be sent. Its bytes and headers are the same in every try."""

    #: When to send it, UNIX seconds.
    due: float
    #: Order among webhooks due at the same time.
    serial: int
    #: The bytes to send.
    body: bytes = field(compare=False, repr=False)
    #: The headers to send.
    headers: Mapping[str, str] = field(compare=False, repr=False)
    #: The attempt it is about, if any.
    attempt_id: str | None = field(compare=False, default=None)
    #: Failed tries so far.
    tries: int = field(compare=False, default=0)


class Outbox:
    """Webhooks to be sent: applies faults, keeps due times, retries with the same bytes.

    Either `start` sends them over HTTP in a few threads, or a test takes them with `take_due` and reports each result
    with `settle`. Anything but a 2xx is retried after the next step of `retry_schedule`. `clock`: the vendor's UNIX
    seconds. `rng`: decides which webhooks the faults affect.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        rng: Random,
        faults: Faults,
        retry_schedule: tuple[float, ...],
        timeout: float = 10.0,
    ) -> None:
        self._clock = clock
        self._rng = rng
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
        #: Attempt id -> webhooks that were never sent.
        self.lost: Counter[str] = Counter()
        #: Attempt id -> tries that were answered 2xx.
        self.delivered: Counter[str] = Counter()

    def announce(self, body: bytes, headers: Mapping[str, str], attempt_id: str | None = None) -> None:
        """Add a webhook, subject to the faults: it may be lost, duplicated or late."""
        rng, faults = self._rng, self._faults
        # Always the same number of draws, so that changing one fault leaves later draws the same.
        lost, duplicated = rng.random() < faults.lose, rng.random() < faults.duplicate
        dues = [self._clock() + rng.uniform(0, faults.delay) for _ in range(2)]
        with self._changed:
            if lost:
                self.counts["lost"] += 1
                if attempt_id is not None:
                    self.lost[attempt_id] += 1
                return
            if not faults.reorder:
                dues = [max(due, self._last_due) for due in dues]
                self._last_due = max(dues) if duplicated else dues[0]
            self.counts["duplicated"] += duplicated
        for due in dues if duplicated else dues[:1]:
            self.put(body, headers, attempt_id, due=due)

    def put(self, body: bytes, headers: Mapping[str, str], attempt_id: str | None = None, *, due: float = 0.0) -> None:
        """Add a webhook that no fault affects; it waits until `due`, UNIX seconds."""
        with self._changed:
            heapq.heappush(self._waiting, OutgoingWebhook(due, next(self._serial), body, headers, attempt_id))
            self._changed.notify()

    def take_due(self) -> list[OutgoingWebhook]:
        """Every webhook that is due now, in order; report the result of each with `settle`."""
        taken = []
        with self._changed:
            while self._waiting and self._waiting[0].due <= self._clock():
                self._in_flight += 1
                taken.append(heapq.heappop(self._waiting))
        return taken

    def settle(self, message: OutgoingWebhook, *, delivered: bool) -> None:
        """Report the result of a try; a failed webhook waits for its next try."""
        with self._changed:
            self._in_flight -= 1
            self._settle(message, delivered=delivered)

    def start(self, url: str) -> None:
        """Begin sending to `url`: one thread keeps the order, several let webhooks overtake each other."""
        self._stopping = False
        threads = 4 if self._faults.reorder else 1
        self._threads = [threading.Thread(target=self._run, args=(url,), daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the tries in progress; waiting webhooks remain for a later `start`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._http.clear()

    def pending(self) -> int:
        """The number of webhooks that wait or are being sent."""
        with self._changed:
            return len(self._waiting) + self._in_flight

    def tally(self) -> dict[str, int]:
        """Webhooks and tries so far. `webhooks_sent`: tries answered 2xx; `webhooks_refused`: all others."""
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
                self._changed.wait(_CHECK_INTERVAL if self._waiting else 0.5)
            return None

    def _post(self, url: str, message: OutgoingWebhook) -> bool:
        try:
            answer = self._http.request("POST", url, body=message.body, headers=dict(message.headers))
        except urllib3.exceptions.HTTPError:
            return False  # no answer counts as a refusal
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
