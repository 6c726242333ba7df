"""Windows of calls that a vendor allows, and each spender's share. Counting: `bridge/quota/budgets.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["BACKFILL", "OVERDUE", "POINTER", "POLL", "RECONCILE", "REREAD", "SPENDERS", "TEST", "Window", "kept"]

#: For whom a call is made, the most urgent first: an attempt that is not settled yet or expected, what a webhook
#: pointed to, the fresh poll (`sources test` ranks like it), a settled attempt that may have changed, and the two that
#: have time.
OVERDUE, POINTER, POLL, TEST = "overdue", "pointer", "poll", "test"
REREAD, BACKFILL, RECONCILE = "reread", "backfill", "reconcile"

#: Per cent of each window that the first leaves to each of the second. The urgent ones may spend nearly everything,
#: but a crowd of them must end neither the other nor the fresh poll; whoever can wait leaves more, the longer it can.
#: 9, not 10: two streams every five minutes may need 26 of ClassMarker's 30 calls an hour.
_LEAVES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        OVERDUE: {POINTER: 9, POLL: 5},
        POINTER: {OVERDUE: 9, POLL: 5},
        POLL: {OVERDUE: 9, POINTER: 9},
        TEST: {OVERDUE: 9, POINTER: 9},
        REREAD: {OVERDUE: 9, POINTER: 9, POLL: 20},
        BACKFILL: {OVERDUE: 9, POINTER: 9, POLL: 20, REREAD: 10},
        RECONCILE: {OVERDUE: 9, POINTER: 9, POLL: 20, REREAD: 10, BACKFILL: 10},
    }
)
SPENDERS = tuple(_LEAVES)

_DAY = 86_400.0
#: A call is counted here when it leaves and there when it arrives; the first of the next window may travel faster.
_TRAVEL_SECONDS, _TRAVEL_SHARE = 1.0, 0.02
#: In the last hours of a daily window less and less is kept: what the urgent have not needed by then is spent on the
#: others, re-reads first. Whoever is refused meanwhile asks again after the step.
_TAPER_SECONDS, _TAPER_STEP = 3 * 3600.0, 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """`calls` in every period of `per_seconds`. The period slides, unless `resets_at` says when it begins anew every
    day: seconds after midnight UTC. Raises `ValueError` for a reset with another period than a day."""

    calls: int
    per_seconds: float
    resets_at: float | None = None

    def __post_init__(self) -> None:
        if self.resets_at is not None and not (self.per_seconds == _DAY and 0 <= self.resets_at < _DAY):
            raise ValueError(
                f"a window of {self.per_seconds:g} s cannot begin anew at {self.resets_at:g} s of each day"
            )

    def since(self, now: float) -> float:
        """Calls after this moment (UNIX seconds) count at `now`.

        Calls that leave close to a reset may arrive on either side of it, so they count on both.
        """
        if self.resets_at is None:
            return now - self.per_seconds - self._travel
        return self._opened(now) - 2 * self._travel

    def frees_at(self, now: float, oldest: float) -> float:
        """When calls come back (UNIX seconds), if the oldest that counts at `now` was made at `oldest`."""
        if self.resets_at is None:
            return oldest + self.per_seconds + self._travel
        return self._opened(now) + _DAY

    def loosens_at(self, now: float, oldest: float) -> float:
        """Likewise, when calls are left but kept for others: towards a reset fewer are kept."""
        reset = self.frees_at(now, oldest)
        if self.resets_at is None:
            return reset
        return min(reset, max(reset - _TAPER_SECONDS, now + _TAPER_STEP))

    @property
    def _travel(self) -> float:
        return min(_TRAVEL_SECONDS, self.per_seconds * _TRAVEL_SHARE)

    def _opened(self, now: float) -> float:
        """The last reset, and a little: only then it has surely come for the vendor too."""
        late = now - self._travel
        return now - (late - (self.resets_at or 0.0)) % _DAY


def kept(spender: str, window: Window, now: float) -> dict[str, int]:
    """How many calls of the window `spender` leaves to each of the others; what they have used already counts.

    Never all of them: at least one call may always be asked for, or a small budget would not be spent by anybody.
    """
    share = 1.0
    if window.resets_at is not None:
        share = min(1.0, (window.frees_at(now, now) - now) / _TAPER_SECONDS)
    return {other: int(window.calls * percent / 100 * share) for other, percent in _LEAVES[spender].items()}
