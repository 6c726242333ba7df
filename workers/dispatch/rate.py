"""The rate of a subscription, shared by all dispatch processes."""

from __future__ import annotations

from typing import cast

import redis

from bridge.config.model import Rate
from bridge.state import keys, scripts

__all__ = ["RateLimit"]


class RateLimit:
    """`client` may retry scripts: events that were let through twice are only counted twice."""

    def __init__(self, client: redis.Redis, subscription: str, rate: Rate) -> None:
        self._key, self._rate = keys.rate(subscription), rate
        self._take = scripts.register(client, __file__, "rate")

    @property
    def per(self) -> float:
        """The stretch of time, seconds."""
        return self._rate.per

    def take(self, wanted: int, now: float) -> tuple[int, float]:
        """(how many of the `wanted` events may be sent now, seconds until more may; 0 if all may).

        `now`: UNIX seconds of the state server. Raises the errors of redis-py.
        """
        args: list[str | int | float] = [f"{now:.3f}", self._rate.events, self._rate.per, wanted]
        granted, wait = cast("tuple[int, bytes]", self._take(keys=[self._key], args=args))
        return granted, float(wait or 0.0)
