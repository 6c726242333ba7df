"""The bridge's own Celery tasks, and when beat sends them. Each calls a function of another module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery

from bridge.config import queues
from bridge.config.model import PollConfig
from bridge.delivery.receipts import Receipt
from bridge.sdk.vendor import streams
from bridge.services import Services
from workers.inbound.messages import RECEIPT_TASK
from workers.inbound.receipts import record_receipt
from workers.polling.jobs import JobRunner
from workers.polling.overdue import announce_overdue
from workers.polling.poll import housekeeping, poll_once
from workers.polling.recheck import recheck
from workers.polling.reconcile import nightly
from workers.polling.subscription_watchdog import check_subscriptions
from workers.polling.watchdog import CHECK_SECONDS, check_sources, warn_of_backlogs

__all__ = ["ARGUMENTS", "RECHECK_TICK_SECONDS", "Tasks", "beat_schedule", "tick_seconds"]

#: Interval of the task that starts due rechecks: how soon a webhook's pointer is followed, seconds.
RECHECK_TICK_SECONDS = 2.0
#: Task -> number of its arguments, all of them text. The worker refuses every other task.
ARGUMENTS = {
    "bridge.poll": 1,
    "bridge.look": 0,
    "bridge.recheck": 1,
    "bridge.housekeeping": 0,
    "bridge.watch_over": 0,
    "bridge.reconcile": 0,
    "bridge.job": 2,
    RECEIPT_TASK: 2,
}
#: Longest time between two ticks of a source: how late a missed poll can be, seconds.
_LONGEST_TICK = 60.0

_log = structlog.get_logger(__name__)


class Tasks:
    """The tasks of one process. `stopping`: whether running polls must end at the next page."""

    def __init__(self, app: Celery, services: Services, stopping: Callable[[], bool]) -> None:
        self._services = services
        self._stopping = stopping
        #: Source -> UNIX seconds before which rechecking its watches is useless.
        self._not_before: dict[str, float] = {}
        self._told_of_receipts = False
        self._poll = _register(app, "bridge.poll", self.poll)
        _register(app, "bridge.look", self.start_due_rechecks)
        self._recheck = _register(app, "bridge.recheck", self.recheck)
        _register(app, "bridge.housekeeping", self.housekeeping)
        _register(app, "bridge.watch_over", self.check_sources)
        _register(app, "bridge.reconcile", self.reconcile)
        self._jobs = JobRunner(services, stopping)
        self._job = _register(app, "bridge.job", self.job)
        # For one release only: for receivers that do not use the separate queue of receipts yet.
        _register(app, RECEIPT_TASK, self.receipt)

    def poll(self, source_name: str) -> None:
        """One tick of a source: rechecks, then polls, because overdue attempts take precedence over new ones.

        A poll that an operator asked for does not wait for the source's interval.
        """
        services = self._services
        source = services.config.sources.get(source_name)
        if source is None:
            _log.warning("unknown_source", source=source_name, remedy="attempt-bridge config reload")
            return
        try:
            recheck(services, source_name, stopping=self._stopping)
        finally:
            asked = services.polls_asked.take(source_name)
            not_within = 0.0 if asked else _not_within(source.poll)
            report = poll_once(services, source_name, not_within=not_within, stopping=self._stopping)
            if asked and report.outcome == "busy":
                services.polls_asked.ask(source_name)

    def start_due_rechecks(self) -> None:
        """A short tick: starts rechecks where watches are due, so that a webhook's pointer is followed at once.

        It also starts the polls and the jobs that operators have asked for.
        """
        services, now = self._services, self._services.now()
        for name in services.polls_asked.all():
            self._poll.apply_async(args=[name], expires=RECHECK_TICK_SECONDS * 5)
        for kind, ident in services.open_jobs.all():
            self._job.apply_async(args=[kind, ident], expires=RECHECK_TICK_SECONDS * 5)
        active = [name for name, source in services.config.sources.items() if not source.paused]
        for name in active:
            services.source_clock.follow(name, now)
        for name in services.watches.sources_due(active, now):
            # If it is further ahead than possible, the clock was set back.
            if not 0 < self._not_before.get(name, 0.0) - now <= _LONGEST_TICK:
                self._recheck.apply_async(args=[name], expires=RECHECK_TICK_SECONDS * 5)
        announce_overdue(services)

    def recheck(self, source_name: str) -> None:
        """Rechecks the due watches of a source."""
        if source_name not in self._services.config.sources:
            return
        report = recheck(self._services, source_name, stopping=self._stopping)
        if report.retry_at is not None:
            # At most a minute, because an operator may end a pause.
            self._not_before[source_name] = min(report.retry_at, self._services.now() + _LONGEST_TICK)

    def housekeeping(self) -> None:
        """Deletes everything older than the configured retention."""
        report = housekeeping(self._services)
        _log.info(
            "housekeeping",
            events=report.events,
            requests=report.requests,
            dead_letters=report.dead_letters,
            deliveries=report.deliveries,
            attempts=report.attempts,
        )
        for name, number in report.unsent.items():
            _log.warning(
                "events_deleted_unsent",
                subscription=name,
                events=number,
                remedy=f"it is paused or disabled: attempt-bridge subscriptions resume {name}",
            )
        warn_of_backlogs(self._services)

    def reconcile(self) -> None:
        """Reconciles the sources that are due tonight."""
        nightly(self._services, stopping=self._stopping)

    def job(self, kind: str, ident: str) -> None:
        """Runs a job that was asked for over the API."""
        self._jobs.run(kind, ident)

    def check_sources(self) -> None:
        """Raises and ends the alarms of every source."""
        check_sources(self._services)
        check_subscriptions(self._services)

    def receipt(self, subscription: str, event_id: str) -> None:
        """Takes a receipt that came through the worker's queue. Deprecated; logged once per process."""
        # The arguments were checked when the message was read. If the state server loses a receipt, the event is sent
        # once more and confirmed again.
        if not self._told_of_receipts:
            self._told_of_receipts = True
            _log.warning(
                "receipt_in_deprecated_queue",
                subscription=subscription,
                remedy=f"let the receiver write receipts to the queue {queues.RECEIPTS}",
            )
        record_receipt(self._services, Receipt(subscription, event_id))


