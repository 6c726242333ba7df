"""Progress of a long command: a bar on a terminal, an occasional line elsewhere; and how it is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from bridge import clock
from bridge.cli.output import iso, say
from bridge.journal import PUBLISHED_OUTCOMES
from bridge.monitoring import logs
from bridge.monitoring.backfill_rows import share
from bridge.polling.backfill_jobs import Backfill, seconds_remaining
from bridge.services import Services

__all__ = ["ProgressScreen", "Screen", "lower_priority", "progress_text", "stoppable"]

#: Added to the niceness; at 10 a process gets about a tenth of a core that a normal process wants too.
_NICE = 10
#: Lines printed over the whole period if stderr is not a terminal, besides one for every new reason to wait.
_LINES = 10
#: Seconds; the end of a shorter wait is not shown.
_SHORT_WAIT = 3.0


def lower_priority() -> None:
    """Give live traffic priority over this long command, and show the log of the workers' code only with -v."""
    os.nice(_NICE)
    verbose = click.get_current_context().find_root().params.get("verbose")
    logs.configure("info" if verbose else "critical")


@contextmanager
def stoppable(message: str) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, printing `message`; the second one stops at once."""
    stop = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say(message)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def progress_text(
    job: Backfill, left: int, eta: float | None, why: str | None = None, until: float | None = None
) -> str:
    """What is read, what is left, and why it waits. `left`: calls of the budget; `eta`: seconds; `until`: UNIX."""
    new = sum(job.outcomes.get(outcome, 0) for outcome in PUBLISHED_OUTCOMES)
    parts = [f"{job.pages:,} pages", f"{job.records:,} records", f"{new:,} new", f"{left:,} calls left"]
    if eta is not None:
        parts.append(f"about {_rounded(eta)} left")
    text = ", ".join(parts)
    if why is None:
        return text
    return f"{text}; waiting: {why}" if until is None else f"{text}; waiting until {iso(until)}: {why}"


class Screen:
    """Shows one backfill on stderr while it runs; a context manager. `read`: the share of it that is already read."""

    def __init__(self, read: float) -> None:
        self._started, self._share_at_start = clock.monotonic(), read
        self._last_line: tuple[int, str | None] = (-1, None)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=Console(file=sys.stderr))
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, job: Backfill, read: float, left: int, why: str | None, until: float | None, now: float) -> None:
        """Show how far it is. `read`: the share, 0 to 1. `left`: calls. `why`, `until`: as `BackfillCallbacks.show`."""
        if until is not None and until - now < _SHORT_WAIT:
            until = None
        eta = seconds_remaining(self._share_at_start, read, clock.monotonic() - self._started)
        text = progress_text(job, left, eta, why, until)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=read, description=text)
        elif int(read * _LINES) > self._last_line[0] or (why is not None and why != self._last_line[1]):
            self._last_line = (int(read * _LINES), why)
            say(f"{read:4.0%}  {text}")


class ProgressScreen(Screen):
    """Shows one backfill that runs in this process."""

    def __init__(self, services: Services, job: Backfill) -> None:
        super().__init__(share(services, job))
        self._services = services
        self._source = services.config.sources[job.source]

    def show(self, job: Backfill, why: str | None, until: float | None) -> None:
        """As `BackfillCallbacks.show`."""
        now = self._services.now()
        left = self._services.budgets.status(job.source, self._source.budget, now).left
        self.update(job, share(self._services, job), left, why, until, now)


def _rounded(seconds: float) -> str:
    """Rounded for people: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
