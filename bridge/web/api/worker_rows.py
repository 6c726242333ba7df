"""What jobs of the worker have in common: periods of calls, sources of ids, and why a job waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.query import parse_moment
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.web.api.common import refuse, services_here

__all__ = ["NO_WORKER", "is_worker_running", "moment_of", "why_it_waits"]

NO_WORKER = "no worker runs. Remedy: start attempt-bridge worker and attempt-bridge beat"


def moment_of(document: Mapping[str, Any], name: str) -> float:
    """A time in a body, as UNIX seconds; refuses any other text with 422."""
    try:
        return parse_moment(document[name], services_here().now()) / 1000
    except ValueError as error:
        refuse(422, str(error), errors={name: [str(error)]})


def is_worker_running() -> bool:
    """Whether a worker has shown signs of life in the last seconds. Raises `StateUnavailable`."""
    with state_errors():
        return bool(services_here().state.exists(keys.heartbeat("worker")))


def why_it_waits(kind: str, ident: str) -> str:
    """Why a waiting job has not begun, in one line."""
    if not is_worker_running():
        return NO_WORKER
    others = [other for other in services_here().open_jobs.all() if other[0] == kind and other[1] != ident]
    return "a worker begins it, after the jobs that run now" if others else "a worker begins it within seconds"
