"""Flags of odd results."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from bridge.sdk.odd_results import CLOCK_TOLERANCE_SECONDS, odd_flags

NOW = 1_795_000_000
AT, LATER = (datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (0, 1))


@pytest.mark.parametrize(
    ("now", "facts", "expected"),
    [
        (NOW, {"score": Decimal(20), "maximum": Decimal(20), "started": AT, "finished": AT}, ()),
        (NOW, {"score": Decimal("20.1"), "maximum": Decimal(20)}, ("score_above_maximum",)),
        (NOW, {"started": LATER, "finished": AT}, ("finish_before_start",)),
        (NOW - CLOCK_TOLERANCE_SECONDS, {"finished": AT}, ()),
        (NOW - CLOCK_TOLERANCE_SECONDS, {"finished": LATER}, ("finish_in_future",)),
        (NOW, {}, ()),
    ],
)
def test_what_is_odd_is_named_and_what_is_unknown_is_not(now, facts, expected):
    assert odd_flags(now, **facts) == expected
