"""The table "Odd input" of ClassMarker's QUIRKS.md, row by row."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bridge.errors import Unreadable
from bridge.sdk.vendor import Ignored, NormalisedAttempt, Record, material_digest
from bridge.vendors.classmarker.adapter import normalise, split

NOW = 1_795_000_000
RESULT = {
    "link_result_id": 5,
    "percentage": Decimal("70.0"),
    "points_scored": Decimal("21.0"),
    "points_available": Decimal("30.0"),
    "requires_grading": "No",
    "time_started": NOW - 600,
    "time_finished": NOW - 60,
    "percentage_passmark": 65,
    "passed": True,
}


def read(without: str | None = None, **changes: Any) -> NormalisedAttempt:
    """A link result with some members changed and one left out."""
    result = {name: value for name, value in (RESULT | changes).items() if name != without}
    return normalise(Record("links", {"test": {"test_id": 7}, "link": {"link_id": 8}, "result": result}), NOW, {})


def test_numbers_as_text_are_the_same_news() -> None:
    as_text = {name: str(value) for name, value in RESULT.items() if not isinstance(value, bool | str)}

    assert material_digest(read(**as_text)) == material_digest(read())
    assert read(**as_text).attempt_id == read().attempt_id == "link:5"


@pytest.mark.parametrize("empty", ["passed", "requires_grading"])
def test_an_empty_boolean_is_false(empty: str) -> None:
    assert material_digest(read(**{empty: ""})) == material_digest(read(**{empty: False}))


def test_another_word_for_a_boolean_is_quarantined() -> None:
    with pytest.raises(Unreadable, match="passed"):
        read(passed="perhaps")


def test_an_unknown_word_is_quarantined_or_ignored_never_guessed() -> None:
    kind = "single_user_test_results_link"
    with pytest.raises(Unreadable, match="status"):
        read(status="zz")
    with pytest.raises(Unreadable, match="payload_status"):
        split({"payload_type": kind, "payload_status": "paused"}, {})
    assert split({"payload_type": "zz", "payload_status": "live"}, {}) == Ignored("zz")


@pytest.mark.parametrize("missing", sorted(RESULT))
def test_a_missing_field_is_null_or_quarantined(missing: str) -> None:
    if missing in ("link_result_id", "time_finished"):
        with pytest.raises(Unreadable, match=missing):
            read(without=missing)
    else:
        attempt = read(without=missing)
        assert (attempt.attempt_id, attempt.status) == ("link:5", "completed")
        told = (attempt.result, attempt.started_at)
        assert (told == (read().result, read().started_at)) is (missing == "requires_grading")


def test_an_extra_field_is_dropped() -> None:
    assert read(mood="good", extra={"deep": [1]}) == read()


@pytest.mark.parametrize("moment", ["2026-01-01 10:00 IST", "2026-01-01T10:00:00+05:30", NOW * 1000, "10:00"])
def test_a_time_of_another_form_or_zone_is_quarantined(moment: object) -> None:
    with pytest.raises(Unreadable, match="time_finished"):
        read(time_finished=moment)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"points_scored": Decimal("30.5")}, "score_above_maximum"),
        ({"time_started": NOW}, "finish_before_start"),
        ({"time_finished": NOW + 301}, "finish_in_future"),
    ],
)
def test_what_cannot_be_is_flagged_and_published_as_sent(changes: dict[str, Any], flag: str) -> None:
    attempt = read(**changes)

    assert attempt.flags == (flag,)
    assert (attempt.status, attempt.result.grading) == ("completed", "final")
