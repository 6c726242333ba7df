"""Thought Industries' API client against the simulated vendor and against answers that only a bad day brings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client as WsgiClient

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorUnavailable
from bridge.vendors.thought_industries import VENDOR
from bridge.vendors.thought_industries.adapter import LONGEST_SITTING
from bridge.vendors.thought_industries.cursor import Cursor, position, rewind, start
from bridge.vendors.thought_industries.simulator import Behaviour, Simulator
from bridge.vendors.thought_industries.simulator.rows import TESTS

NOW = 1_795_000_000
DAY = 86_400
QUIZ = TESTS[0]
USER = "3d3d3d3d-5555-4e55-8e6b-444444444444"
COURSE = "5c5c5c5c-4444-4e55-8e6b-333333333333"
POLL = VENDOR.polls["attempts"]


@dataclass
class Source:
    name: str = "academy"
    base_url: str = "https://acme.vendor.test/incoming/v2/"
    credentials: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"api_key": ("ti_test_INVENTED",)})
    options: dict[str, Any] = field(
        default_factory=lambda: {name: option.default for name, option in VENDOR.options.items()}
    )


class Calls:
    """Keeps every call; `answers` are taken first, then the simulated vendor answers."""

    def __init__(self, simulator=None, *answers):
        self.wsgi = WsgiClient(simulator.wsgi) if simulator else None
        self.answers = list(answers)
        self.made: list[dict[str, Any]] = []
        self.clock = float(NOW)

    def now(self):
        return self.clock

    def request(self, method, url, *, params=(), headers=None, body=None, free=False):
        self.made.append({"method": method, "url": url, "params": dict(params), "headers": dict(headers), "free": free})
        if self.answers:
            status, answer = self.answers.pop(0)
            return status, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        answer = self.wsgi.open(url, method=method, query_string=list(params), headers=headers, data=body)
        return answer.status_code, {}, answer.data


def simulated(clock=lambda: NOW, **behaviour):
    simulator = Simulator(3, clock, api_key="ti_test_INVENTED", behaviour=Behaviour(**behaviour))
    return simulator, Calls(simulator)


def connect(calls, **options):
    source = Source()
    source.options |= options
    return VENDOR.connect(source, calls)


def page(*rows, more=False, cursor="bmV4dA=="):
    return {"pageInfo": {"hasMore": more, "cursor": cursor}, "assessmentAttempts": list(rows)}


def row(created, **members):
    return {"id": USER, "createdAt": created * 1000, "status": "finished", **members}


def read_round(client, cursor):
    """Ids and vendor's words of one round, and where it ended."""
    result, seen = [], set()
    while True:
        got = POLL.fetch(client, cursor)
        result += [(record.body["id"], record.body["status"]) for record in got.records]
        cursor = got.cursor
        if not got.more:
            return result, cursor
        assert cursor not in seen
        seen.add(cursor)


# Calls ----------------------------------------------------------------------------------------------------------------


def test_the_key_is_a_bearer_token_and_stands_nowhere_else():
    _, calls = simulated()
    connect(calls).ping()

    [call] = calls.made
    assert call["headers"]["authorization"] == "Bearer ti_test_INVENTED"
    assert (call["method"], call["url"], call["params"]) == ("GET", "https://acme.vendor.test/incoming/v2/ping", {})
    assert not call["free"]


@pytest.mark.parametrize(
    ("dates", "first", "last"),
    [("iso", "2026-03-01T10:00:00.123Z", "2026-03-02T00:00:00.000Z"), ("unix_ms", "1772359200123", "1772409600000")],
)
def test_every_documented_parameter_is_spelled_as_documented(dates, first, last):
    calls = Calls(None, (200, page()))
    connect(calls, dates=dates).attempts(
        start=1772359200.123, until=1772409600.0, course_id=COURSE, user_id=USER, cursor="a+b/c==", page=2, per_page=50
    )

    assert calls.made[0]["url"].endswith("/incoming/v2/assessmentAttempts")
    assert calls.made[0]["params"] == {
        "startDate": first,
        "endDate": last,
        "courseId": COURSE,
        "userId": USER,
        "cursor": "a+b/c==",
        "page": "2",
        "perPage": "50",
    }


def test_what_is_not_asked_for_is_left_out():
    calls = Calls(None, (200, page()))
    connect(calls).attempts()

    assert calls.made[0]["params"] == {"perPage": "50"}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("newest_first", [True, False])
