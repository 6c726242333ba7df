"""What a process remembers for a moment to save a query: that a source has nothing of a kind. Pure."""

from __future__ import annotations

__all__ = ["NegativeCache"]

#: Share of the lifetime after which one caller asks again; the rest is time for the answer.
_REFRESH_AFTER = 0.9


class NegativeCache:
    """Which sources are known to be empty, each for `seconds` after the query. Moments are UNIX seconds.

    Shortly before an entry expires, one caller is told to ask again while the others still get the cached answer.
    Otherwise a hundred webhooks at the same moment would all send the same query as soon as it has expired.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: source -> when the query was sent
        self._asked_at: dict[str, float] = {}
        #: source -> when the next caller asks again
        self._refresh_at: dict[str, float] = {}

    def is_known_empty(self, source: str, now: float) -> bool:
        """Whether the source is empty without asking. If False, the caller asks and calls `record`."""
        asked_at = self._asked_at.get(source)
        # `now` is before the query: the clock was set back, and the entry would last until the clock has caught up.
        if asked_at is None or not asked_at <= now < asked_at + self._seconds:
            return False
        if now < self._refresh_at[source]:
            return True
        # This caller asks for all others; if it gets no answer, the entry still expires in time.
        self._refresh_at[source] = asked_at + self._seconds
        return False

    def record(self, source: str, now: float, *, empty: bool) -> None:
        """Remember the answer to a query that was sent at `now`."""
        if empty:
            self._refresh_at[source] = now + _REFRESH_AFTER * self._seconds
            self._asked_at[source] = now
        else:
            self.forget(source)

    def forget(self, source: str) -> None:
        """Drop the entry of a source: this process has just stored something there."""
        self._asked_at.pop(source, None)
