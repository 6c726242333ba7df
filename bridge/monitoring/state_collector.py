"""The state server's contents as Prometheus metrics, read on request: the same from every process.

Names follow the Prometheus naming practice (base units, `_total` for counters); labels are configured names, and the
addresses of a cluster's servers.

While a server of a cluster is away, gauges show what the others hold. Counters over all servers are left out: a
counter that falls would look as if it had been reset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bridge import __version__
from bridge.delivery.journal_groups import read_groups
from bridge.delivery.lag import oldest_unsettled
from bridge.delivery.status import read_states
from bridge.errors import StateUnavailable
from bridge.monitoring import alarms
from bridge.sdk.vendor import streams
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.nodes import Reach, read_reach
from schemas.notices import ALARM_TYPES

__all__ = ["StateCollector"]

_DELIVERY_OUTCOMES = ("delivered", "handed_over", "skipped", "failed", "dead")


class StateCollector:
    """A collector of prometheus_client. Without the state server it has only `bridge_state_up 0`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """All metrics as of now."""
        info = GaugeMetricFamily("bridge_build_info", "Always 1; the label is the version.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        try:
            with state_errors():
                reach = read_reach(self._services.state)
                metrics = [*_servers(reach), *self._sources(reach), *self._watching(reach)]
                metrics += [*self._subscriptions(reach), *self._journal(reach), *self._refused(reach)]
        except StateUnavailable:
            yield _state_up(is_up=False)
            return
        yield _state_up(is_up=not reach.away)
        yield from metrics

    def _sources(self, reach: Reach) -> Iterator[Metric]:
        services, now = self._services, self._services.now()
        polled = GaugeMetricFamily(
            "bridge_poll_last_success_timestamp_seconds",
            "When a page of the stream was last read and published.",
            labels=["source", "stream"],
        )
        left = GaugeMetricFamily(
            "bridge_budget_remaining", "Calls that the source's quota still allows.", labels=["source"]
        )
        for name in reach.sources(services.config.sources):
            source = services.config.sources[name]
            polls = streams(services.vendors[source.vendor], source.options) if source.poll.enabled else {}
            for stream, position in services.cursors.positions(name, polls).items():
                polled.add_metric([name, stream], position.saved or 0)
            status = services.budgets.status(name, source.budget, now)
            left.add_metric([name], status.left)
        yield from (polled, left)

    def _watching(self, reach: Reach) -> Iterator[Metric]:
        services, now = self._services, self._services.now()
        watches = GaugeMetricFamily("bridge_watches_open", "Attempts that will be rechecked.", labels=["source"])
        due = GaugeMetricFamily("bridge_watches_due", "Watches whose recheck is due.", labels=["source"])
        overdue = GaugeMetricFamily(
            "bridge_watches_overdue", "Expected attempts that have passed their deadline.", labels=["source"]
        )
        raised = GaugeMetricFamily("bridge_alarm", "1 while the alarm is raised.", labels=["source", "type"])
        for name in reach.sources(services.config.sources):
            watches.add_metric([name], len(services.watches.list(name)))
            due.add_metric([name], services.watches.due_count(name, now))
            overdue.add_metric([name], sum(each.state == "overdue" for each in services.expectations.list(name)))
            kinds = {alarm.kind for alarm in alarms.raised_alarms(services.state, name)}
            for kind in ALARM_TYPES:
                raised.add_metric([name, kind], kind in kinds)
        yield from (watches, due, overdue, raised)

    def _subscriptions(self, reach: Reach) -> Iterator[Metric]:
        services, now = self._services, self._services.now()
        backlog = GaugeMetricFamily(
            "bridge_subscription_backlog", "Events not read yet, or read and not settled.", labels=["subscription"]
        )
        retries = GaugeMetricFamily(
            "bridge_retry_scheduled", "Deliveries that wait for a retry or a receipt.", labels=["subscription"]
        )
        letters = GaugeMetricFamily("bridge_dead_letters", "Deliveries that were given up.", labels=["subscription"])
        oldest = GaugeMetricFamily(
            "bridge_subscription_oldest_seconds",
            "Age of the oldest unsettled event; the journal is kept from there on.",
            labels=["subscription"],
        )
        stopped = GaugeMetricFamily(
            "bridge_subscription_stopped", "1 while the circuit is not closed.", labels=["subscription", "circuit"]
        )
        outcomes = CounterMetricFamily("bridge_deliveries", "Tries by outcome.", labels=["subscription", "outcome"])
        unexpected = CounterMetricFamily(
            "bridge_delivery_unexpected_errors", "Unexpected errors.", labels=["subscription"]
        )
        orphan = GaugeMetricFamily(
            "bridge_subscription_orphaned",
            "1 if it is no longer configured and not forgotten.",
            labels=["subscription"],
        )
        orphans = services.orphans(reach)
        names = [*services.config.subscriptions, *orphans]
        with state_errors():
            journals = read_groups(services.state, reach.partitions(services.config.bridge.partitions))
            states = read_states(services.state, names, journals, now=now)
            since = oldest_unsettled(services.state, names, journals)
        for name, state in states.items():
            orphan.add_metric([name], name in orphans)
            backlog.add_metric([name], state.pending + (state.lag or 0))
            waiting = since[name]
            oldest.add_metric([name], 0 if waiting is None else max(0.0, now - waiting))
            retries.add_metric([name], state.retrying)
            letters.add_metric([name], state.dead_letters)
            if state.circuit != "unknown":
                stopped.add_metric([name, state.circuit], state.circuit != "closed")
            if reach.away:
                continue
            unexpected.add_metric([name], state.unexpected)
            for outcome in _DELIVERY_OUTCOMES:
                outcomes.add_metric([name, outcome], getattr(state, outcome))
        yield from (backlog, oldest, retries, letters, stopped, outcomes, unexpected, orphan)

    def _journal(self, reach: Reach) -> Iterator[Metric]:
        services = self._services
        partitions = reach.partitions(services.config.bridge.partitions)
        yield GaugeMetricFamily(
            "bridge_attempts_remembered",
            "Attempts that would be recognised.",
            value=services.journal_reader.remembered(partitions),
        )
        if reach.has(keys.quarantine(0)):
            size = services.quarantine.size()
            yield GaugeMetricFamily("bridge_quarantined", "Requests and records that could not be read.", value=size)

    def _refused(self, reach: Reach) -> Iterator[Metric]:
        if not reach.has(keys.refused()):
            return
        refused = CounterMetricFamily(
            "bridge_messages_refused",
            "Messages in the bridge's own queues that were refused.",
            labels=["queue", "reason"],
        )
        with state_errors():
            counts = cast("dict[bytes, bytes]", self._services.state.hgetall(keys.refused()))
        for field, count in sorted(counts.items()):
            queue, _, reason = field.decode().partition("|")
            refused.add_metric([queue, reason], int(count))
        yield refused


def _state_up(*, is_up: bool) -> Metric:
    text = "1 while the state server answers; of a cluster, each one."
    return GaugeMetricFamily("bridge_state_up", text, value=is_up)


def _servers(reach: Reach) -> Iterator[Metric]:
    """Which servers of a cluster answer; nothing about a single one."""
    up = GaugeMetricFamily("bridge_state_server_up", "1 while this server of a cluster answers.", labels=["server"])
    for host, port in reach.slots.primaries() if reach.slots else ():
        up.add_metric([f"{host}:{port}"], (host, port) not in reach.away)
    yield up