def test_page_numbers_and_cursors_lead_through_the_same_list(wrapped, newest_first):
    simulator, calls = simulated(wrapped=wrapped, newest_first=newest_first)
    ids = {simulator.finish(NOW - number) for number in range(7)}
    client = connect(calls)

    by_number = [row["id"] for number in (1, 2, 3) for row in client.attempts(page=number, per_page=3).rows]
    by_cursor, cursor = [], None
    while not by_cursor or cursor:
        listing = client.attempts(cursor=cursor, per_page=3)
        by_cursor += [row["id"] for row in listing.rows]
        cursor = listing.next_page

    assert by_number == by_cursor
    assert set(by_number) == ids


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (400, VendorFault, "Set options.dates to unix_ms"),
        (422, VendorFault, "Set options.dates to unix_ms"),
        (401, VendorRefused, "Check api_key"),
        (403, VendorRefused, "Check api_key"),
        (404, VendorFault, "Check base_url"),
        (405, VendorFault, "Check base_url"),
        (409, VendorFault, "Check base_url"),
        (100, VendorFault, "Check base_url"),
    ],
)
def test_the_status_of_an_answer_says_what_to_do_next(status, kind, remedy):
    calls = Calls(None, (status, b""))

    with pytest.raises(kind, match=f"academy: GET assessmentAttempts: HTTP {status}") as raised:
        connect(calls).page(start(NOW))
    assert remedy in str(raised.value)
    assert len(calls.made) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>We are busy</html>",
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"assessmentAttempts": [',
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": {"AssessmentAttempts": null}}',
        b'{"data": {"AssessmentAttempts": {"pageInfo": {"hasMore": false}}}}',
        b'{"data": {"assessmentattempts": {"pageInfo": {"hasMore": false}, "assessmentAttempts": []}}}',
        b'{"pageInfo": {"hasMore": false}, "assessmentAttempts": null}',
        b'{"pageInfo": {"hasMore": false}, "assessmentAttempts": {}}',
        b'{"pageInfo": {}, "assessmentAttempts": []}',
        b'{"assessmentAttempts": []}',
        b'{"errors": [{"message": "invented"}]}',
    ],
)
def test_an_answer_that_is_none_is_never_an_empty_page(body):
    with pytest.raises(VendorUnavailable) as raised:
        connect(Calls(None, (200, body))).page(start(NOW))
    assert raised.value.reason == "bad_answer"


def test_no_error_tells_key_or_query():
    for answer in ((400, b"ti_test_INVENTED"), (401, b""), (404, b""), (200, b"ti_test_INVENTED")):
        with pytest.raises((VendorFault, VendorUnavailable, VendorRefused)) as raised:
            connect(Calls(None, answer)).page(start(NOW))
        text = f"{raised.value!r} {raised.value.__cause__!r}"
        assert "INVENTED" not in text
        assert "?" not in text


@pytest.mark.parametrize(
    ("answer", "next_page"),
    [
        (page(more=True, cursor="a"), "a"),
        (page(more="true", cursor="a"), "a"),
        (page(more=False, cursor="a"), None),
        (page(more="", cursor="a"), None),
        (page() | {"meta": {"nextCursor": "b"}}, None),
        (page(more=True, cursor=None) | {"meta": {"nextCursor": "b"}}, "b"),
        ({"assessmentAttempts": [], "meta": {"nextCursor": "b"}}, "b"),
        ({"assessmentAttempts": [], "meta": {"nextCursor": None, "totalCount": 0}}, None),
        ({"data": {"AssessmentAttempts": {"assessmentAttempts": []}}, "meta": {"nextCursor": "b", "page": 1}}, "b"),
        ({"data": {"AssessmentAttempts": page(more=True, cursor="a")}, "meta": {"nextCursor": "b"}}, "a"),
    ],
)
def test_the_next_page_is_found_in_every_documented_place(answer, next_page):
    assert connect(Calls(None, (200, answer))).attempts().next_page == next_page


@pytest.mark.parametrize(
    "answer", [page(more=True, cursor=""), page(more=True, cursor=None), page(more=True, cursor="here")]
)
def test_a_vendor_that_goes_in_circles_is_a_fault(answer):
    with pytest.raises(VendorFault, match=r"without a cursor|itself") as raised:
        connect(Calls(None, (200, answer))).page(str(Cursor(start=NOW, page="here")))
    assert raised.value.reason == "loop"


