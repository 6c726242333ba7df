"""Forgetting in time: events, requests, quarantine and dead letters by age, attempts by their last news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import redis

from bridge.config.model import BridgeConfig
from bridge.journal.quarantine import known_key
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["Retention", "RetentionReport"]

#: Buckets a call: about 100 attempts each, so one call stays well below a millisecond per 10.
_BUCKETS = 50


@dataclass(slots=True)
class RetentionReport:
    """Numbers removed. `held_back`: partitions whose journal is kept longer because a consumer group lags."""

    events: int = 0
    requests: int = 0
    dead_letters: int = 0
    attempts: int = 0
    held_back: tuple[int, ...] = ()


class Retention:
    """Run by the beat every hour; harmless to run twice or not at all for a while.

    Trims exactly: by whole nodes, as Redis likes it, a quiet stream of a few entries would never forget them.
    """

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._trim = scripts.register(client, __file__, "trim")
        self._forget = scripts.register(client, __file__, "forget")

    def run(self, bridge: BridgeConfig, *, now: float, subscriptions: Sequence[str] = ()) -> RetentionReport:
        """One round over everything. `now`: UNIX seconds. Raises `StateUnavailable`."""
        report, held = RetentionReport(), []
        events, requests = _before(now, bridge.retention.events), _before(now, bridge.retention.requests)
        letters = _before(now, bridge.retention.dead_letters)
        with state_errors():
            for partition in range(self.partitions):
                wanted: list[str | int] = [events, *map(keys.group, subscriptions)]
                removed, lagging = cast("list[int]", self._trim(keys=[keys.journal(partition)], args=wanted))
                report.events += removed
                if lagging:
                    held.append(partition)
                report.requests += self.client.xtrim(keys.requests(partition), minid=requests, approximate=False)
                report.attempts += self._forget_attempts(partition, _before(now, bridge.remember_attempts))
                for name in subscriptions:
                    stream = keys.dead(name, partition)
                    report.dead_letters += self.client.xtrim(stream, minid=letters, approximate=False)
            report.requests += self.client.xtrim(keys.rejected(0), minid=requests, approximate=False)
            report.dead_letters += self.client.xtrim(keys.quarantine(0), minid=letters, approximate=False)
            self.client.zremrangebyscore(known_key(), "-inf", now - bridge.retention.dead_letters)
        report.held_back = tuple(held)
        return report

    def _forget_attempts(self, partition: int, oldest: int) -> int:
        forgotten, bucket = 0, 0
        while bucket >= 0:
            some, bucket = cast("list[int]", self._forget(keys=[keys.seen(partition)], args=[bucket, _BUCKETS, oldest]))
            forgotten += some
        return forgotten


def _before(now: float, seconds: float) -> int:
    return max(0, int((now - seconds) * 1000))
