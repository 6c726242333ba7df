"""Checks every source once a minute and publishes alarms about lasting problems. No Celery in here.

Running it twice at the same time, or not at all for a while, is harmless: after a pause of more than `MAX_GAP_SECONDS`
of `bridge.monitoring.traffic_baseline` it starts a new observation, because unobserved time proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from bridge.config.model import Source
from bridge.delivery.lag import oldest_unsettled_at
from bridge.ingest.notices import submission
from bridge.journal import Entry
from bridge.monitoring.alarms import RAISED, Alarm, Alarms, alarm_notice, next_alarm
from bridge.monitoring.source_health import SourceFacts, StreamFacts, assess, with_quota_state
from bridge.monitoring.traffic_baseline import TrafficBaselines, hours_needed, observe
from bridge.polling.turns import StuckReadings
from bridge.sdk.vendor import streams
from bridge.services import Services

__all__ = ["CHECK_SECONDS", "check_sources", "warn_of_backlogs"]

#: Interval between two calls of `check_sources`.
CHECK_SECONDS = 60.0
_DAY = 86_400

_log = structlog.get_logger(__name__)


def check_sources(services: Services) -> int:
    """Check every source once; returns the number of notices published. Raises `StateUnavailable`."""
    now, published = services.now(), 0
    today = int(now // _DAY)
    reader, alarms = services.journal_reader, Alarms(services.state)
    by_day = {day: reader.counts(day, day) for day in (today - 1, today)}
    for name, source in services.config.sources.items():
        counts = {day: _vendors_own(name, outcomes) for day, outcomes in by_day.items()}
        current = alarms.of(name)
        for kind, problem in assess(_observe(services, source, counts, current, now)).items():
            alarm = current.get(kind)
            published += _announce(services, alarms, source, alarm, next_alarm(alarm, kind, problem, now))
    return published


def _vendors_own(source: str, outcomes: Mapping[tuple[str, str, str], int]) -> int:
    """A day's webhooks without test messages: our own test must not end an alarm about the vendor's silence."""
    return outcomes.get((source, "webhook", "requests"), 0) - outcomes.get((source, "webhook", "test"), 0)


def warn_of_backlogs(services: Services) -> tuple[str, ...]:
    """Log and return the subscriptions that keep old events in the journal: no process delivers them, or too slowly.

    Raises `StateUnavailable`.
    """
    config, now, held = services.config, services.now(), []
    remedies = dict.fromkeys(
        config.subscriptions, "run attempt-bridge dispatch, resume the subscription, or remove it from bridge.yaml"
    )
    for name in services.orphans():
        remedies[name] = f"add it to bridge.yaml again, or attempt-bridge subscriptions forget {name}"
    for name, remedy in remedies.items():
        oldest = oldest_unsettled_at(services.state, name, partitions=config.bridge.partitions)
        if oldest is not None and now - oldest > config.bridge.retention.events:
            held.append(name)
            _log.warning(
                "journal_held_back",
                subscription=name,
                oldest_days=round((now - oldest) / _DAY, 1),
                remedy=remedy,
            )
    return tuple(held)


def _observe(
    services: Services, source: Source, counts: Mapping[int, int], current: Mapping[str, Alarm], now: float
) -> SourceFacts:
    """Update and store the source's traffic, and collect all the facts for judging alarms."""
    name, baselines = source.name, TrafficBaselines(services.state)
    rounds = services.cursors.history(name)
    budget = services.budgets.status(name, source.budget, now)
    polls = streams(services.vendors[source.vendor], source.options) if source.poll.enabled else {}
    positions = services.cursors.positions(name, polls)
    traffic = observe(baselines.traffic(name), now=now, counts=counts, rounds=rounds)
    traffic = with_quota_state(traffic, budget, polled=bool(polls), now=now)
    baselines.save(name, traffic)
    return SourceFacts(
        name=name,
        now=now,
        paused=source.paused or (budget.pause is not None and budget.pause.by_operator),
        webhooks=source.webhook.enabled,
        traffic=traffic,
        hourly=baselines.hourly(name, hours_needed(traffic.quiet_since, now)),
        streams=tuple(
            StreamFacts.of(stream, max(source.poll.every, poll.every or 0.0), positions[stream], rounds)
            for stream, poll in polls.items()
        ),
        budget=budget,
        stuck=StuckReadings(services.state).of(name),
        raised={kind: alarm.raised_at for kind, alarm in current.items() if alarm.state == RAISED},
    )


def _announce(services: Services, alarms: Alarms, source: Source, old: Alarm | None, new: Alarm | None) -> int:
    """Store the new state, unless another process was first, and publish it once; returns the notices, 0 or 1."""
    if new is None or new.published:
        return 0
    stored = alarms.compare_and_set(source.name, old, new)
    now = services.now()
    notice = alarm_notice(source.name, stored)
    submitted = submission(services.config.bridge, source.name, source.vendor, notice, now=now)
    (result,) = services.journal.publish(Entry(submissions=(submitted,)), now=now).results
    alarms.compare_and_set(source.name, stored, replace(stored, published=True))
    if result.outcome != "published":
        return 0
    log = _log.warning if stored.state == RAISED else _log.info
    log(
        f"alarm_{stored.state}",
        source=source.name,
        type=stored.kind,
        fact=stored.fact,
        value=stored.value,
        remedy=stored.remedy,
    )
    return 1