# Rounds ---------------------------------------------------------------------------------------------------------------


def test_a_round_waits_at_the_oldest_open_attempt_and_then_moves_on():
    clock = [float(NOW)]
    simulator, calls = simulated(lambda: clock[0], page_size=3)
    client = connect(calls)
    begun = [simulator.begin(NOW - 5000, test=QUIZ), simulator.finish(NOW - 4000, started=NOW - 4500, graded=False)]
    others = [simulator.finish(NOW - 100 * number, started=NOW - 100 * number - 50) for number in range(1, 9)]

    result, cursor = read_round(client, start(NOW - DAY))
    assert {item for item, _ in result} == {*begun, *others}
    assert position(cursor) == NOW - 5000

    clock[0] = calls.clock = NOW + 3600
    simulator.hand_in(begun[0], grade=90)
    result, cursor = read_round(client, rewind(cursor, 60))
    assert (begun[0], "finished") in result
    assert position(cursor) == NOW - 4500

    simulator.grade(begun[1], 70)
    result, cursor = read_round(client, rewind(cursor, 60))
    assert (begun[1], "finished") in result
    assert position(cursor) == NOW - 150


def test_an_attempt_that_stays_open_for_a_day_holds_no_round_up():
    simulator, calls = simulated()
    abandoned = simulator.begin(NOW - LONGEST_SITTING - 1)
    last = simulator.finish(NOW - 50, started=NOW - 90)

    result, cursor = read_round(connect(calls), start(NOW - DAY))

    assert {item for item, _ in result} == {abandoned, last}
    assert position(cursor) == NOW - 90


def test_rounds_over_a_quiet_account_do_not_creep_backwards():
    simulator, calls = simulated()
    client = connect(calls)
    cursor = start(NOW)
    for _ in range(5):
        result, cursor = read_round(client, rewind(cursor, 7200))
        assert result == []
    assert position(cursor) == NOW - LONGEST_SITTING

    simulator.finish(NOW - 50, started=NOW - 90)
    for _ in range(3):
        _, cursor = read_round(client, rewind(cursor, 7200))
    assert position(cursor) == NOW - 90


@pytest.mark.parametrize("newest_first", [False, True])
def test_rows_that_begin_and_end_while_a_round_is_read_are_read_by_the_next(newest_first):
    clock = [float(NOW)]
    simulator, calls = simulated(lambda: clock[0], page_size=3, newest_first=newest_first)
    made = {simulator.finish(NOW - 60 * number, started=NOW - 60 * number - 40) for number in range(10)}
    client, cursor, result = connect(calls), start(NOW - DAY), []
    for _ in range(20):
        got = client.page(cursor)
        result += [record.body["id"] for record in got.records]
        cursor = got.cursor
        if not got.more:
            break
        clock[0] += 1
        made.add(simulator.finish(clock[0], started=clock[0] - 1))

    again, _ = read_round(client, rewind(cursor, 0))

    assert len(made) > 10
    assert {*result, *(item for item, _ in again)} == made


@given(st.lists(st.tuples(st.integers(0, 3 * DAY), st.booleans()), max_size=40), st.integers(1, 5), st.booleans())
def test_any_list_is_read_whole_and_the_next_round_begins_in_front_of_what_is_open(lives, size, newest_first):
    simulator, calls = simulated(page_size=size, newest_first=newest_first)
    for age, is_open in lives:
        if is_open:
            simulator.begin(NOW - age)
        else:
            simulator.finish(NOW, started=NOW - age)
    waiting = [NOW - age for age, is_open in lives if is_open and age <= LONGEST_SITTING]

    result, cursor = read_round(connect(calls), start(NOW - 2 * DAY))

    assert len(result) == len({item for item, _ in result}) == len(lives)
    newest = max((NOW - age for age, _ in lives), default=NOW - 3 * DAY)
    assert position(cursor) == min([newest, *waiting])


def test_a_backfill_reads_what_finished_in_its_period_also_if_it_began_before():
    simulator, calls = simulated()
    begin, end = NOW - 10 * DAY, NOW - 8 * DAY
    within = {
        simulator.finish(begin, started=begin - 3600),
        simulator.finish(begin + DAY, started=begin + DAY - 60),
        simulator.finish(end, started=end),
    }
    simulator.finish(end + 60, started=end + 30)

    result, _ = read_round(connect(calls), start(begin, end))

    assert {item for item, _ in result} == within


