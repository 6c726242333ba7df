"""Subscriptions as they are shown: configuration, circuit, counters, and the events that wait for them. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from bridge import clock
from bridge.config.addresses import without_password
from bridge.config.description import describe
from bridge.config.model import Config
from bridge.config.notify_target import shown_service
from bridge.delivery.journal_groups import read_groups
from bridge.delivery.lag import oldest_unsettled
from bridge.delivery.status import HeldEvents, SubscriptionState, held_since, read_states
from bridge.delivery.store import Deliveries
from bridge.state.errors import state_errors
from schemas.event import format_time

__all__ = ["STATES", "subscription_details", "subscription_row", "subscription_rows"]

ACTIVE, PAUSED, DISABLED, REMOVED = "active", "paused", "disabled", "removed"
STATES = (ACTIVE, PAUSED, DISABLED, REMOVED)
_MEMBERS = tuple(member.name for member in fields(SubscriptionState))
_TIMES = ("blocked_since", "failing_since", "open_until", "last_error_at", "delivered_at")
#: Members of the status that have other names where they are shown.
_RENAMED = {"circuit_reason": "why", "blocked_by": "waits", "blocked_since": "waits_since"}


def subscription_row(deliveries: Deliveries, config: Config, name: str, *, now: float) -> dict[str, Any]:
    """One subscription, configured or no longer; `now`: UNIX seconds. Raises `StateUnavailable`."""
    return subscription_rows(deliveries, config, [name], now=now)[0]


def subscription_rows(
    deliveries: Deliveries, config: Config, names: Sequence[str], *, now: float
) -> list[dict[str, Any]]:
    """The same for several, in as many round trips as for one."""
    with state_errors():
        journals = read_groups(deliveries.client, range(config.bridge.partitions))
        states = read_states(deliveries.client, names, journals, now=now)
        oldest = oldest_unsettled(deliveries.client, names, journals)
    kept = config.bridge.retention.events
    return [_row(config, name, states[name], held_since(oldest[name], states[name], kept=kept)) for name in names]


def _row(config: Config, name: str, state: SubscriptionState, held: HeldEvents) -> dict[str, Any]:
    subscription = config.subscriptions.get(name)
    target = None
    if subscription is not None:
        target = subscription.queue or subscription.exchange or subscription.topic
        if subscription.urls:
            target = ", ".join(map(shown_service, subscription.urls))
        if subscription.url is not None:
            target = without_password(subscription.url)
    row = {
        "name": name,
        "configured": subscription is not None,
        "transport": None if subscription is None else subscription.transport,
        "target": target,
        **_members(state, held),
    }
    if subscription is None:
        why = f"no longer in bridge.yaml; add it again, or attempt-bridge subscriptions forget {name}"
        row |= {"state": REMOVED, "circuit": "removed", "why": why}
    return row


def subscription_details(deliveries: Deliveries, config: Config, name: str, *, now: float) -> dict[str, Any]:
    """One subscription with its configuration, without secrets. Raises `StateUnavailable`."""
    row = subscription_row(deliveries, config, name, now=now)
    if not row["configured"]:
        return row
    stopped = row["state"] != ACTIVE
    return {
        **row,
        "sending": deliveries.sending(name) if stopped else None,
        "configuration": describe(config)["subscriptions"][name],
    }


def _members(status: SubscriptionState, held: HeldEvents) -> dict[str, Any]:
    members = {
        _RENAMED.get(member, member): _iso(getattr(status, member)) if member in _TIMES else getattr(status, member)
        for member in _MEMBERS
    }
    return {
        "state": status.circuit if status.circuit in (PAUSED, DISABLED) else ACTIVE,
        **members,
        "delivered": status.delivered + status.handed_over,
        # Neither delivered nor given up: not read yet, or read while the broker was down.
        "waiting": None if status.lag is None else status.lag + status.pending,
        "waiting_since": _iso(held.oldest_at),
        # Of a paused or disabled subscription: from then on they are deleted unsent.
        "deleted_from": _iso(held.deleted_from),
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else format_time(clock.to_datetime(moment))
