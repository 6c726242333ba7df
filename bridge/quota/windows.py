"""Windows of calls that a vendor allows, and the calls reserved for each spender. `bridge/quota/budgets.py` counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["BACKFILL", "OVERDUE", "POINTER", "POLL", "RECONCILE", "REREAD", "SPENDERS", "TEST", "Window", "reserved"]

#: What a call is for, the most urgent first: an open or expected attempt, a pointer, the poll (`sources test` ranks
#: with it), a settled attempt that may have changed, and the two that can wait.
OVERDUE, POINTER, POLL, TEST = "overdue", "pointer", "poll", "test"
REREAD, BACKFILL, RECONCILE = "reread", "backfill", "reconcile"

#: Spender -> per cent of the window that it leaves to each other spender: many rechecks must not starve the poll, nor
#: the poll the rechecks, and what can wait leaves more. 40: a first poll, which reads two weeks, ends within an hour or
#: two, however many attempts are expected; it finds most of them. Without a poll, nothing is left to it.
#: 9, not 10: two streams every five minutes may need 26 of ClassMarker's 30 calls an hour.
_RESERVED_PER_CENT: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        OVERDUE: {POINTER: 9, POLL: 40},
        POINTER: {OVERDUE: 9, POLL: 40},
        POLL: {OVERDUE: 9, POINTER: 9},
        TEST: {OVERDUE: 9, POINTER: 9},
        REREAD: {OVERDUE: 9, POINTER: 9, POLL: 40},
        BACKFILL: {OVERDUE: 9, POINTER: 9, POLL: 40, REREAD: 10},
        RECONCILE: {OVERDUE: 9, POINTER: 9, POLL: 40, REREAD: 10, BACKFILL: 10},
    }
)
SPENDERS = tuple(_RESERVED_PER_CENT)

_DAY = 86_400.0
#: The bridge counts a call when it leaves, the vendor when it arrives; the next one may travel faster.
_TRAVEL_SECONDS, _TRAVEL_SHARE = 1.0, 0.02
#: In the last hours of a daily window the reserve shrinks: calls that urgent spenders have not needed by then go to the
#: others, re-reads first. A refused spender tries again after the step.
_TAPER_SECONDS, _TAPER_STEP = 3 * 3600.0, 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """How many calls a vendor allows in a period. Raises `ValueError` for a reset whose period is not a day."""

    #: Calls allowed in every period.
    calls: int
    #: Length of the period, seconds. It slides, unless `resets_at` is set.
    per_seconds: float
    #: When a new period begins every day, seconds after midnight UTC.
    resets_at: float | None = None

    def __post_init__(self) -> None:
        if self.resets_at is not None and not (self.per_seconds == _DAY and 0 <= self.resets_at < _DAY):
            raise ValueError(
                f"a window of {self.per_seconds:g} s cannot reset at {self.resets_at:g} s of each day. "
                f"Remedy: give a period of one day and a reset below {_DAY:g} s"
            )

    def since(self, now: float) -> float:
        """The moment (UNIX seconds) after which calls count at `now`.

        Calls that leave close to a reset may arrive on either side of it, so they count on both.
        """
        if self.resets_at is None:
            return now - self.per_seconds - self._travel
        return self._last_reset(now) - 2 * self._travel

    def available_again_at(self, now: float, oldest: float) -> float:
        """When calls are available again (UNIX seconds), if the oldest that counts at `now` was made at `oldest`."""
        if self.resets_at is None:
            return oldest + self.per_seconds + self._travel
        return self._last_reset(now) + _DAY

    def reserve_shrinks_at(self, now: float, oldest: float) -> float:
        """When reserved calls may be available (UNIX seconds): towards a reset fewer are reserved."""
        reset = self.available_again_at(now, oldest)
        if self.resets_at is None:
            return reset
        return min(reset, max(reset - _TAPER_SECONDS, now + _TAPER_STEP))

    @property
    def _travel(self) -> float:
        return min(_TRAVEL_SECONDS, self.per_seconds * _TRAVEL_SHARE)

    def _last_reset(self, now: float) -> float:
        """The last reset plus the travel time: only then has it surely happened at the vendor too."""
        late = now - self._travel
        return now - (late - (self.resets_at or 0.0)) % _DAY


def reserved(spender: str, window: Window, now: float, *, polled: bool = True) -> dict[str, int]:
    """Other spender -> calls of the window that `spender` leaves to it, including those that it has used already.

    `polled`: whether the source is polled at all.

    Never the whole window: at least one call is free, or nobody could spend a small budget.
    """
    share = 1.0
    if window.resets_at is not None:
        share = min(1.0, (window.available_again_at(now, now) - now) / _TAPER_SECONDS)
    percents = _RESERVED_PER_CENT[spender]
    return {
        other: int(window.calls * percent / 100 * share)
        for other, percent in percents.items()
        if polled or other != POLL
    }
