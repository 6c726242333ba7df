"""The status of a subscription: counters, retries, circuit. Reads only; `workers/` and operators write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import redis

from bridge.delivery.lag import oldest_unsettled_at
from bridge.state import keys

__all__ = ["HeldEvents", "SubscriptionState", "held_events", "read_state"]

_COUNTERS = (
    "delivered",
    "handed_over",
    "skipped",
    "failed",
    "dead",
    "unexpected",
    "cancelled",
    "discarded",
    "expired",
    "unsent",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionState:
    """Counters since the first start, and the current state. Times are UNIX seconds."""

    #: Deliveries that succeeded, receipts not required.
    delivered: int
    #: Deliveries handed over with a receipt required.
    handed_over: int
    #: Events that the filter excluded.
    skipped: int
    #: Tries that failed and were followed by a retry.
    failed: int
    #: Deliveries that were given up.
    dead: int
    #: Unexpected errors.
    unexpected: int
    #: Deliveries that an operator cancelled.
    cancelled: int
    #: Dead letters that an operator discarded.
    discarded: int
    #: Dead letters that were deleted for their age.
    expired: int
    #: Events that were not sent, and that `retention.events` deleted while the subscription was paused or disabled.
    unsent: int
    #: Deliveries that wait for a retry or a receipt.
    retrying: int
    #: Dead letters kept.
    dead_letters: int
    #: Events read by a dispatch process and not settled.
    pending: int
    #: Events that no dispatch process has read yet; None if the server cannot tell.
    lag: int | None
    #: `closed`, `open`, `paused` or `disabled`.
    circuit: str
    #: Why the circuit is not closed; empty if it is.
    circuit_reason: str
    #: What prevents any try, such as a broker that is down; empty if nothing does.
    blocked_by: str
    #: Failures of the receiver in a row.
    failures: int
    #: When the receiver's failures began; None if it answers.
    failing_since: float | None
    #: When an open circuit lets the next try through; None: at once.
    open_until: float | None
    #: Error of the last failed try; empty if none failed.
    last_error: str
    #: Time of that try.
    last_error_at: float | None
    #: Time of the last successful try.
    delivered_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldEvents:
    """The events that wait for a subscription in the journal. Times are UNIX seconds."""

    #: When the oldest one was recorded; None if none waits.
    oldest_at: float | None
    #: When deleting them unsent begins; None if nothing is deleted before it is sent.
    deleted_from: float | None


def read_state(client: redis.Redis, subscription: str, *, partitions: int, now: float) -> SubscriptionState:
    """The state at `now` (UNIX seconds). Raises the errors of redis-py."""
    counters = dict.fromkeys(_COUNTERS, 0)
    retrying = dead_letters = pending = 0
    lag: int | None = 0
    delivered_at = 0.0
    blocked_by = ""
    shared = _read_hash(client, keys.subscription_state(subscription))
    for partition in range(partitions):
        fields = shared if partition == 0 else _read_hash(client, keys.subscription_state(subscription, partition))
        for name in _COUNTERS:
            counters[name] += int(fields.get(name, 0))
        blocked_by = blocked_by or fields.get("waits", "")
        delivered_at = max(delivered_at, float(fields.get("delivered_at", 0)))
        retrying += client.zcard(keys.retry(subscription, partition))
        dead_letters += client.xlen(keys.dead(subscription, partition))
        group_pending, group_lag = _group_backlog(client, subscription, partition)
        pending += group_pending
        lag = None if lag is None or group_lag is None else lag + group_lag
    circuit, circuit_reason = _circuit(shared)
    open_until = float(shared.get("open_until", 0))
    return SubscriptionState(
        **counters,
        retrying=retrying,
        dead_letters=dead_letters,
        pending=pending,
        lag=lag,
        circuit=circuit,
        circuit_reason=circuit_reason,
        blocked_by=blocked_by,
        failures=int(shared.get("failures", 0)),
        failing_since=float(shared["failing_since"]) if "failing_since" in shared else None,
        open_until=open_until if open_until > now else None,
        last_error=shared.get("last_error", ""),
        last_error_at=float(shared["last_error_at"]) if "last_error_at" in shared else None,
        delivered_at=delivered_at or None,
    )


def held_events(
    client: redis.Redis, subscription: str, state: SubscriptionState, *, partitions: int, kept: float
) -> HeldEvents:
    """What the journal holds for a subscription. `kept`: `retention.events`, seconds. Raises `StateUnavailable`."""
    oldest = oldest_unsettled_at(client, subscription, partitions=partitions)
    stopped = state.circuit in ("paused", "disabled")
    return HeldEvents(oldest_at=oldest, deleted_from=oldest + kept if oldest is not None and stopped else None)


def _circuit(fields: dict[str, str]) -> tuple[str, str]:
    """(circuit, reason). It is open until a try succeeds, also in the moment of a probe."""
    if "disabled" in fields:
        return "disabled", fields["disabled"]
    if "paused" in fields:
        return "paused", "by an operator"
    if "open_until" in fields:
        return "open", fields.get("last_error", "")
    return "closed", ""


def _read_hash(client: redis.Redis, name: str) -> dict[str, str]:
    fields = cast("dict[bytes, bytes]", client.hgetall(name))
    return {key.decode(): value.decode() for key, value in fields.items()}


def _group_backlog(client: redis.Redis, subscription: str, partition: int) -> tuple[int, int | None]:
    """(pending, lag) of the subscription's group; a group that does not exist yet has read nothing."""
    name, journal = keys.group(subscription), keys.journal(partition)
    if not client.exists(journal):
        return 0, 0
    for group in client.xinfo_groups(journal):
        if group["name"] in (name, name.encode()):
            return int(group["pending"]), group.get("lag")
    return 0, client.xlen(journal)
