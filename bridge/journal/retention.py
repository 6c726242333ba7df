"""Deletes what is past its retention: events, requests, quarantined items, and attempts by their last event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import redis

from bridge.config.model import BridgeConfig
from bridge.journal.entries import StreamItems
from bridge.journal.memories import StalePartitions, stale_as_such
from bridge.journal.paging import read_stream
from bridge.journal.quarantine import expired_key, known_key
from bridge.journal.waiting_events import WaitingEvents, order
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.partitions import Spread, read_spread

__all__ = ["Retention", "RetentionReport"]

#: Buckets per call of the script, with about 100 attempts each; ten buckets take well under a millisecond.
_BUCKETS = 50
_PAGE = 200


@dataclass(slots=True)
class RetentionReport:
    """Numbers deleted in one round."""

    #: Events.
    events: int = 0
    #: Stored requests.
    requests: int = 0
    #: Quarantined items, and the dead letters of deliveries, which `bridge/delivery/retention.py` deletes.
    dead_letters: int = 0
    #: Settled deliveries; `bridge/delivery/retention.py` deletes them.
    deliveries: int = 0
    #: Remembered attempts.
    attempts: int = 0
    #: Subscription -> events that it had not sent, and that were deleted because it is paused or disabled.
    unsent: dict[str, int] = field(default_factory=dict)
    #: Partitions whose journal is kept longer because a consumer group lags.
    held_back: tuple[int, ...] = ()


class Retention:
    """Deletes old data; the beat runs it every hour. Running it twice, or late, does no harm.

    Streams are trimmed exactly: Redis trims approximately by whole nodes, so the old entries of a short stream would
    stay.
    """

    def __init__(self, client: redis.Redis, *, partitions: int = 1) -> None:
        self.client = client
        self.partitions = partitions
        self._trim_limit = scripts.register(client, __file__, "trim_limit", read_only=True)
        self._waiting = WaitingEvents(client)
        self._forget = scripts.register(client, __file__, "buckets", "forget")

    def run(self, bridge: BridgeConfig, *, now: float, subscriptions: Sequence[str] = ()) -> RetentionReport:
        """Delete what is too old; returns the numbers deleted. `now`: UNIX seconds. Raises `StateUnavailable`.

        `subscriptions`: all that have deliveries, including those that are no longer configured.
        """
        report, held = RetentionReport(), []
        events, requests = _before(now, bridge.retention.events), _before(now, bridge.retention.requests)
        letters = _before(now, bridge.retention.dead_letters)
        with state_errors():
            stopped = self._stopped(subscriptions)
            for partition in range(self.partitions):
                deleted, lagging = self._trim_journal(partition, events, subscriptions, stopped, report)
                report.events += deleted
                if lagging:
                    held.append(partition)
                report.requests += self.client.xtrim(keys.requests(partition), minid=requests, approximate=False)
            self._forget_attempts(_before(now, bridge.remember_attempts), report)
            report.requests += self.client.xtrim(keys.rejected(0), minid=requests, approximate=False)
            report.dead_letters = self.client.xtrim(keys.quarantine(0), minid=letters, approximate=False)
            self.client.incrby(expired_key(), report.dead_letters)
            self.client.zremrangebyscore(known_key(), "-inf", now - bridge.retention.dead_letters)
        report.held_back = tuple(held)
        return report

    def _stopped(self, subscriptions: Sequence[str]) -> list[str]:
        """The subscriptions that are paused or disabled: their events are kept for `retention.events` and no longer."""
        pipe = self.client.pipeline(transaction=False)
        for name in subscriptions:
            pipe.hmget(keys.subscription_state(name), "paused", "disabled")
        return [name for name, marks in zip(subscriptions, pipe.execute(), strict=True) if any(marks)]

    def _trim_journal(
        self,
        partition: int,
        oldest: int,
        subscriptions: Sequence[str],
        stopped: Sequence[str],
        report: RetentionReport,
    ) -> tuple[int, bool]:
        """(number of events deleted, whether older ones are still needed).

        In this order: what is pending or unread now stays, even if it becomes a retry a moment later.
        """
        awaited = [keys.group(name) for name in subscriptions if name not in stopped]
        args: list[str | int] = [oldest, len(stopped), *map(keys.group, stopped), *awaited]
        limit, held = cast("tuple[bytes, int]", self._trim_limit(keys=[keys.journal(partition)], args=args))
        if not limit:
            return 0, bool(held)
        entry = limit.decode()
        for name in subscriptions:
            entry = self._waiting.keep(name, partition, entry)
        for name in stopped:
            unsent = unsettled_before(self.client, keys.journal(partition), keys.group(name), entry)
            if unsent:
                # Counted first: if the process is killed now, they are counted twice rather than not at all.
                self.client.hincrby(keys.subscription_state(name, partition), "unsent", unsent)
                report.unsent[name] = report.unsent.get(name, 0) + unsent
        return self.client.xtrim(keys.journal(partition), minid=entry, approximate=False), bool(held)

    def _forget_attempts(self, oldest: int, report: RetentionReport) -> None:
        """Delete remembered attempts, but none while memories move between partitions. If what was copied home were
        forgotten before its original, the original would come home again, and a published revision would look new.
        """
        spread = read_spread(self.client, configured=self.partitions) or Spread(self.partitions)
        if spread.before is not None:
            return
        for partition in range(self.partitions):
            names, bucket = [keys.seen(partition), keys.event_ids(partition)], 0
            while bucket >= 0:
                args = [spread.epoch, bucket, _BUCKETS, oldest]
                try:
                    with stale_as_such():
                        number, bucket = cast("list[int]", self._forget(keys=names, args=args))
                except StalePartitions:
                    # The move has just begun: the next round forgets.
                    return
                report.attempts += number


def _before(now: float, seconds: float) -> int:
    return max(0, int((now - seconds) * 1000))


def unsettled_before(client: redis.Redis, journal: str, group: str, limit: str) -> int:
    """The number of entries older than `limit` that a group has not read, or has read and not settled.

    Raises the errors of redis-py.
    """
    rows = client.xinfo_groups(journal) if client.exists(journal) else []
    read_to = next((row["last-delivered-id"].decode() for row in rows if row["name"] in (group, group.encode())), None)
    if read_to is None:
        return 0
    start, pending = "-", 0
    while page := client.xpending_range(journal, group, start, f"({limit}", _PAGE):
        ids = [row["message_id"].decode() for row in cast("list[dict[str, bytes]]", page)]
        pending += sum(len(cast("StreamItems", client.xrange(journal, ident, ident))) for ident in ids)
        start = f"({ids[-1]}"
    if order(read_to) >= order(limit):
        return pending
    return pending + sum(
        1 for _ in read_stream(client, journal, f"({read_to}", f"({limit}", page=_PAGE, newest_first=False)
    )
