"""What is odd about a result, as flags of its event. It is published all the same: holding it back helps nobody."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

__all__ = ["CLOCK_TOLERANCE_SECONDS", "odd_flags"]

#: A finish further in the future than this cannot be explained by differing clocks.
CLOCK_TOLERANCE_SECONDS = 300.0


def odd_flags(
    now: float,
    *,
    started: datetime | None = None,
    finished: datetime | None = None,
    score: Decimal | None = None,
    maximum: Decimal | None = None,
) -> tuple[str, ...]:
    """`score_above_maximum`, `finish_before_start`, `finish_in_future`: those that apply. `now`: UNIX seconds."""
    odd = {
        "score_above_maximum": score is not None and maximum is not None and score > maximum,
        "finish_before_start": started is not None and finished is not None and finished < started,
        "finish_in_future": finished is not None and finished.timestamp() > now + CLOCK_TOLERANCE_SECONDS,
    }
    return tuple(name for name, applies in odd.items() if applies)
