"""Counts of what happens, kept per minute, hour and day: their names, and how they are written outside of scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import redis

__all__ = ["ADD_COUNTS", "DAY", "HOUR", "MINUTE", "SECONDS", "Step", "add_counts", "names"]

#: How long a count covers: the letter in its name.
Step = str
MINUTE, HOUR, DAY = "m", "h", ""
#: Step -> seconds that one hash covers.
SECONDS: Mapping[Step, int] = {MINUTE: 60, HOUR: 3600, DAY: 86_400}
#: Step -> seconds after which a hash is gone; add_counts.lua has the same.
KEPT: Mapping[Step, int] = {MINUTE: 26 * 3600, HOUR: 35 * 86_400, DAY: 400 * 86_400}
#: The script that is prepended to others.
ADD_COUNTS = Path(__file__).with_name("add_counts.lua")

#: (partition, number of the minute, hour or day since 1970, step) -> key, as in `bridge.state.keys`.
Name = Callable[[int, int, Step], str]


def names(name: Name, partition: int, now: float) -> list[str]:
    """The hashes of the current minute, hour and day. `now`: UNIX seconds."""
    return [name(partition, int(now // seconds), step) for step, seconds in SECONDS.items()]


def add_counts(pipe: redis.client.Pipeline, name: Name, partition: int, now: float, numbers: Mapping[str, int]) -> None:
    """Add numbers to the current minute, hour and day, for what is not counted by a script."""
    for step, hash_name in zip(SECONDS, names(name, partition, now), strict=True):
        for field, number in numbers.items():
            pipe.hincrby(hash_name, field, number)
        pipe.expire(hash_name, KEPT[step])
