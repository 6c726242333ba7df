"""How far a long command is: a bar on a terminal, a line now and then everywhere else; and how it is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from bridge import clock
from bridge.cli.output import iso, say
from bridge.polling.backfill_jobs import seconds_remaining

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from bridge.polling.backfill_jobs import Backfill
    from bridge.services import Services

__all__ = ["Screen", "progress_text", "stay_behind", "stoppable"]

#: What a process adds to its niceness; at 10 it gets about a tenth of a core that a normal one wants too.
_NICE = 10
#: Off a terminal: a line for every such part of the whole, and for every other reason to wait.
_PARTS = 10
#: Shorter waits are not announced with their end, seconds.
_SHORT = 3.0


def stay_behind() -> None:
    """For a long command beside live traffic: the processor goes to others first, and what the workers' code logs goes
    to stderr, only with -v: the command itself says what matters."""
    from bridge.monitoring import logs  # noqa: PLC0415 - `--help` must be quick

    os.nice(_NICE)
    verbose = click.get_current_context().find_root().params.get("verbose")
    logs.configure("info" if verbose else "critical")


@contextmanager
def stoppable(answer: str) -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM, which is answered; the second one stops at once."""
    asked = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say(answer)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress_text(
    job: Backfill, left: int, eta: float | None, why: str | None = None, until: float | None = None
) -> str:
    """What is read, what is to come, and why it waits. `left`: calls of the budget; `eta`: seconds; `until`: UNIX."""
    new = job.outcomes.get("published", 0) + job.outcomes.get("revised", 0)
    parts = [f"{job.pages:,} pages", f"{job.records:,} records", f"{new:,} new", f"{left:,} calls left"]
    if eta is not None:
        parts.append(f"about {_span(eta)} to go")
    text = ", ".join(parts)
    if why is None:
        return text
    return f"{text}; waits: {why}" if until is None else f"{text}; waits until {iso(until)}: {why}"


class Screen:
    """Shows one backfill on stderr while it runs; a context manager."""

    def __init__(self, services: Services, job: Backfill) -> None:
        from workers.polling.backfill import share  # noqa: PLC0415 - `--help` must be quick

        self._services = services
        self._source = services.config.sources[job.source]
        self._share = share
        self._began, self._begun_share = clock.monotonic(), share(services, job)
        self._said: tuple[int, str | None] = (-1, None)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Screen:
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - slow to import
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

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

    def show(self, job: Backfill, why: str | None, until: float | None) -> None:
        """As `workers.polling.backfill.Outside.show`."""
        now, share = self._services.now(), self._share(self._services, job)
        if until is not None and until - now < _SHORT:
            until = None
        left = self._services.budgets.status(job.source, self._source.budget, now).left
        eta = seconds_remaining(self._begun_share, share, clock.monotonic() - self._began)
        text = progress_text(job, left, eta, why, until)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=share, description=text)
        elif int(share * _PARTS) > self._said[0] or (why is not None and why != self._said[1]):
            self._said = (int(share * _PARTS), why)
            say(f"{share:4.0%}  {text}")


def _span(seconds: float) -> str:
    """Rounded for people: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
