"""The simulated vendor's webhook sender: due messages, retries with the same bytes, a few threads. No payloads."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import urllib3

__all__ = ["Message", "Sender"]

#: The clock may run at any speed, so waiting for a due time means looking again this often (real seconds).
_LOOK_EVERY = 0.02


@dataclass(order=True, slots=True)
class Message:
    """One webhook on its way. Bytes and headers never change between tries."""

    due: float
    serial: int
    body: bytes = field(compare=False, repr=False)
    headers: Mapping[str, str] = field(compare=False, repr=False)
    attempt_id: str | None = field(compare=False, default=None)
    tries: int = field(compare=False, default=0)


class Sender:
    """Sends messages when they are due; anything but a 2xx is tried again after the next step of `retry_schedule`."""

    def __init__(self, *, clock: Callable[[], float], retry_schedule: tuple[float, ...], timeout: float = 10.0) -> None:
        self._clock = clock
        self._retry_schedule = retry_schedule
        self._http = urllib3.PoolManager(maxsize=8, timeout=timeout, retries=False)
        self._changed = threading.Condition()
        self._waiting: list[Message] = []
        self._in_flight = 0
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self.counts: Counter[str] = Counter()
        #: attempt id -> tries that were answered with 2xx.
        self.delivered: Counter[str] = Counter()

    def put(self, message: Message) -> None:
        """Hand a message over; it waits until its due time and until the sender runs."""
        with self._changed:
            heapq.heappush(self._waiting, message)
            self._changed.notify()

    def start(self, url: str, *, threads: int) -> None:
        """Begin sending to `url`. One thread keeps the order; several let messages overtake each other."""
        self._stopping = False
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

    def _run(self, url: str) -> None:
        while (message := self._next()) is not None:
            delivered = self._post(url, message)
            with self._changed:
                self._in_flight -= 1
                self._settle(message, delivered=delivered)

    def _next(self) -> Message | None:
        with self._changed:
            while not self._stopping:
                if self._waiting and self._waiting[0].due <= self._clock():
                    self._in_flight += 1
                    return heapq.heappop(self._waiting)
                self._changed.wait(_LOOK_EVERY if self._waiting else 0.5)
            return None

    def _post(self, url: str, message: Message) -> bool:
        try:
            answer = self._http.request("POST", url, body=message.body, headers=dict(message.headers))
        except urllib3.exceptions.HTTPError:
            return False  # no answer: the same as a bad one
        return 200 <= answer.status < 300

    def _settle(self, message: Message, *, delivered: bool) -> None:
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
