"""What a process may believe for a moment, to spare the question: that a source has nothing of a kind. Pure."""

from __future__ import annotations

__all__ = ["KnownEmpty"]

#: Share of the time after which one caller asks again: the rest is for its answer.
_ASK_AGAIN = 0.9


class KnownEmpty:
    """Which sources are known to be empty, each for `seconds` after the question. Moments are UNIX seconds.

    Shortly before the end one caller is told to ask again while the others go on believing: a hundred webhooks at the
    same moment would otherwise all put the same question as soon as the time is over.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        #: source -> until when it is believed; and from when the next caller asks again
        self._until: dict[str, float] = {}
        self._ask_at: dict[str, float] = {}

    def believed(self, source: str, now: float) -> bool:
        """Whether the caller may take the source for empty. If not, it asks and tells what it `heard`."""
        until = self._until.get(source, 0.0)
        if now >= until:
            return False
        if now < self._ask_at[source]:
            return True
        # The caller asks for all that come until then; if it gets no answer, nothing is believed for longer.
        self._ask_at[source] = until
        return False

    def heard(self, source: str, now: float, *, empty: bool) -> None:
        """The state's answer to a question put at `now`."""
        if empty:
            self._ask_at[source] = now + _ASK_AGAIN * self._seconds
            self._until[source] = now + self._seconds
        else:
            self.forget(source)

    def forget(self, source: str) -> None:
        """Believe nothing of a source: this process has just put something there."""
        self._until.pop(source, None)
