"""Detects that the clock was set back, and moves what a source waits for with it: rechecks, pauses, calls, limits."""

from __future__ import annotations

from typing import cast

import redis
import structlog

from bridge.polling.watches import watch_keys
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["SourceClock"]

#: Clocks of processes differ, and NTP corrects by a little: a smaller step back moves nothing, seconds.
_SLACK = 300.0
#: Seconds until the moment is stored again: the stored one may be that old when the clock steps back.
_FOLLOW_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class SourceClock:
    """The clock by which the moments of all sources are stored."""

    def __init__(self, client: redis.Redis) -> None:
        self._follow = scripts.register(client, __file__, "watch_queues", "follow_clock")
        #: Source -> when this process followed the clock last.
        self._followed: dict[str, float] = {}

    def follow(self, source: str, now: float) -> int:
        """Move what the source waits for if the clock was set back; returns by how many seconds.

        `now`: UNIX seconds. Call it before anything else is read or stored: it costs a round trip every 10 s, or after
        a step. Raises `StateUnavailable`.
        """
        last = self._followed.get(source)
        if last is not None and 0 <= now - last < _FOLLOW_SECONDS:
            return 0
        names = [keys.source_clock(source), keys.budget(source), keys.paused(source), keys.vendor_limit(source)]
        with state_errors():
            back = cast("int", self._follow(keys=[*watch_keys(source), *names], args=[repr(now), _SLACK]))
        self._followed[source] = now
        if back:
            _log.warning("clock_was_set_back", source=source, seconds=back)
        return back
