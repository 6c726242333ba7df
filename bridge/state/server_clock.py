"""The state server's clock, by which all processes agree on what is due."""

from __future__ import annotations

from collections.abc import Callable

import redis

from bridge import clock
from bridge.state.errors import state_errors

__all__ = ["ServerClock"]


class ServerClock:
    """This machine's clock, corrected by its difference from the state server's; uncorrected before `sync`."""

    def __init__(self, now: Callable[[], float] = clock.now) -> None:
        self._now = now
        self._ahead = 0.0

    def now(self) -> float:
        """UNIX seconds."""
        return self._now() + self._ahead

    def sync(self, client: redis.Redis) -> None:
        """Read the state server's clock; call it every few seconds. Raises `StateUnavailable`."""
        before = self._now()
        with state_errors():
            seconds, micros = client.time()
        self._ahead = seconds + micros / 1e6 - (before + self._now()) / 2
