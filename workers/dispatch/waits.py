"""What a lane notes while nothing can be tried: a broker or database is away, or not as expected.

No try is used up and no circuit opens, so these notes are what operators see: in `subscriptions show`, in `doctor`, and
after a while in the alarm `subscription.failing`.
"""

from __future__ import annotations

from typing import cast

import redis
import structlog

from workers.dispatch.schedule import Repeated, broker_backoff

__all__ = ["Waits"]

#: Fields in the state of the subscription in a partition: what it waits for, and since when (UNIX seconds).
_FIELDS = ("waits", "waits_since")
#: Seconds after which a problem that lasts is logged again.
_LOG_AGAIN = 3600.0
#: Seconds within which a delivery that waits for a broker is tried again.
_SOON = 60.0

_log = structlog.get_logger(__name__)


class Waits:
    """The notes of one lane. `counters`, `retry`: keys of its state and its retries. Raises the errors of redis-py."""

    def __init__(self, client: redis.Redis, subscription: str, *, counters: str, retry: str) -> None:
        self._client, self._subscription = client, subscription
        self._counters, self._retry = counters, retry
        self._failures = 0
        #: Whether there may be notes, at first because an earlier process may have left some.
        self._may_be_noted = True
        self._log = Repeated(_LOG_AGAIN)

    def begin(self, problem: str, now: float) -> float:
        """Note that nothing could be tried (`now`: UNIX seconds); returns the seconds to wait."""
        if self._log.is_due(problem, now):
            _log.warning("broker_unreachable", subscription=self._subscription, problem=problem)
        noted = cast("bytes | None", self._client.hget(self._counters, "waits_since"))
        # A moment in the future was stored before the clock was set back.
        since = now if noted is None else min(float(noted), now)
        self._client.hset(self._counters, mapping={"waits": problem, "waits_since": f"{since:.3f}"})
        self._failures += 1
        return broker_backoff(self._failures)

    def end(self) -> None:
        """Remove the notes: something was tried, or nothing is left that could wait."""
        if self._failures:
            _log.info("broker_recovered", subscription=self._subscription)
            self._log.ended()
        if self._failures or self._may_be_noted:
            self._client.hdel(self._counters, *_FIELDS)
        self._failures, self._may_be_noted = 0, False

    def forget(self, now: float) -> None:
        """Remove an earlier process's notes, because nothing was read, unless a retry may still be waiting."""
        if not self._may_be_noted or self._failures:
            return
        if not self._client.zcount(self._retry, "-inf", f"{now + _SOON:.3f}"):
            self.end()
