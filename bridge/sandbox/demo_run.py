"""One run of a demo: candidates take tests while figures and the verdict are collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from bridge import clock
from bridge.delivery.store import SubscriptionState
from bridge.errors import Retryable
from bridge.journal import WEBHOOK, StoredEvent
from bridge.sandbox.board import Figures, collect
from bridge.sandbox.candidates import Candidates
from bridge.sandbox.conditions import Conditions
from bridge.sandbox.subscribers import Inbox
from bridge.sandbox.vendors import RunningVendor
from bridge.sandbox.verdict import Name, problems
from bridge.sdk.simulator import ExpectedAttempt
from bridge.services import Services

__all__ = ["DemoRun"]

_DAY = 86_400
_FIGURES_EVERY = 1.0
#: Seconds after which an expected attempt is due, and overdue.
_EXPECTED_AFTER, _EXPECTED_FOR = 10.0, 3600.0


class _Readiness(Protocol):
    @property
    def ready(self) -> bool: ...

    def check(self) -> None: ...


class _Screen(Protocol):
    def show(self, figures: Figures) -> None: ...


class DemoRun:
    """One run, driven by `step` several times a second. `problems` is the latest verdict of a `once` run."""

    def __init__(
        self,
        conditions: Conditions,
        services: Services,
        vendors: Mapping[str, RunningVendor],
        *,
        run: int,
        inbox: Inbox,
        webhook_urls: Mapping[str, str],
    ) -> None:
        self.figures: Figures | None = None
        self.problems: list[str] = []
        self._conditions = conditions
        self._simulators = {name: vendor.simulator for name, vendor in vendors.items()}
        self._inbox = inbox
        self._webhook_urls = webhook_urls
        self._services = services
        self._registered: Counter[str] = Counter()
        self._reader = services.journal_tail
        self._deliveries = services.deliveries
        self._candidates = Candidates(
            self._simulators, run=run, per_second=conditions.per_second, attempts=conditions.attempts
        )
        self._started_at: float | None = None
        self._finished_at: float | None = None
        self._next_figures = 0.0
        self._events: dict[str, StoredEvent] = {}
        self._first_states: dict[str, SubscriptionState] = {}
        self._first_counts: dict[tuple[str, str, str], int] = {}

    def step(self, readiness: _Readiness, screen: _Screen) -> str | None:
        """Do everything due; "done" when a `once` run has its verdict."""
        readiness.check()
        if not readiness.ready:
            return None
        now = clock.now()
        if self._started_at is None:
            self._start(now)
        self._candidates.step(now)
        self._register(now)
        if now < self._next_figures:
            return None
        self._next_figures = now + _FIGURES_EVERY
        try:
            self.figures = self._collect(now)
            screen.show(self.figures)
            return self._judge(now) if self._conditions.once and self._candidates.done else None
        except Retryable:
            # The supervisor is restarting the state server; the next step tries again.
            return None

    def _start(self, now: float) -> None:
        self._first_states = self._states(now)
        self._first_counts = self._counts(now)
        self._started_at = now
        for name, url in self._webhook_urls.items():
            self._simulators[name].start_webhooks(url)

    def _register(self, now: float) -> None:
        """Register expected attempts, as an operator would, at vendors without lists."""
        services = self._services
        for name, simulator in self._simulators.items():
            new = simulator.expectations()[self._registered[name] :]
            expect, options = services.vendors[name].expect, services.config.sources[name].options
            if not new or expect is None:
                continue
            try:
                services.expectations.expect(
                    name,
                    [expect(reference, options) for reference in new],
                    label=None,
                    due=now + _EXPECTED_AFTER,
                    deadline=now + _EXPECTED_FOR,
                    now=now,
                )
            except Retryable:
                return  # the state server is restarting; the next step registers them
            self._registered[name] += len(new)

    def _truth(self) -> dict[Name, ExpectedAttempt]:
        return {
            (name, attempt): facts
            for name, simulator in self._simulators.items()
            for attempt, facts in simulator.expected().items()
        }

    def _stored(self, since: float | None) -> list[StoredEvent]:
        events = self._reader.events(since=since, newest_first=False)
        return [event for event in events if event.source in self._simulators]

    def _judge(self, now: float) -> str | None:
        """The verdict, based only on the journal and the subscribers' output, not on counters."""
        self._finished_at = self._finished_at or now
        self.problems = problems(self._truth(), self._stored(self._started_at), self._inbox.received)
        late = now - self._finished_at > self._conditions.patience
        return "done" if late or not self.problems else None

    def _collect(self, now: float) -> Figures:
        truth = self._truth()
        newest = next(reversed(self._events.values()), None)
        since = self._started_at if newest is None else int(newest.entry_id.partition("-")[0]) / 1000
        for event in self._stored(since):
            if (event.source, event.attempt) in truth:
                self._events.setdefault(event.entry_id, event)
        states, counts = self._states(now), self._counts(now)
        dropped = {
            origin: sum(
                number - self._first_counts.get(key, 0)
                for key, number in counts.items()
                if key[2] in ("duplicate", "stale") and (key[1] == WEBHOOK) == (origin == WEBHOOK)
            )
            for origin in (WEBHOOK, "poll")
        }
        return collect(
            truth=truth,
            vendor=sum((Counter(simulator.counts()) for simulator in self._simulators.values()), Counter()),
            events=self._events.values(),
            dropped=dropped[WEBHOOK],
            read_again=dropped["poll"],
            received=self._inbox.received,
            states={name: (self._first_states[name], state) for name, state in states.items()},
        )

    def _states(self, now: float) -> dict[str, SubscriptionState]:
        return {name: self._deliveries.state(name, now=now) for name in self._conditions.subscriptions}

    def _counts(self, now: float) -> dict[tuple[str, str, str], int]:
        return self._reader.counts(int((self._started_at or now) // _DAY), int(now // _DAY))
