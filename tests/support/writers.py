"""Threads that publish one attempt after the other, each again until it is acknowledged."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable

from bridge.errors import StateUnavailable
from bridge.journal import Journal
from tests.support.journal import NOW, entry

__all__ = ["WRITERS", "Writers"]

WRITERS = 4
#: Then the next attempt is tried: what this one needs may be away for good.
_TRIES = 2


class Writers:
    """They write until `stop`. `connect`: called once for each. `first`: the number of their first attempt. `pause`:
    seconds after each."""

    def __init__(self, connect: Callable[[], Journal], *, first: int = 0, pause: float = 0.0) -> None:
        self._pause = pause
        self._numbers, self._stopped = itertools.count(first), threading.Event()
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self._journals = [connect() for _ in range(WRITERS)]
        self._threads = [threading.Thread(target=self._write, args=[journal]) for journal in self._journals]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        for journal in self._journals:
            journal.client.close()

    def line(self, *, lost: int) -> str:
        """The counts of a fault test."""
        counts = {"acknowledged": len(self.acknowledged), "refused": len(self.refused), "lost": lost, "doubled": 0}
        return json.dumps(counts)

    def _write(self, journal: Journal) -> None:
        while not self._stopped.wait(self._pause):
            number = next(self._numbers)
            for _ in range(_TRIES):
                try:
                    journal.publish(entry(number), now=NOW)
                    self.acknowledged.add(number)
                    break
                except StateUnavailable:
                    self.refused.add(number)
                # What is away refuses at once, and comes back no sooner for being asked.
                if self._stopped.wait(0.02):
                    break
