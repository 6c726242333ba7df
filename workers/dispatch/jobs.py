"""The threads of a dispatch process for jobs of operators: replays and erasures in turn, and the move of memories."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.services import Services
from workers.dispatch.erasures import ErasureRunner
from workers.dispatch.repartition import RepartitionRunner
from workers.dispatch.replays import ReplayRunner

__all__ = ["job_threads"]

#: Seconds to wait after a fault of a job, and after one of the state server.
_IDLE_SECONDS, _AFTER_STATE_ERROR_SECONDS = 1.0, 1.0

_log = structlog.get_logger(__name__)


class _Runner(Protocol):
    def step(self, now: Callable[[], float]) -> float: ...

    def leave(self) -> None: ...


def job_threads(
    services: Services, now: Callable[[], float], token: str, stop: threading.Event
) -> list[threading.Thread]:
    """The threads that run all jobs until `stop`. `now`: UNIX seconds of the state server."""
    # They share the interpreter with the lanes: those that read and build events work no more than a third of the time.
    # The mover of memories waits for the state server most of the time anyway.
    runners: Sequence[_Runner] = (ReplayRunner(services, token), ErasureRunner(services, token))
    movers: Sequence[_Runner] = (RepartitionRunner(services, token),)
    return [
        threading.Thread(target=_run, args=(runners, now, stop, 2.0), daemon=True, name="jobs"),
        threading.Thread(target=_run, args=(movers, now, stop, 0.2), daemon=True, name="partitions"),
    ]


def _run(runners: Sequence[_Runner], now: Callable[[], float], stop: threading.Event, rest: float) -> None:
    """`rest`: seconds to wait for each second of work."""
    while not stop.is_set():
        began = clock.monotonic()
        wait = min(_step(runner, now) for runner in runners)
        stop.wait(max(wait, rest * (clock.monotonic() - began)))
    for runner in runners:
        try:
            runner.leave()
        except StateUnavailable as error:
            # Other processes continue the jobs when the leases expire.
            _log.warning("jobs_leave_failed", error=str(error))


def _step(runner: _Runner, now: Callable[[], float]) -> float:
    try:
        return runner.step(now)
    except StateUnavailable as error:
        _log.warning("jobs_state_unavailable", error=str(error))
        return _AFTER_STATE_ERROR_SECONDS
    except Exception as error:  # noqa: BLE001 - a job that another version wrote must not end the thread
        _log.error("jobs_faulty", runner=type(runner).__name__, exc_info=error)
        return _IDLE_SECONDS
