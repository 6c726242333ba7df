"""Shared by commands that wait for a job of the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge import clock
from bridge.cli.api_client import CallFailed
from bridge.cli.exit_codes import UNAVAILABLE

__all__ = ["POLL_SECONDS", "NoWorker"]

POLL_SECONDS = 0.3
#: A job that no worker takes for this long is no longer followed: a restart takes less.
_PATIENCE_SECONDS = 15.0
_NO_WORKER = "no worker runs"


class NoWorker:
    """Ends a command whose job no worker takes, with one line. `ident`: of the job."""

    def __init__(self, ident: str) -> None:
        self._ident = ident
        self._since: float | None = None

    def check(self, row: Mapping[str, Any]) -> None:
        """To be called with every row of the job. Raises `CallFailed`."""
        if row["state"] != "waiting" or not row["waits"].startswith(_NO_WORKER):
            self._since = None
            return
        now = clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= _PATIENCE_SECONDS:
            raise CallFailed(f"{self._ident} waits: {row['waits']}", UNAVAILABLE)
