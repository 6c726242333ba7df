"""Cursors of lists that are asked by time: nothing is missed, and no round is endless."""

from __future__ import annotations

import pytest

from bridge.errors import VendorFault
from bridge.sdk.compiled_schema import UnixTime
from bridge.sdk.time_cursor import TimeCursor, poll_by_time

NOW = 1_795_000_000
TIME = ("at", UnixTime())


def page(cursor, rows, following=None):
    return TimeCursor.read(cursor).page_of("result", rows, TIME, following, NOW)


def test_a_round_keeps_its_beginning_and_ends_at_the_newest_row():
    first = page(str(NOW - 900), [{"at": NOW - 500}, {"at": str(NOW - 300)}], following=2)
    assert (TimeCursor.read(first.cursor).since, TimeCursor.read(first.cursor).page) == (NOW - 900, "2")
    assert first.more

    last = page(first.cursor, [{"at": NOW - 200}])

    assert (last.cursor, last.more) == (str(NOW - 200), False)


def test_the_time_may_be_inside_an_object():
    rows = [{"attempt": {"at": NOW - 200}}, {"attempt": None}, {"attempt": {"at": NOW - 300}}]
    result = TimeCursor.read(str(NOW - 900)).page_of("result", rows, ("attempt.at", UnixTime()), None, NOW)

    assert result.cursor == str(NOW - 200)


def test_a_text_of_the_vendors_may_hold_bars():
    assert TimeCursor.read(page(str(NOW), [{}], following="a|b|c|").cursor).page == "a|b|c|"


def test_rows_without_a_readable_time_and_times_in_the_future_move_no_cursor():
    result = page(str(NOW - 900), [{"at": "soon"}, {"at": {}}, {}, None, {"at": NOW + 1}])

    assert result.cursor == str(NOW - 900)
    assert [record.body for record in result.records] == [{"at": "soon"}, {"at": {}}, {}, {}, {"at": NOW + 1}]


def test_a_round_without_rows_ends_where_the_last_one_did_however_far_it_goes_back():
    poll = poll_by_time(page, visible_after=60.0)

    for overlap, back in ((0.0, 60), (600.0, 600)):
        begin = poll.rewind(str(NOW - 900), overlap)
        assert TimeCursor.read(begin).since == poll.position(begin) == NOW - 900 - back
        assert page(begin, []).cursor == str(NOW - 900)


@pytest.mark.parametrize("rows", [[{"at": NOW - 500}], []], ids=["the same page again", "an empty page"])
def test_an_api_that_does_not_go_on_is_a_fault(rows):
    first = page(str(NOW - 900), [{"at": NOW - 500}], following=2)

    with pytest.raises(VendorFault) as raised:
        page(first.cursor, rows, following=3)
    assert raised.value.reason == "loop"


def test_a_cursor_of_another_form_makes_the_round_begin_again():
    with pytest.raises(VendorFault) as raised:
        TimeCursor.read("yesterday")
    assert raised.value.reason == "bad_cursor"


def test_during_a_round_a_cursor_stands_for_the_newest_row():
    poll = poll_by_time(page)

    assert poll.position(poll.start(NOW - 900.5, None)) == NOW - 901
    assert poll.position(page(str(NOW - 900), [{"at": NOW - 500}], following=2).cursor) == NOW - 500
