"""The keys of the scripts that build on outcomes.lua, and registering such a script."""

from __future__ import annotations

from pathlib import Path

import redis
from redis.commands.core import Script

from bridge.state import keys, scripts

__all__ = ["outcome_keys", "register"]

_FUNCTIONS = Path(__file__).with_name("outcomes.lua")


def outcome_keys(subscription: str, partition: int) -> list[str]:
    """The first keys of each of these scripts, of one subscription and partition."""
    return [
        keys.retry(subscription, partition),
        keys.deliveries(subscription, partition),
        keys.claims(subscription, partition),
        keys.tries(subscription, partition),
        keys.failure_groups(subscription, partition),
        keys.settled(subscription, partition),
        keys.dead(subscription, partition),
        keys.letter_index(subscription, partition),
        keys.subscription_state(subscription, partition),
    ]


def register(client: redis.Redis, module: str, name: str, *, after: tuple[Path, ...] = ()) -> Script:
    """The script `<name>.lua` next to `module`, after the functions of outcomes.lua and of the files `after`."""
    return scripts.register(client, module, name, after=(_FUNCTIONS, *after))
