"""Subscriptions that are no longer in bridge.yaml: what is left of them, and removing it.

Their consumer groups still keep the journal from being trimmed, because a removal may be a mistake.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import redis

from bridge.delivery.consumers import group_names, living_consumers
from bridge.delivery.history import History
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.nodes import EVERYTHING, Reach

__all__ = ["forget", "known_subscriptions", "orphans", "served_by"]

#: What the names of all subscriptions' consumer groups begin with.
_PREFIX = keys.group("")


def orphans(
    client: redis.Redis, configured: Collection[str], *, partitions: int, reach: Reach = EVERYTHING
) -> list[str]:
    """The names of subscriptions that were served once and are not `configured`, sorted. Raises `StateUnavailable`.

    `reach`: what may be read of them.
    """
    return sorted(set(known_subscriptions(client, configured, partitions=partitions, reach=reach)) - set(configured))


def known_subscriptions(
    client: redis.Redis, configured: Collection[str], *, partitions: int, reach: Reach = EVERYTHING
) -> list[str]:
    """The names of all subscriptions that may have deliveries, sorted. Raises `StateUnavailable`."""
    with state_errors():
        listed = cast("set[bytes]", client.smembers(keys.subscriptions()) if reach.has(keys.subscriptions()) else set())
        names = {name.decode() for name in listed}
        for partition in reach.partitions(partitions):
            groups = group_names(client, partition)
            names |= {name.removeprefix(_PREFIX) for name in groups if name.startswith(_PREFIX)}
    return sorted(names | set(configured))


def served_by(client: redis.Redis, subscription: str, *, partitions: int) -> bool:
    """Whether a living dispatch process still serves the subscription. Raises `StateUnavailable`."""
    with state_errors():
        return any(living_consumers(client, keys.group(subscription), partition) for partition in range(partitions))


def forget(client: redis.Redis, subscription: str, *, partitions: int) -> None:
    """Delete everything of a subscription: its groups, retries, dead letters and counters. Repeating it is harmless.

    Raises `StateUnavailable`.
    """
    History(client, partitions=partitions).trim(subscription, before=float(2**48))
    with state_errors():
        for partition in range(partitions):
            if keys.group(subscription) in group_names(client, partition):
                client.xgroup_destroy(keys.journal(partition), keys.group(subscription))
            client.unlink(
                keys.retry(subscription, partition),
                keys.deliveries(subscription, partition),
                keys.claims(subscription, partition),
                keys.subscription_state(subscription, partition),
                keys.dead(subscription, partition),
                keys.tries(subscription, partition),
                keys.failure_groups(subscription, partition),
                keys.letter_index(subscription, partition),
                keys.settled(subscription, partition),
            )
        client.unlink(keys.pauses(subscription), keys.subscription_alarm(subscription))
        # Last, so that an interrupted run can be repeated.
        client.srem(keys.subscriptions(), subscription)