def _register(app: Celery, name: str, method: Callable[..., None]) -> Any:
    # Celery makes the function an attribute of a class, and would count a bound method's `self` as an argument.
    def run(*args: str) -> None:
        method(*args)

    # Not a shared task: every other Celery application in this process would get it too.
    return app.task(name=name, shared=False)(run)


def tick_seconds(poll: PollConfig) -> float:
    """Seconds between two ticks of a source: often enough to repeat a poll that found the source busy."""
    return min(poll.every, _LONGEST_TICK)


def beat_schedule(services: Services) -> dict[str, dict[str, Any]]:
    """The tasks that beat sends. They expire: a tick is useless once the next one has come."""
    entries = {
        "housekeeping": _entry("bridge.housekeeping", 3600.0),
        "due rechecks": _entry("bridge.look", RECHECK_TICK_SECONDS),
        "check sources": _entry("bridge.watch_over", CHECK_SECONDS),
        "reconcile": _entry("bridge.reconcile", 3600.0),
    }
    for name, source in services.config.sources.items():
        vendor = services.vendors[source.vendor]
        if source.paused or not (vendor.recheck or (source.poll.enabled and streams(vendor, source.options))):
            continue
        entries[f"poll {name}"] = _entry("bridge.poll", tick_seconds(source.poll), name)
    return entries


def _entry(task: str, every: float, *args: str) -> dict[str, Any]:
    # At least ten seconds, for a worker that is busy.
    return {"task": task, "schedule": every, "args": list(args), "options": {"expires": max(every, 10.0)}}


def _not_within(poll: PollConfig) -> float:
    # Half a tick of slack: a tick that comes a little early would otherwise skip its poll.
    return poll.every - tick_seconds(poll) / 2
