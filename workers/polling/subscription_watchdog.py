"""Checks every subscription once a minute and publishes its transitions. No Celery in here.

Running it twice at the same time, or not at all for a while, is harmless.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from bridge.delivery.group_store import FailureGroups
from bridge.ingest.notices import subscription_submission
from bridge.journal import Entry
from bridge.monitoring.subscription_alarms import (
    Facts,
    SubscriptionAlarm,
    SubscriptionAlarms,
    alarm_notice,
    next_alarm,
)
from bridge.services import Services
from schemas.notices import SUBSCRIPTION_RECOVERED

__all__ = ["check_subscriptions"]

_log = structlog.get_logger(__name__)


def check_subscriptions(services: Services) -> int:
    """Check every configured subscription once; returns the number of notices published. Raises `StateUnavailable`."""
    now, published = services.now(), 0
    groups, alarms = FailureGroups(services.deliveries), SubscriptionAlarms(services.state)
    for name in services.config.subscriptions:
        groups.index_letters(name, now=now)
        state = services.deliveries.state(name, now=now)
        old = alarms.of(name)
        new = next_alarm(old, Facts(name=name, now=now, state=state, groups=groups.of(name)))
        if new is not None and new != old and new.published:
            # One cause has ended while another lasts: this is stored, not announced.
            alarms.compare_and_set(name, old, new)
        elif new is not None and not new.published:
            published += _announce(services, alarms, name, old, new)
    return published


def _announce(
    services: Services,
    alarms: SubscriptionAlarms,
    name: str,
    old: SubscriptionAlarm | None,
    new: SubscriptionAlarm,
) -> int:
    """Store the new record, unless another process was first, and publish it once; returns the notices, 0 or 1."""
    stored = alarms.compare_and_set(name, old, new)
    if stored.published:
        return 0
    now = services.now()
    submitted = subscription_submission(services.config.bridge, name, alarm_notice(name, stored), now=now)
    (result,) = services.journal.publish(Entry(submissions=(submitted,)), now=now).results
    alarms.compare_and_set(name, stored, replace(stored, published=True))
    if result.outcome != "published":
        return 0
    log = _log.info if stored.kind == SUBSCRIPTION_RECOVERED else _log.warning
    log(
        stored.kind.replace(".", "_"),
        subscription=name,
        fact=stored.fact,
        value=stored.value,
        remedy=stored.remedy,
    )
    return 1
