"""What certainly finished outside a period is left out; what is uncertain is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bridge.ingest.period import Period
from bridge.sdk.records import Assessment, Candidate, NormalisedAttempt, Result

FIRST = datetime(2026, 11, 1, tzinfo=UTC)
LAST = FIRST + timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("started", "completed", "observed", "left_out"),
    [
        (None, FIRST, False, False),
        (None, LAST, False, False),
        (None, FIRST - SECOND, False, True),
        (None, LAST + SECOND, False, True),
        # An observed finish is the latest possible one.
        (None, LAST + SECOND, True, False),
        (None, FIRST - SECOND, True, True),
        (LAST + SECOND, LAST + 2 * SECOND, True, True),
        (None, None, False, False),
        (LAST + SECOND, None, False, True),
    ],
)
def test_only_what_certainly_finished_at_another_time_is_left_out(
    started: datetime | None, completed: datetime | None, observed: bool, left_out: bool
) -> None:
    attempt = NormalisedAttempt(
        attempt_id="a",
        status="completed",
        candidate=Candidate(),
        assessment=Assessment(id="t"),
        result=Result(),
        started_at=started,
        completed_at=completed,
        completed_at_is_observed=observed,
    )
    # Vendors give whole seconds, so what finished within the first second counts.
    assert Period(FIRST.timestamp() + 0.5, LAST.timestamp()).leaves_out(attempt) is left_out
