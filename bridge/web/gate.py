"""The gate in front of the state server: while it does not answer, a webhook is refused at once instead of waiting.

Without it requests queue up behind the time-outs of those before them: with the server stalled, the last 503 came
after 35 s. Letting requests find out by themselves that the server is back was slower than a probe of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import redis

from bridge.errors import BridgeError, StateUnavailable, clip
from bridge.monitoring import logs
from bridge.net.tls import tls_problem

__all__ = ["Gate", "unanswered"]


def unanswered(error: Exception) -> bool:
    """Whether this is a state server that did not answer. What it did answer concerns one request, not all."""
    return (
        isinstance(error, StateUnavailable)
        and isinstance(error.__cause__, redis.ConnectionError | redis.TimeoutError)
        and not isinstance(error.__cause__, redis.exceptions.MaxConnectionsError)
    )


class Gate:
    """Open while the state server answers a probe.

    `ping` raises `redis.RedisError` or `BridgeError`; it needs a client of its own, with a short time-out and without
    retries. Start the probe after forking, by `start`. `every`: seconds between two probes.
    """

    def __init__(self, ping: Callable[[], object], *, every: float = 0.25) -> None:
        self._ping = ping
        self._every = every
        self._failure: str | None = None
        self._stopped = threading.Event()
        self._log = logs.get_logger("bridge.web.gate")

    @property
    def failure(self) -> str | None:
        """Why the gate is closed, None while it is open."""
        return self._failure

    def start(self) -> None:
        """Probe once, then go on in the background until `stop`."""
        self.probe()
        threading.Thread(target=self._run, name="gate", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def check(self) -> None:
        """Raise `StateUnavailable` while the gate is closed."""
        if self._failure is not None:
            raise StateUnavailable(f"state server: {self._failure}; run `attempt-bridge doctor`", reason="gate_closed")

    def report(self, error: StateUnavailable) -> None:
        """A request failed. Closes the gate if the server did not answer."""
        if unanswered(error):
            self._set(_failure(error.__cause__ or error))

    def probe(self) -> None:
        """Ask the server once and set the gate accordingly."""
        try:
            self._ping()
        except StateUnavailable as error:
            self._set(_failure(error.__cause__ or error))
        except Exception as error:  # noqa: BLE001 - whatever it is: a probe that ended would leave the gate as it was
            self._set(_failure(error))
        else:
            self._set(None)

    def _run(self) -> None:
        while not self._stopped.is_set():
            time.sleep(self._every)
            self.probe()

    def _set(self, failure: str | None) -> None:
        before, self._failure = self._failure, failure
        if failure is not None and before is None:
            self._log.warning("state_unavailable", error=failure)
        elif failure is None and before is not None:
            self._log.warning("state_available_again")


def _failure(error: BaseException) -> str:
    if isinstance(error, BridgeError):
        return clip(error, 300)
    if problem := tls_problem(error):
        return problem
    # The text of a server error names commands and limits; that of another one may hold anything.
    return f"{type(error).__name__}: {clip(error)}" if isinstance(error, redis.RedisError) else type(error).__name__
