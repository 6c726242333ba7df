"""Mettl's words in ours: the tables row by row, times and zones, identity, webhooks, and odd input."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import Unreadable
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Pointer, Record, material_digest
from bridge.vendors.mettl import VENDOR
from bridge.vendors.mettl.adapter import CANDIDATE, GRADED, attempt_id, expect, normalise, split
from bridge.vendors.mettl.details import share
from bridge.vendors.mettl.schema import Mark, Moment
from bridge.vendors.mettl.simulator import Behaviour, Simulator, Style
from bridge.vendors.mettl.simulator.sittings import api_row
from bridge.vendors.mettl.vocabulary import DETAILED, MODES, attempt_state

NOW = 1_741_082_500.0  # Tue, 04 Mar 2025 10:01:40 GMT
ENDED = datetime(2025, 3, 4, 9, 41, 3, tzinfo=UTC)
OPTIONS = {name: option.default for name, option in VENDOR.options.items()}
TRUSTING = {**OPTIONS, "confirm": False}
KEY, EMAIL = "k7p2m9x4aa", "asha.rao@example.test"


def row(*, result=(), **test):
    """A finished candidate as the client completes it; None takes a member away."""
    marks = {"totalMarks": Decimal("14.5"), "maxMarks": Decimal("20.0"), "attemptTime": Decimal("2451.318")}
    status = {
        "status": "Completed",
        "overallStatus": "Completed",
        "detailedStatus": "Test-taker Completed",
        "startTime": "Tue, 04 Mar 2025 09:00:12 GMT",
        "endTime": "Tue, 04 Mar 2025 09:41:03 GMT",
        "completionMode": "Completed",
        "result": None if result is None else {**marks, **dict(result)},
    }
    status = {name: value for name, value in (status | test).items() if value is not None}
    return {"access_key": KEY, "email": EMAIL, "testStatus": status, "assessment_id": "310044"}


def read(body, **options):
    return normalise(Record(CANDIDATE, body), NOW, {**OPTIONS, **options})


def graded(**changes):
    simulator = Simulator(3, lambda: NOW)
    attempt = simulator.finish(email=EMAIL, at=NOW - 60)
    return parse(simulator.webhook(attempt)[0]) | changes


# The tables --------------------------------------------------------------------------------------------------------

STOPPED = [
    "Mic Mute Limit exceeded",
    "Browsing Tolerance Limit Exceeded",
    "Proctor Stopped ",
    "Suspicious Software Detected",
    "Multiple Screen Detected",
    "Prohibited Apps Running",
    "Screen Capture/Recording Detected",
    "Screen Sharing/Remote Access Detected ",
]


@pytest.mark.parametrize(
    ("status", "overall", "detailed", "with_result", "without"),
    [
        *[("ToBeTaken", "Yet to start", word, None, "not_started") for word in ("Mapped", "Invited", "Registered")],
        ("Anything", "Not Started", "Access Expired", None, "not_started"),
        ("InProgress", "In-progress", "In-progress", None, "in_progress"),
        ("InProgress", "In-progress", "Awaiting Resume Permission", None, "in_progress"),
        ("InProcessing", "Completed", "Test-taker Completed", "pending", "pending"),
        ("Completed", "Completed", "Test-taker completed", "final", "pending"),
        ("Completed", "Completed", "Time Over", "final", "pending"),
        *[("Anything", "Test Stopped", word, "final", "pending") for word in STOPPED],
        ("Blocked", "Blocked", "Authorizer Blocked", None, "not_started"),
        ("Expired", "Disconnected", "Disconnected from Server", "provisional", "pending"),
        ("Anything", "Disconnected", "Test Window Closed", "provisional", "pending"),
        ("Anything", "Disconnected", "Awaiting Test-taker Resume", "in_progress", "in_progress"),
    ],
)
def test_the_table_of_statuses_row_by_row(status, overall, detailed, with_result, without):
    """In the last two columns: the grading of a completed attempt, or the status of one that is not."""
    for has_result, expected in ((True, with_result), (False, without)):
        if expected is None:
            continue
        result = attempt_state(status, overall, detailed, None, has_result=has_result)
        completed = expected in ("final", "pending", "provisional")
        assert result.status == ("completed" if completed else expected)
        assert result.grading == (expected if completed else "not_scored")
        assert (
            attempt_state(status.upper(), f" {overall.lower()} ", detailed.upper(), None, has_result=has_result)
            == result
        )


def test_the_table_holds_every_documented_pair():
    assert len(DETAILED) == 20
    assert {overall for overall, _ in DETAILED} == {
        "yet to start",
        "not started",
        "in-progress",
        "completed",
        "test stopped",
        "blocked",
        "disconnected",
    }


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("AutoCompleted", ("completed", "final")),
        ("Completed", ("completed", "final")),
        ("ParentFinished", ("completed", "final")),
        ("CandidateClosed", ("completed", "final")),
        ("ProctoredFinish", ("completed", "final")),
        ("BrowsingToleranceExceeded", ("completed", "final")),
        ("SuspiciousSoftwareFinish", ("completed", "final")),
        ("Expired", ("completed", "provisional")),
        ("ResumeEnabled", ("in_progress", "not_scored")),
    ],
)
def test_the_table_of_completion_modes_row_by_row(mode, expected):
    result = attempt_state("Completed", None, None, mode, has_result=True)

    assert (result.status, result.grading) == expected
    assert len(MODES) == 10


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("ToBeTaken", ("not_started", "not_scored")),
        ("InProgress", ("in_progress", "not_scored")),
        ("InProcessing", ("completed", "pending")),
        ("Completed", ("completed", "final")),
        ("Expired", ("completed", "provisional")),
    ],
)
def test_an_older_answer_with_the_status_alone_is_understood(status, expected):
    result = attempt_state(status, None, "", None, has_result=True)

    assert (result.status, result.grading) == expected


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("Reviewed", "Completed", "Test-taker Completed", "Completed"), "unknown_word"),
        (("Reviewed", None, None, None), "unknown_word"),
        ((None, None, None, None), "unknown_word"),
        (("Completed", "Completed", "Test Paused", "Completed"), "unknown_word"),
        (("Completed", "Finished", "Test-taker Completed", "Completed"), "unknown_word"),
        (("Completed", "Completed", None, "Completed"), "unknown_word"),
        (("Completed", "Completed", "Mapped", "Completed"), "unknown_word"),
        (("Completed", "Completed", "Test-taker Completed", "LunchBreak"), "unknown_word"),
        (("InProgress", "Completed", "Test-taker Completed", None), "contradiction"),
        (("Completed", "Completed", "Test-taker Completed", "NA"), "contradiction"),
    ],
)
def test_unknown_words_and_contradictions_are_never_guessed(words, reason):
    with pytest.raises(Unreadable) as refused:
        attempt_state(*words, has_result=True)
    assert refused.value.reason == reason


def test_a_candidate_who_was_blocked_has_not_started():
    assert attempt_state("InProgress", None, None, "NA", has_result=False).status == "not_started"


# Results -----------------------------------------------------------------------------------------------------------


def test_in_processing_has_no_score_even_if_a_result_should_stand_there():
    attempt = read(row(status="InProcessing"))

    assert (attempt.status, attempt.result.grading, attempt.result.score) == ("completed", "pending", None)
    assert attempt.watch is not None
    assert (attempt.watch.due_in, attempt.watch.reread) == (60.0, False)
    assert attempt.watch.give_up_at == ENDED.timestamp() + 90 * 86_400


@pytest.mark.parametrize(
    ("change", "due", "reread", "since"),
    [
        ({"status": "InProgress", "overallStatus": "In-progress", "detailedStatus": "In-progress"}, 600, False, 9),
        ({"completionMode": "Expired"}, 3_600, True, 41),
        ({"completionMode": "ResumeEnabled"}, 600, False, 9),
    ],
)
def test_what_may_still_change_is_watched_by_access_key_and_address(change, due, reread, since):
    watch = read(row(**change)).watch

    assert watch is not None
    assert watch.reference == {"access_key": KEY, "email": EMAIL, "assessment_id": "310044"}
    assert (watch.due_in, watch.reread) == (due, reread)
    moment = ENDED if since == 41 else datetime(2025, 3, 4, 9, 0, 12, tzinfo=UTC)
    assert watch.give_up_at == moment.timestamp() + 30 * 86_400


def test_a_final_result_is_not_watched_and_nobody_passed_or_failed():
    attempt = read(row())

    assert attempt.watch is None
    assert (attempt.result.passed, attempt.result.grade, attempt.result.pass_mark_percentage) == (None, None, None)
    assert (attempt.result.score, attempt.result.percentage) == (Decimal("14.5"), Decimal("72.5"))
    assert (attempt.duration_seconds, attempt.order) == (2451, 0)


@pytest.mark.parametrize(
    ("score", "maximum", "percentage"),
    [("14.5", "20.0", "72.5"), ("1", "3", "33.3333"), ("-2", "20", "0"), ("21", "20", "105"), ("5", "0", None)],
)
def test_the_percentage_is_the_share_of_the_maximum_and_never_below_nothing(score, maximum, percentage):
    attempt = read(row(result={"totalMarks": score, "maxMarks": maximum}))

    assert attempt.result.percentage == (None if percentage is None else Decimal(percentage))
    assert attempt.result.score == Decimal(score)


@given(st.decimals("-1e29", "1e29", allow_nan=False), st.decimals("1e-29", "1e29", allow_nan=False))
def test_a_share_is_never_negative_and_never_overflows(score, maximum):
    assert share(score, maximum) >= 0


@pytest.mark.parametrize("marks", [{"totalMarks": 0, "maxMarks": 0}, {"totalMarks": "NA"}, {"totalMarks": None}])
def test_a_questionnaire_has_no_score(marks):
    attempt = read(row(result=marks))

    assert (attempt.status, attempt.result.grading) == ("completed", "not_scored")
    assert (attempt.result.score, attempt.result.percentage) == (None, None)


def test_oddities_are_flagged_and_published_all_the_same():
    assert read(row()).flags == ()
    assert read(row(result={"totalMarks": Decimal("20.5")})).flags == ("score_above_maximum",)
    assert read(row(endTime="Tue, 04 Mar 2025 09:00:11 GMT")).flags == ("finish_before_start",)
    assert read(row(endTime="Tue, 04 Mar 2025 10:06:40 GMT")).flags == ()
    assert read(row(endTime="Tue, 04 Mar 2025 10:06:41 GMT")).flags == ("finish_in_future",)


def test_an_ending_without_a_time_is_completed_when_it_was_seen():
    attempt = read(row(endTime=""))

    assert attempt.completed_at.timestamp() == NOW
    assert attempt.completed_at_is_observed
    assert material_digest(attempt) == material_digest(normalise(Record(CANDIDATE, row(endTime="")), NOW + 60, OPTIONS))


def test_the_digest_moves_with_marks_end_and_mode_and_with_nothing_else():
    first = material_digest(read(row()))

    assert material_digest(read(row(result={"percentile": Decimal("11.1"), "attemptTime": 7}))) == first
    assert material_digest(read(row(result={"totalMarks": "14.50"}, status="COMPLETED"))) == first
    for change in ({"result": {"totalMarks": 15}}, {"endTime": "Tue, 04 Mar 2025 09:41:04 GMT"}):
        assert material_digest(read(row(**change))) != first
    assert material_digest(read(row(completionMode="ParentFinished"))) != first


def test_extensions_tell_the_vendors_own_facts_but_labels_only_on_request():
    label = {"type": "Recommendation", "value": "Recommended"}
    essay = {"questionType": "Long Answer", "marksScored": Decimal("0.5"), "candidateResponse": "<p>By key.</p>"}
    body = row(
        result={
            "percentile": Decimal("72.7272727"),
            "candidateCredibilityIndex": "Not Applicable",
            "analysis": {"recommendation": [label, None]},
            "sectionMarks": [{"sectionName": "A", "skillMarks": [{"skillName": "B", "questions": [essay]}, None]}],
        },
        performanceCategory="Good",
    )
    body["registration"] = {
        "Email Address": EMAIL,
        "First name": " Asha ",
        "Last Name": "Rao",
        "Roll No": 17,
        "": "",
        "List": [],
    }
    plain, full = read(body), read(body, recommendation=True, essays=True)

    assert plain.candidate.name == "Asha Rao"
    assert plain.extensions == {
        "registration": {"Roll No": "17"},
        "overall_status": "Completed",
        "detailed_status": "Test-taker Completed",
        "completion_mode": "Completed",
        "percentile": 72.7273,
        "performance_category": "Good",
    }
    assert full.extensions["recommendation"] == [label]
    assert full.extensions["essays"][0]["response"] == "<p>By key.</p>"
    assert material_digest(full) == material_digest(plain)
    assert json.dumps(full.extensions)


# Times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Tue, 04 Mar 2025 09:41:03 GMT",
        "Tue, 04 Mar 2025 09:41:03 UTC",
        "Tue, 04 Mar 2025 15:11:03 IST",
        "tue, 4 mar 2025 15:11:03 ist",
        " 04 Mar 2025 15:11:03 +0530",
        "Tue,\u00a004 Mar 2025 04:41:03 -0500",
    ],
)
def test_a_moment_is_the_same_in_every_zone_that_we_know(text):
    assert Moment.convert(text) == ENDED


@pytest.mark.parametrize(
    "text",
    [
        "Tue, 04 Mar 2025 09:41:03 EST",
        "Tue, 04 Mar 2025 09:41:03 CET",
        "Tue, 04 Mar 2025 09:41:03",
        "Tue, 04 Mar 2025 09:41:03 +05:30",
        "Tue, 04 Mrz 2025 09:41:03 GMT",
        "Tue, 31 Feb 2025 09:41:03 GMT",
        "Tue, 04 Mar 1825 09:41:03 GMT",
        "2025-03-04T09:41:03Z",
        1741081263,
    ],
)
def test_any_other_moment_is_refused_and_not_taken_for_utc(text):
    with pytest.raises(ValueError, match=r"must be|day is out of range"):
        Moment.convert(text)


@pytest.mark.parametrize("word", ["NA", "na", " Not Applicable ", "N/A", ""])
def test_the_vendors_words_for_no_number_are_none(word):
    assert Mark.convert(word) is None


def test_times_in_gmt_beside_the_test_win_over_the_accounts_own_zone():
    body = graded()
    body["testStatus"]["endTime"] = "Tue, 04 Mar 2025 23:59:59 IST"
    [record] = split(body, TRUSTING)

    assert normalise(record, NOW, TRUSTING).completed_at.timestamp() == NOW - 60
    del body["end_time_GMT"]
    [record] = split(body, TRUSTING)
    assert normalise(record, NOW, TRUSTING).completed_at == datetime(2025, 3, 4, 18, 29, 59, tzinfo=UTC)


# Identity ----------------------------------------------------------------------------------------------------------


def test_the_identity_is_access_key_and_digest_of_the_folded_address():
    known = "k7p2m9x4aa:5815dd6043ad12b676d0"

    assert attempt_id(KEY, "asha.rao@example.org") == known
    assert attempt_id(KEY, "  Asha.RAO@Example.org ") == known
    assert attempt_id("a b/c", EMAIL).startswith("a%20b%2Fc:")
    assert attempt_id("other", EMAIL) != attempt_id(KEY, EMAIL)


@settings(max_examples=25)
@given(st.emails())
def test_an_address_never_stands_in_an_id(email):
    assert email.partition("@")[2].lower() not in attempt_id(KEY, email)


@pytest.mark.long
@pytest.mark.parametrize("style", [Style(), Style(text=True), Style(reports=True, camel=False)])
def test_a_hundred_invented_sittings_are_the_same_attempts_by_both_paths(style):
    simulator = Simulator(9, lambda: NOW, behaviour=Behaviour(style=style))
    for number in range(100):
        attempt = simulator.sit(NOW - number, candidate=number)
        simulator.grade(attempt)
        sitting = simulator.sitting(attempt)
        [record] = split(parse(simulator.webhook(attempt)[0]), TRUSTING)
        pushed = normalise(record, NOW, TRUSTING)
        told = api_row(sitting, style, recommendation=False, essays=False) | {"access_key": sitting.schedule.access_key}
        polled = normalise(Record(CANDIDATE, parse(json.dumps(told).encode())), NOW, OPTIONS)

        assert (record.kind, pushed.attempt_id) == (GRADED, attempt)
        assert polled.attempt_id == attempt
        assert material_digest(pushed) == material_digest(polled)
        for name in ("candidate", "started_at", "completed_at", "duration_seconds", "sections", "extensions"):
            assert getattr(pushed, name) == getattr(polled, name), name


# Webhooks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["startAssessment", "finishTest", "gradedAssessment", "UNKNOWN_PLACEHOLDER", None])
@pytest.mark.parametrize("options", [OPTIONS, TRUSTING])
def test_only_a_graded_webhook_and_only_with_confirm_off_carries_news(event, options):
    [item] = split(graded(EVENT_TYPE=event), options)

    if event == "gradedAssessment" and not options["confirm"]:
        assert (item.kind, normalise(item, NOW, options).result.grading) == (GRADED, "final")
    else:
        assert isinstance(item, Pointer)
        assert item.key == attempt_id(KEY, EMAIL)
        assert item.sitting == "90000001"
        assert item.reference == {"access_key": KEY, "email": EMAIL, "sitting": "90000001", "sent": str(int(NOW))}


@pytest.mark.parametrize("missing", ["testStatus", "assessmentId"])
def test_a_graded_webhook_without_all_of_a_result_is_only_a_pointer(missing):
    body = graded()
    del body[missing]

    [item] = split(body, TRUSTING)
    assert isinstance(item, Pointer)


@pytest.mark.parametrize("change", [{"timestamp_GMT": None}, {"candidate_instance_id": None}])
def test_a_webhook_without_time_or_sitting_is_still_a_pointer(change):
    [item] = split(graded(**change), OPTIONS)

    assert item.reference == {"access_key": KEY, "email": EMAIL}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "startAssessment",
        {},
        {"invitation_key": KEY},
        {"email": EMAIL},
        {"invitation_key": "", "email": EMAIL},
        {"invitation_key": "../account", "email": EMAIL},
        {"invitation_key": f"{KEY}?x=1", "email": EMAIL},
        {"invitation_key": KEY, "email": "somebody"},
        {"invitation_key": KEY, "email": "two words@example.test"},
        {"invitation_key": [KEY], "email": EMAIL},
    ],
)
def test_a_body_that_names_no_sitting_is_unreadable_and_never_part_of_an_address(body):
    for options in (OPTIONS, TRUSTING):
        with pytest.raises(Unreadable) as refused:
            split(body, options)
        assert "@" not in str(refused.value)


def test_an_expectation_names_one_attempt_and_its_refusal_no_person():
    pointer = expect({"access_key": KEY, "email": f" {EMAIL} "}, OPTIONS)

    assert pointer.key == attempt_id(KEY, EMAIL)
    assert pointer.reference == {"access_key": KEY, "email": EMAIL}
    for reference in ({}, {"access_key": KEY}, {"email": EMAIL}, {"access_key": "a/b", "email": EMAIL}):
        with pytest.raises(ValueError, match="access_key and the candidate's email") as refused:
            expect(reference, OPTIONS)
        assert EMAIL not in str(refused.value)
    assert set(VENDOR.reference_help) == {"access_key", "email"}


# Anything at all ---------------------------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_RESULT = ["totalMarks", "maxMarks", "percentile", "attemptTime", "totalQuestion", "sectionMarks", "analysis"]
_TEST = ["status", "overallStatus", "detailedStatus", "startTime", "endTime", "completionMode", "htmlReport"]


@given(
    st.dictionaries(st.sampled_from(_TEST), _JSON, max_size=3),
    st.dictionaries(st.sampled_from(_RESULT), _JSON, max_size=3),
    st.dictionaries(st.sampled_from(["registration", "testStatus", "assessment", "extra"]), _JSON, max_size=2),
)
def test_whatever_stands_in_a_row_is_news_or_unreadable_and_never_a_crash(test, result, outer):
    body = deepcopy(row(result=result, **test)) | outer
    try:
        attempt = read(body, recommendation=True, essays=True)
    except Unreadable:
        return
    assert attempt.attempt_id == attempt_id(KEY, EMAIL)
    assert material_digest(attempt)
    assert json.dumps(attempt.extensions)


def test_letter_case_blanks_and_unicode_form_of_an_address_make_no_other_attempt():
    spellings = ("zoë@example.test", " ZOË@EXAMPLE.TEST", "zoe\u0308@example.test", "ZOE\u0308@example.test ")

    assert len({attempt_id("k7p2m9x4aa", email) for email in spellings}) == 1