def test_a_creation_in_the_future_or_without_sense_does_not_move_the_cursor():
    rows = [row(NOW - 500), row(NOW + 50), row(10 * NOW), row(NOW, createdAt="soon"), row(NOW, createdAt=None), "row"]
    got = connect(Calls(None, (200, page(*rows)))).page(start(NOW))

    assert position(got.cursor) == NOW - 500
    assert len(got.records) == 6
    assert got.records[-1].body == {}


def test_a_cursor_is_text_that_people_can_read():
    at = Cursor(start=1.5, until=9.0, page="x", oldest_open=2.0, newest=3.25)

    assert Cursor.read(str(at)) == at
    assert str(Cursor(start=1.5)) == '{"start":1.5}'
    assert position(str(at)) == 3.25
    assert position(start(NOW)) == NOW - LONGEST_SITTING
    assert position(rewind(str(Cursor(start=5000.0)), 0)) == 4940.0


# Filters --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, {}),
        ({"course_ids": (COURSE.upper(),)}, {"courseId": COURSE}),
        ({"course_ids": (COURSE, USER)}, {}),
        ({"course_ids": (COURSE, USER), "user_ids": (USER,)}, {"userId": USER}),
    ],
)
def test_the_vendor_narrows_by_one_id_and_we_by_all(options, asked):
    rows = [
        row(NOW, courseId=COURSE, user={"id": USER}),
        row(NOW, course={"id": COURSE.upper()}, user={"id": USER}),
        row(NOW, courseId=USER[:-1] + "5", user={"id": USER}),
        row(NOW, courseId=COURSE, user={"id": COURSE}),
        row(NOW, courseId=None, user=None),
    ]
    calls = Calls(None, (200, page(*rows)))
    got = connect(calls, **options).page(start(NOW))

    sent = calls.made[0]["params"]
    assert {name: sent[name] for name in ("courseId", "userId") if name in sent} == asked
    assert len(got.records) == {0: 5, 1: 3, 2: 2}[len(options)]
    assert position(got.cursor) == NOW


@pytest.mark.parametrize("dates", ["iso", "unix_ms"])
@pytest.mark.parametrize("overlooks", [True, False])
def test_the_wrong_form_of_dates_is_a_fault_that_names_the_right_one(dates, overlooks):
    other = {"iso": "unix_ms", "unix_ms": "iso"}[dates]
    simulator, calls = simulated(dates=other, overlooks_dates=overlooks)
    simulator.finish(NOW - 30 * DAY)
    client = connect(calls, dates=dates)

    for call in (client.probe, lambda: client.page(start(NOW - DAY))):
        with pytest.raises(VendorFault, match=f"Set options.dates to {other}"):
            call()


def test_the_probe_pings_and_asks_for_a_far_future():
    simulator, calls = simulated()
    simulator.finish(NOW - 60)

    assert "the key is valid" in VENDOR.probe(connect(calls))
    assert [call["url"].rpartition("/")[2] for call in calls.made] == ["ping", "assessmentAttempts"]
    assert calls.made[1]["params"]["startDate"] > "2036"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, {"valid": False}), VendorRefused),
        ((200, {}), VendorRefused),
        ((200, []), VendorRefused),
        ((200, b"<html>"), VendorFault),
        ((401, b""), VendorRefused),
        ((404, b""), VendorFault),
    ],
)
def test_a_probe_that_fails_says_what_to_check(answer, kind):
    calls = Calls(None, answer)

    with pytest.raises(kind, match=r"Check (api_key|base_url)"):
        VENDOR.probe(connect(calls))
    assert len(calls.made) == 1


# Rechecks -------------------------------------------------------------------------------------------------------------


def test_a_recheck_asks_for_one_learner_in_one_course_and_keeps_only_its_attempt():
    simulator, calls = simulated(page_size=2)
    first = simulator.finish(NOW - 9000)
    ids = [first, *(simulator.retake(first, NOW - 1000 * number) for number in range(1, 5))]
    place = dict(simulator.place(first))

    assert len(VENDOR.recheck(connect(calls), place)) == 5
    for attempt_id in ids:
        [record] = VENDOR.recheck(connect(calls), {**place, "attempt_id": attempt_id})
        assert record.body["id"] == attempt_id
    assert {(call["params"]["userId"], call["params"]["courseId"]) for call in calls.made} == {tuple(place.values())}


