"""How a subscription stands: counters, waiting deliveries, circuit. Reads only; `workers/` and operators write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import redis

from bridge.state import keys

__all__ = ["SubscriptionState", "read_state"]

_COUNTERS = ("delivered", "handed_over", "skipped", "failed", "dead", "unexpected")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionState:
    """Counters since ever and what stands now. `circuit`: closed, open, paused or disabled; `why` explains the last.

    `lag`: events in the journal that no dispatch process has read yet, None where the server cannot tell.
    `pending`: read and not settled. `unexpected`: errors that nobody foresaw. `waits`: what keeps deliveries from being
    tried at all, such as a broker that is down; empty if nothing does.
    """

    delivered: int
    handed_over: int
    skipped: int
    failed: int
    dead: int
    unexpected: int
    retrying: int
    dead_letters: int
    pending: int
    lag: int | None
    circuit: str
    circuit_reason: str
    blocked_by: str
    failures: int
    open_until: float | None
    last_error: str
    last_error_at: float | None
    delivered_at: float | None


def read_state(client: redis.Redis, subscription: str, *, partitions: int, now: float) -> SubscriptionState:
    """The state at `now` (UNIX seconds). Lets redis-py's errors through."""
    counters = dict.fromkeys(_COUNTERS, 0)
    retrying = letters = pending = 0
    lag: int | None = 0
    delivered_at = 0.0
    blocked_by = ""
    circuit = _hash(client, keys.subscription_state(subscription))
    for partition in range(partitions):
        mine = circuit if partition == 0 else _hash(client, keys.subscription_state(subscription, partition))
        for name in _COUNTERS:
            counters[name] += int(mine.get(name, 0))
        blocked_by = blocked_by or mine.get("waits", "")
        delivered_at = max(delivered_at, float(mine.get("delivered_at", 0)))
        retrying += client.zcard(keys.retry(subscription, partition))
        letters += client.xlen(keys.dead(subscription, partition))
        group_pending, group_lag = _group(client, subscription, partition)
        pending += group_pending
        lag = None if lag is None or group_lag is None else lag + group_lag
    word, circuit_reason = _circuit(circuit, now)
    return SubscriptionState(
        **counters,
        retrying=retrying,
        dead_letters=letters,
        pending=pending,
        lag=lag,
        circuit=word,
        circuit_reason=circuit_reason,
        blocked_by=blocked_by,
        failures=int(circuit.get("failures", 0)),
        open_until=float(circuit.get("open_until", 0)) or None,
        last_error=circuit.get("last_error", ""),
        last_error_at=float(circuit["last_error_at"]) if "last_error_at" in circuit else None,
        delivered_at=delivered_at or None,
    )


def _circuit(fields: dict[str, str], now: float) -> tuple[str, str]:
    if "disabled" in fields:
        return "disabled", fields["disabled"]
    if "paused" in fields:
        return "paused", "by an operator"
    if now < float(fields.get("open_until", 0)):
        return "open", fields.get("last_error", "")
    return "closed", ""


def _hash(client: redis.Redis, name: str) -> dict[str, str]:
    found = cast("dict[bytes, bytes]", client.hgetall(name))
    return {key.decode(): value.decode() for key, value in found.items()}


def _group(client: redis.Redis, subscription: str, partition: int) -> tuple[int, int | None]:
    """(pending, lag) of the subscription's group; a group that is not there yet has read nothing."""
    name, journal = keys.group(subscription), keys.journal(partition)
    if not client.exists(journal):
        return 0, 0
    for group in client.xinfo_groups(journal):
        if group["name"] in (name, name.encode()):
            return int(group["pending"]), group.get("lag")
    return 0, client.xlen(journal)
