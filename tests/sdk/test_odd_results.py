"""Flags of odd results."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from bridge.sdk.odd_results import CLOCK_TOLERANCE_SECONDS, odd_flags
from schemas.event import Result

NOW = 1_795_000_000
AT = datetime.fromtimestamp(NOW, UTC)


@pytest.mark.parametrize(
    ("score", "started", "now", "expected"),
    [
        (20, NOW, NOW, ()),
        (21, NOW, NOW, ("score_above_maximum",)),
        (20, NOW + 1, NOW, ("finish_before_start",)),
        (20, NOW, NOW - CLOCK_TOLERANCE_SECONDS, ()),
        (20, NOW, NOW - CLOCK_TOLERANCE_SECONDS - 1, ("finish_in_future",)),
        (None, None, NOW, ()),
    ],
)
def test_what_is_odd_is_named_and_what_is_unknown_is_not(score, started, now, expected):
    result = Result(score=None if score is None else Decimal(score), max_score=Decimal(20), grading="final")
    began = None if started is None else datetime.fromtimestamp(started, UTC)

    assert odd_flags(result, began, AT, now) == expected
    assert odd_flags(result, began, None, now) in ((), ("score_above_maximum",))