def test_a_pointer_stands_for_what_changed_lately():
    simulator, calls = simulated()
    old = simulator.finish(NOW - 30 * DAY)
    new = simulator.retake(old, NOW - 60)

    result = VENDOR.recheck(connect(calls), {**simulator.place(old), "since": str(NOW - DAY)})

    assert [record.body["id"] for record in result] == [new]


def test_rows_of_others_are_never_taken_also_if_the_vendor_overlooks_the_filter():
    rows = [
        row(NOW, id=COURSE, user={"id": USER}, courseId=COURSE),
        row(NOW, id=USER, user={"id": COURSE}, courseId=COURSE),
        row(NOW, user=None, courseId=COURSE),
    ]
    result = VENDOR.recheck(connect(Calls(None, (200, page(*rows)))), {"user_id": USER, "course_id": COURSE})

    assert [record.body["id"] for record in result] == [COURSE]


def test_a_recheck_keeps_to_the_options_like_a_round():
    simulator, calls = simulated()
    attempt_id = simulator.finish(NOW - 60)
    reference = {**simulator.place(attempt_id), "attempt_id": attempt_id}

    for options, count in (({}, 1), ({"course_ids": (USER,)}, 0), ({"user_ids": (COURSE,)}, 0)):
        assert len(VENDOR.recheck(connect(calls, **options), reference)) == count


def test_an_attempt_without_a_learner_is_found_by_its_creation():
    simulator, calls = simulated(page_size=2)
    ids = [simulator.finish(NOW, started=NOW - 500.123) for _ in range(5)]
    reference = {"attempt_id": ids[3], "created": repr(NOW - 500.123)}

    [record] = VENDOR.recheck(connect(calls), reference)

    assert record.body["id"] == ids[3]
    assert calls.made[0]["params"]["startDate"] == calls.made[0]["params"]["endDate"]


def test_a_recheck_that_finds_nothing_is_empty_and_a_circle_is_a_fault():
    _, calls = simulated()
    assert VENDOR.recheck(connect(calls), {"user_id": USER, "course_id": COURSE}) == []

    circle = [(200, page(more=True, cursor="a")), (200, page(more=True, cursor="a"))]
    with pytest.raises(VendorFault, match="itself"):
        VENDOR.recheck(connect(Calls(None, *circle)), {"user_id": USER, "course_id": COURSE})


@pytest.mark.parametrize(
    "reference", [{}, {"user_id": USER}, {"course_id": COURSE}, {"attempt_id": USER}, {"created": "1795000000.0"}]
)
def test_a_watch_that_names_no_attempt_is_refused_before_any_call(reference):
    _, calls = simulated()

    with pytest.raises(Unreadable, match="watch"):
        VENDOR.recheck(connect(calls), reference)
    assert calls.made == []


def test_no_more_of_a_learner_leaves_the_client_than_is_published():
    simulator, calls = simulated(full_rows=True)
    attempt_id = simulator.finish(NOW - 60)
    client = connect(calls)
    seen = [*client.page(start(NOW)).records, *VENDOR.recheck(client, simulator.place(attempt_id))]

    assert len(seen) == 2
    for record in seen:
        assert "INVENTED" not in json.dumps(record.body)
        assert len(json.dumps(record.body)) < 1500


# The numbers that QUIRKS.md argues with -------------------------------------------------------------------------------


def test_the_sweep_costs_what_the_quirks_say():
    """A thousand attempts a day, read four times a day for fifteen days: 50 a page, so 300 calls a sweep."""
    simulator, calls = simulated()
    for number in range(1500):
        simulator.finish(NOW - 864 * number, started=NOW - 864 * number - 10)
    read_round(connect(calls), start(NOW - 14 * DAY))

    # A tenth of the attempts, a tenth of the calls.
    assert len(calls.made) == 30


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_page_cursor_that_has_expired_is_not_blamed_on_the_dates(status):
    client = connect(Calls(None, (200, page(more=True, cursor="b")), (status, {})))
    first = client.page(None)

    with pytest.raises(VendorFault, match="page cursor") as refused:
        client.page(first.cursor)
    assert "dates" not in str(refused.value)


@pytest.mark.parametrize("odd", [{"meta": False}, {"meta": []}, {"meta": "x"}])
def test_a_member_that_is_not_needed_loses_no_page(odd):
    assert not connect(Calls(None, (200, page() | odd))).page(None).more
