"""Webhooks without a pause while state servers fail: how each was answered, and what was acknowledged."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from types import TracebackType
from typing import NamedTuple

from tests.support.comparison import Attempt
from tests.support.web import Web, post, result

__all__ = ["ANSWER_SECONDS", "Answered", "Traffic"]

#: The longest that a vendor is to wait for an answer.
ANSWER_SECONDS = 3.0
#: Between two webhooks; the second one while they are refused.
_PAUSE_SECONDS, _REFUSED_SECONDS = 0.02, 0.1


class Answered(NamedTuple):
    """A webhook with the number of its attempt: when it was sent (monotonic), seconds until its answer, the status."""

    number: int
    sent: float
    seconds: float
    status: int


class Traffic:
    """Senders that send one webhook after the other from `with` on until its end.

    A webhook that is not answered 200 is sent again with the next number, as a vendor would. What is no answer within
    `ANSWER_SECONDS` is counted as status 0.
    """

    def __init__(self, web: Web, *, first: int = 1, senders: int = 4) -> None:
        web.timeout = ANSWER_SECONDS
        self._web = web
        self._numbers = itertools.count(first)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(senders)]
        #: (source, attempt id) of each webhook that was answered 200.
        self.acked: set[Attempt] = set()
        self.answers: list[Answered] = []
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def line(self) -> dict[str, object]:
        """For the line of counts of a fault test."""
        return {"answers": dict(self.statuses), "slowest": round(self.slowest, 2)}

    def _send(self) -> None:
        waiting: list[int] = []
        while not self._stop.is_set():
            for number in (next(self._numbers), *waiting[:1]):
                if is_acked := self._is_acked(number):
                    waiting = [each for each in waiting if each != number]
                elif number not in waiting:
                    waiting.append(number)
            self._stop.wait(_PAUSE_SECONDS if is_acked else _REFUSED_SECONDS)
        while waiting and self._is_acked(waiting[-1]):
            waiting.pop()

    def _is_acked(self, number: int) -> bool:
        started = time.monotonic()
        try:
            status = self._web.exchange(post("/webhooks/eu", result(number))).status
        except OSError:
            status = 0
        with self._lock:
            self.answers.append(Answered(number, started, time.monotonic() - started, status))
            self.slowest = max(self.slowest, self.answers[-1].seconds)
            self.statuses[status] += 1
            if status == 200:
                self.acked.add(("eu", f"link:{number}"))
        return status == 200
