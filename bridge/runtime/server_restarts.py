"""Starts the embedded server again when it has ended, however often that fails: a full disk must not end `up`."""

from __future__ import annotations

from collections.abc import Callable

from bridge import clock
from bridge.errors import BridgeError, clip
from bridge.runtime.supervisor import QUICK_SECONDS, restart_delay
from bridge.state.embedded_server import EmbeddedServer

__all__ = ["ServerRestarts"]

#: Longest wait before the next try: webhooks get a 503 meanwhile.
_LONGEST_DELAY_SECONDS = 5.0
#: How often the same problem is repeated.
_REMINDER_SECONDS = 60.0
#: How often the server's progress is recorded.
_RECORD_SECONDS = 30.0


class ServerRestarts:
    """Call `check` a few times a second. `show(name, line)` prints a line."""

    def __init__(
        self, server: EmbeddedServer, show: Callable[[str, str], None], *, now: Callable[[], float] = clock.monotonic
    ) -> None:
        self._server = server
        self._show = show
        self._now = now
        self._started_at = now()
        self._start_at = 0.0
        self._quick_ends = 0
        self._problem = ""
        self._next_reminder = 0.0
        self._next_record = now() + _RECORD_SECONDS

    def check(self) -> None:
        """Start the server if it does not run and the next try is due."""
        now = self._now()
        if now < self._start_at:
            return
        try:
            if self._server.running():
                if now >= self._next_record:
                    self._next_record = now + _RECORD_SECONDS
                    self._server.record_use()
                return
            self._quick_ends = self._quick_ends + 1 if now - self._started_at < QUICK_SECONDS else 1
            self._server.start()
        except (BridgeError, OSError) as error:
            self._report(clip(error, 300) if isinstance(error, BridgeError) else f"cannot start: {error.strerror}")
        else:
            if self._problem:
                self._show("up", "embedded server: started again")
            self._problem = ""
        self._started_at = self._now()
        self._start_at = self._started_at + min(restart_delay(self._quick_ends), _LONGEST_DELAY_SECONDS)

    def _report(self, problem: str) -> None:
        if problem == self._problem and self._now() < self._next_reminder:
            return
        self._problem, self._next_reminder = problem, self._now() + _REMINDER_SECONDS
        self._show("up", f"{problem}. Trying again every {_LONGEST_DELAY_SECONDS:g} s")
