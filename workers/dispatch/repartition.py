"""Moves what is remembered about attempts after the number of partitions has changed: one process, in batches."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from bridge.journal.memories import MoveMemories, StalePartitions
from bridge.services import Services
from bridge.state.partitions import read_spread
from bridge.state.repartition import RUNNING, Repartition

__all__ = ["CRASH_POINTS", "RepartitionRunner"]

#: Points between two effects, at which a test may end the process.
CRASH_POINTS = ("leased", "read", "added", "dropped", "saved", "ended")
#: Buckets in one batch, of about 64 attempts each: three calls of a few milliseconds.
_BUCKETS = 24
_IDLE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class RepartitionRunner:
    """Moves memories while there are any to move. Not thread-safe. `token` identifies the process."""

    def __init__(self, services: Services, token: str, *, crash: Callable[[str], None] = lambda point: None) -> None:
        self._services, self._crash = services, crash
        self._store = Repartition(services.state, configured=services.config.bridge.partitions)
        self._lease = self._store.lease(token)
        self._memories = MoveMemories(services.state, crash=crash)

    def step(self, now: Callable[[], float]) -> float:
        """One batch; returns the seconds to wait, 0 if there is more to do. Raises `StateUnavailable`."""
        if self._store.read().state != RUNNING or not self._lease.hold():
            return _IDLE_SECONDS
        self._crash("leased")
        # Under the lease: another mover may have continued, and a process that paused may find the next change.
        at = self._store.read()
        spread = read_spread(self._services.state, configured=self._services.config.bridge.partitions)
        if at.state != RUNNING or at.before is None or spread is None or spread.epoch != at.epoch:
            return _IDLE_SECONDS
        if at.partition >= at.before:
            if self._store.end(at.epoch, now=now()):
                _log.info("partitions_changed", before=at.before, partitions=at.partitions, memories=at.moved)
            self._crash("ended")
            self._lease.release()
            return _IDLE_SECONDS
        try:
            bucket, moved = self._memories.move(at.partition, at.bucket, _BUCKETS, spread)
        except StalePartitions:
            # Another process has ended it meanwhile. Repeat that: if a failover lost it, all calls would be refused.
            self._store.end(at.epoch, now=now())
            return _IDLE_SECONDS
        partition, bucket = (at.partition + 1, 0) if bucket < 0 else (at.partition, bucket)
        self._store.save(at.epoch, partition, bucket, moved, now=now())
        self._crash("saved")
        return 0.0

    def leave(self) -> None:
        """Let another process continue immediately. Raises `StateUnavailable`."""
        self._lease.release()
