"""The gate in front of the state server: while the server does not answer, webhooks get their 503 at once.

Without it, requests queue behind the time-outs of earlier ones: with a stalled server, the last 503 took 35 s. A probe
notices the server's return sooner than requests do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import redis

from bridge.errors import BridgeError, StateUnavailable, clip
from bridge.monitoring import logs
from bridge.state.errors import state_problem

__all__ = ["Gate", "failure_text", "unanswered"]


def unanswered(error: Exception) -> bool:
    """Whether the state server did not answer. An error that it returned concerns one request, not all."""
    return (
        isinstance(error, StateUnavailable)
        and isinstance(error.__cause__, redis.ConnectionError | redis.TimeoutError)
        and not isinstance(error.__cause__, redis.exceptions.MaxConnectionsError)
    )


class Gate:
    """Open while the state server answers a probe.

    `ping` raises `redis.RedisError` or `BridgeError`; it needs its own client, with a short time-out and no retries.
    Call `start` after forking. `every`: seconds between two probes. `one_server`: a request that got no answer closes
    it; on a cluster, that concerns only one server (see `shards.py`).
    """

    def __init__(self, ping: Callable[[], object], *, every: float = 0.25, one_server: bool = True) -> None:
        self._one_server = one_server
        self._ping = ping
        self._every = every
        self._failure: str | None = None
        self._stopped = threading.Event()
        self._log = logs.get_logger(__name__)

    @property
    def failure(self) -> str | None:
        """Why the gate is closed, None while it is open."""
        return self._failure

    def start(self) -> None:
        """Probe once, then repeatedly in the background until `stop`."""
        self.probe()
        threading.Thread(target=self._run, name="gate", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def check(self) -> None:
        """Raise `StateUnavailable` while the gate is closed."""
        if self._failure is not None:
            raise StateUnavailable(
                f"state server: {self._failure}. Remedy: run attempt-bridge doctor", reason="gate_closed"
            )

    def report(self, error: StateUnavailable) -> None:
        """Close the gate if a request failed because the server did not answer."""
        if self._one_server and unanswered(error):
            self._set(failure_text(error.__cause__ or error))

    def probe(self) -> None:
        """Ping the server once; open or close the gate."""
        try:
            self._ping()
        except StateUnavailable as error:
            self._set(failure_text(error.__cause__ or error))
        except Exception as error:  # noqa: BLE001 - if the probe died, the gate would stay as it is
            self._set(failure_text(error))
        else:
            self._set(None)

    def _run(self) -> None:
        while not self._stopped.is_set():
            time.sleep(self._every)
            self.probe()

    def _set(self, failure: str | None) -> None:
        previous, self._failure = self._failure, failure
        if failure is not None and previous is None:
            self._log.warning("state_unavailable", error=failure)
        elif failure is None and previous is not None:
            self._log.warning("state_available_again")


def failure_text(error: BaseException) -> str:
    """What went wrong, without text whose content is unknown."""
    if isinstance(error, BridgeError):
        return clip(error, 300)
    if problem := state_problem(error):
        return problem
    # Texts of Redis errors are safe to show: commands and limits. Other texts may hold anything.
    return f"{type(error).__name__}: {clip(error)}" if isinstance(error, redis.RedisError) else type(error).__name__
