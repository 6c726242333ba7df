"""The status of a subscription: counters, retries, circuit. Reads only; `workers/` and operators write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from bridge.delivery.journal_groups import JournalGroups, read_groups
from bridge.delivery.lag import oldest_unsettled_at
from bridge.state import keys

__all__ = ["HeldEvents", "SubscriptionState", "held_events", "held_since", "read_state", "read_states"]

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
    #: `closed`, `open`, `paused` or `disabled`; `unknown` where partition 0, which has it, was not read.
    circuit: str
    #: Why the circuit is not closed; empty if it is.
    circuit_reason: str
    #: What prevents any try, such as a broker that is down; empty if nothing does.
    blocked_by: str
    #: Since when; None if nothing does, or if it is not known.
    blocked_since: float | None
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
    journals = read_groups(client, range(partitions))
    return read_states(client, [subscription], journals, now=now)[subscription]


def read_states(
    client: redis.Redis, subscriptions: Sequence[str], journals: Sequence[JournalGroups], *, now: float
) -> dict[str, SubscriptionState]:
    """The states of several, in one round trip. `journals`: from `read_groups`, in order; others are left out.

    Raises the errors of redis-py.
    """
    pipe = client.pipeline(transaction=False)
    for name in subscriptions:
        for journal in journals:
            pipe.hgetall(keys.subscription_state(name, journal.partition))
            pipe.zcard(keys.retry(name, journal.partition))
            pipe.xlen(keys.dead(name, journal.partition))
    answers = pipe.execute() if subscriptions else []
    size = 3 * len(journals)
    return {
        name: _state(name, answers[place * size : (place + 1) * size], journals, now)
        for place, name in enumerate(subscriptions)
    }


def held_events(
    client: redis.Redis, subscription: str, state: SubscriptionState, *, partitions: int, kept: float
) -> HeldEvents:
    """What the journal holds for a subscription. `kept`: `retention.events`, seconds. Raises `StateUnavailable`."""
    return held_since(oldest_unsettled_at(client, subscription, partitions=partitions), state, kept=kept)


def held_since(oldest: float | None, state: SubscriptionState, *, kept: float) -> HeldEvents:
    """Like `held_events`, where the oldest unsettled event is known already."""
    stopped = state.circuit in ("paused", "disabled")
    return HeldEvents(oldest_at=oldest, deleted_from=oldest + kept if oldest is not None and stopped else None)


def _state(name: str, answers: Sequence[Any], journals: Sequence[JournalGroups], now: float) -> SubscriptionState:
    """`answers`: hash, retries and dead letters of each partition."""
    hashes = [_text(fields) for fields in answers[::3]]
    has_circuit = bool(journals) and journals[0].partition == 0
    shared = hashes[0] if has_circuit else {}
    counters = {counter: sum(int(fields.get(counter, 0)) for fields in hashes) for counter in _COUNTERS}
    pending, lag = _backlog(name, journals)
    blocked = [each for each in hashes if each.get("waits")]
    circuit, circuit_reason = _circuit(shared) if has_circuit else ("unknown", "")
    open_until = float(shared.get("open_until", 0))
    return SubscriptionState(
        **counters,
        retrying=sum(answers[1::3]),
        dead_letters=sum(answers[2::3]),
        pending=pending,
        lag=lag,
        circuit=circuit,
        circuit_reason=circuit_reason,
        blocked_by=next((fields["waits"] for fields in blocked), ""),
        blocked_since=min((float(each["waits_since"]) for each in blocked if "waits_since" in each), default=None),
        failures=int(shared.get("failures", 0)),
        failing_since=float(shared["failing_since"]) if "failing_since" in shared else None,
        open_until=open_until if open_until > now else None,
        last_error=shared.get("last_error", ""),
        last_error_at=float(shared["last_error_at"]) if "last_error_at" in shared else None,
        delivered_at=max((float(fields.get("delivered_at", 0)) for fields in hashes), default=0.0) or None,
    )


def _circuit(fields: dict[str, str]) -> tuple[str, str]:
    """(circuit, reason). It is open until a try succeeds, also in the moment of a probe."""
    if "disabled" in fields:
        return "disabled", fields["disabled"]
    if "paused" in fields:
        return "paused", "by an operator"
    if "open_until" in fields:
        return "open", fields.get("last_error", "")
    return "closed", ""


def _text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in fields.items()}


def _backlog(subscription: str, journals: Sequence[JournalGroups]) -> tuple[int, int | None]:
    """(pending, lag) of the subscription; a group that does not exist yet has read nothing."""
    pending, lag = 0, 0
    is_known = True
    for journal in journals:
        group = journal.groups.get(keys.group(subscription))
        unread = journal.entries if group is None else group.lag
        pending += 0 if group is None else group.pending
        is_known = is_known and unread is not None
        lag += unread or 0
    return pending, lag if is_known else None
