"""The bridge's own Celery tasks, translators of the other modules of `workers`, and when beat sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery

from bridge.config import queues
from bridge.config.model import PollConfig
from bridge.services import Services
from workers.inbound.messages import RECEIPT_TASK, Receipt
from workers.inbound.receipts import store
from workers.polling.overdue import announce_overdue
from workers.polling.poll import housekeeping, poll_once
from workers.polling.recheck import recheck
from workers.polling.reconcile import nightly
from workers.polling.watchdog import CHECK_SECONDS, check_sources, warn_of_backlogs

__all__ = ["ARGUMENTS", "RECHECK_TICK_SECONDS", "Tasks", "beat_schedule", "tick_seconds"]

#: How soon after a webhook's pointer the vendor is asked, seconds.
RECHECK_TICK_SECONDS = 2.0
#: Task -> how many arguments it takes, all of them text. The worker refuses every other task.
ARGUMENTS = {
    "bridge.poll": 1,
    "bridge.look": 0,
    "bridge.recheck": 1,
    "bridge.housekeeping": 0,
    "bridge.watch_over": 0,
    "bridge.reconcile": 0,
    RECEIPT_TASK: 2,
}
#: Longest time between two ticks of a source: how late a missed poll can get, seconds.
_LONGEST_TICK = 60.0

_log = structlog.get_logger(__name__)


class Tasks:
    """The tasks of one process. `stopping` ends running polls at the next page."""

    def __init__(self, app: Celery, services: Services, stopping: Callable[[], bool]) -> None:
        self._services = services
        self._stopping = stopping
        #: source -> when its watches are worth looking at again
        self._not_before: dict[str, float] = {}
        self._told_of_receipts = False
        _register(app, "bridge.poll", self.poll)
        _register(app, "bridge.look", self.look)
        self._recheck = _register(app, "bridge.recheck", self.recheck)
        _register(app, "bridge.housekeeping", self.housekeeping)
        _register(app, "bridge.watch_over", self.check_sources)
        _register(app, "bridge.reconcile", self.reconcile)
        # For one release: receivers that have not been told yet of the receipts' own queue.
        _register(app, RECEIPT_TASK, self.receipt)

    def poll(self, source_name: str) -> None:
        """One tick of a source. Watches first: what is overdue goes before what is new."""
        services = self._services
        source = services.config.sources.get(source_name)
        if source is None:
            _log.warning("unknown_source", source=source_name, remedy="restart beat after removing a source")
            return
        try:
            recheck(services, source_name, stopping=self._stopping)
        finally:
            poll_once(services, source_name, not_within=_not_within(source.poll), stopping=self._stopping)

    def look(self) -> None:
        """A short tick: starts looks where watches are due, so that a webhook's pointer is followed at once."""
        services, now = self._services, self._services.now()
        able = [name for name, source in services.config.sources.items() if not source.paused]
        for name in services.watches.sources_due(able, now):
            if self._not_before.get(name, 0.0) <= now:
                self._recheck.apply_async(args=[name], expires=RECHECK_TICK_SECONDS * 5)
        announce_overdue(services)

    def recheck(self, source_name: str) -> None:
        """Looks at the due watches of a source."""
        if source_name not in self._services.config.sources:
            return
        report = recheck(self._services, source_name, stopping=self._stopping)
        if report.retry_at is not None:
            # Never later than a minute: a pause may be ended by an operator.
            self._not_before[source_name] = min(report.retry_at, self._services.now() + _LONGEST_TICK)

    def housekeeping(self) -> None:
        """Forgets what is older than the configured retention."""
        report = housekeeping(self._services)
        _log.info(
            "housekeeping",
            events=report.events,
            requests=report.requests,
            dead_letters=report.dead_letters,
            attempts=report.attempts,
        )
        warn_of_backlogs(self._services)

    def reconcile(self) -> None:
        """Compares what is due tonight; decides itself what that is."""
        nightly(self._services, stopping=self._stopping)

    def check_sources(self) -> None:
        """Raises and ends the alarms of every source."""
        check_sources(self._services)

    def receipt(self, subscription: str, event_id: str) -> None:
        """A subscriber confirms an event through the worker's queue. Deprecated; logged once a process."""
        # The arguments were checked when the message was read. A receipt that the state server does not take here costs
        # one more sending, which is confirmed again.
        if not self._told_of_receipts:
            self._told_of_receipts = True
            _log.warning(
                "receipt_in_deprecated_queue",
                subscription=subscription,
                remedy=f"let the receiver write receipts to the queue {queues.RECEIPTS}",
            )
        store(self._services, Receipt(subscription, event_id))


def _register(app: Celery, name: str, method: Callable[..., None]) -> Any:
    # Celery makes the function an attribute of a class and takes a bound method's `self` for an argument.
    def run(*args: str) -> None:
        method(*args)

    return app.task(name=name)(run)


def tick_seconds(poll: PollConfig) -> float:
    """How often a source gets its tick: often enough for a poll that found somebody else polling."""
    return min(poll.every, _LONGEST_TICK)


def beat_schedule(services: Services) -> dict[str, dict[str, Any]]:
    """What beat sends. A tick that nobody took before the next one is worthless."""
    entries = {
        "housekeeping": _entry("bridge.housekeeping", 3600.0),
        "look": _entry("bridge.look", RECHECK_TICK_SECONDS),
    }
    entries["watch_over"] = _entry("bridge.watch_over", CHECK_SECONDS)
    entries["reconcile"] = _entry("bridge.reconcile", 3600.0)
    for name, source in services.config.sources.items():
        vendor = services.vendors[source.vendor]
        if source.paused or not (vendor.recheck or (vendor.polls and source.poll.enabled)):
            continue
        entries[f"poll {name}"] = _entry("bridge.poll", tick_seconds(source.poll), name)
    return entries


def _entry(task: str, every: float, *args: str) -> dict[str, Any]:
    # Ten seconds at least, for a worker that is just busy.
    return {"task": task, "schedule": every, "args": list(args), "options": {"expires": max(every, 10.0)}}


def _not_within(poll: PollConfig) -> float:
    # Half a tick of slack, or a tick that comes a moment early would skip its poll.
    return poll.every - tick_seconds(poll) / 2
