"""Cirrus's webhook as a pointer, the identity of an attempt, and the table from its words to ours."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import Unreadable
from bridge.sdk.vendor import Pointer, Record, material_digest
from bridge.vendors.cirrus import VENDOR
from bridge.vendors.cirrus.adapter import ASSIGNED, UNASSIGNED, normalise
from bridge.vendors.cirrus.identity import expect
from bridge.vendors.cirrus.webhook import MAX_POINTERS, split

NOW = 1_773_057_600.0
PAIR = {"schedule": "SPRING-07", "candidate": "cand-1"}
BY_ATTEMPT = {"identity": "attempt"}
SHAPE_A = {
    "CandidateExtId": "cand-1",
    "Grade": "Pass",
    "Score": "13.5",
    "MaxScore": "20",
    "PassScore": "11.0",
    "PercentageScore": Decimal("67.5"),
    "Published": "2026-03-02T10:47:03.232Z",
    "AssessmentExtId": "BIO-2",
    "ScheduleExtId": "SPRING-07",
    "AttemptsCount": "1",
    "Status": "Satisfactory",
    "PublishStatus": "FINAL",
    "Presence": True,
}
SHAPE_B = {
    "CandidateNumber": "cand-1",
    "Grade": "E",
    "Score": "1",
    "MaxScore": "2",
    "PassScore": "1.20",
    "PercentageScore": "50",
    "Published": "2026-03-02T10:47:03.82Z",
    "Presence": True,
    "AssessmentNumber": "BIO-2",
    "BookingReference": "SPRING-07",
}
NO_SHOW = SHAPE_B | {"Grade": None, "Score": "0", "MaxScore": "0", "PercentageScore": 0, "Presence": False}
SECTION = {"Id": "S31", "MaxScore": "12", "CandidatePercent": "75", "CandidateScore": "9", "PassMark": "30"}


def attempt_of(row=SHAPE_A, *, asked=PAIR, attempt=None, options=None, now=NOW, **more):
    body = {"asked": asked, "row": row, "attempt": attempt, "number": None, "several": False} | more
    return normalise(Record(ASSIGNED, body), now, options or {})


def changed(**members):
    return attempt_of(SHAPE_A | members)


# The webhook ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "by_pair", "by_attempt"),
    [
        (
            {"CandidateExtId": "c", "ScheduleExtId": "s", "AttemptExtId": "a", "AssessmentExtId": "t"},
            "pair:s:c",
            "attempt:a",
        ),
        ({"candidatenumber": 7, "BOOKINGREFERENCE": "s"}, "pair:s:7", "pair:s:7"),
        ({"schedule_ext_id": "s", "Candidate-Ext-Id": "c"}, "pair:s:c", "pair:s:c"),
        ({"CandidateExtId": "c", "CandidateNumber": "other", "ScheduleExtId": "s"}, "pair:s:c", "pair:s:c"),
        ({"AttemptExtId": "a"}, "?attempt:a", "attempt:a"),
        ({"AttemptExtId": "a", "ScheduleExtId": "s"}, "?attempt:a", "attempt:a"),
        ({"ScheduleExtId": "s"}, "?schedule:s", "?schedule:s"),
        ({"CandidateExtId": "c"}, "?candidate:c", "?candidate:c"),
        (
            {"ScheduleExtId": " a:b/c ", "CandidateExtId": "ü %"},
            "pair:a%3Ab%2Fc:%C3%BC%20%25",
            "pair:a%3Ab%2Fc:%C3%BC%20%25",
        ),
        (
            [{"Event": "x", "Payload": {"Result": {"CandidateExtId": "c", "ScheduleExtId": "s"}}}],
            "pair:s:c",
            "pair:s:c",
        ),
    ],
)
def test_a_webhook_points_to_what_it_names_in_whatever_form(body, by_pair, by_attempt):
    for options, key in (({}, by_pair), ({"identity": "pair"}, by_pair), (BY_ATTEMPT, by_attempt)):
        [pointer] = split(body, options)
        assert isinstance(pointer, Pointer)
        assert pointer.key == key
        assert set(pointer.reference) <= {"schedule", "candidate", "attempt"}


def test_no_score_is_taken_from_a_webhook():
    [pointer] = split(SHAPE_A | {"AttemptExtId": "a"}, {})

    assert pointer.reference == PAIR | {"attempt": "a"}


def test_a_burst_in_one_body_is_one_pointer_each_and_has_an_end():
    def burst(number):
        return {"Content": [{"CandidateExtId": f"c{number}", "ScheduleExtId": "s"} for number in range(number)] * 2}

    assert len(split(burst(MAX_POINTERS), {})) == MAX_POINTERS
    with pytest.raises(Unreadable, match=f"more than {MAX_POINTERS}"):
        split(burst(MAX_POINTERS + 1), {})


@pytest.mark.parametrize(
    "body",
    [
        None,
        "ready",
        7,
        [],
        {},
        {"Event": "ready", "AssessmentExtId": "t"},
        {"CandidateExtId": "", "ScheduleExtId": None, "AttemptExtId": "  "},
        {"CandidateExtId": {"Id": 1}, "ScheduleExtId": True, "AttemptExtId": ["a"]},
        {"AttemptExtId": ".."},
        {"AttemptExtId": "x" * 501},
        {"AttemptExtId": "a\nb"},
    ],
)
def test_a_webhook_without_a_usable_identifier_is_unreadable(body):
    with pytest.raises(Unreadable, match="no external id"):
        split(body, {})


# Identity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "options", "key"),
    [
        (PAIR, {}, "pair:SPRING-07:cand-1"),
        (PAIR, BY_ATTEMPT, "pair:SPRING-07:cand-1"),
        (PAIR | {"attempt": "a"}, {}, "pair:SPRING-07:cand-1"),
        (PAIR | {"attempt": "a"}, BY_ATTEMPT, "attempt:a"),
        ({"attempt": " a "}, BY_ATTEMPT, "attempt:a"),
        ({"attempt": "a", "schedule": "", "candidate": ""}, {}, "?attempt:a"),
        ({"schedule": "s"}, {}, "?all-of:s"),
    ],
)
def test_an_expectation_names_an_attempt_or_where_it_is(reference, options, key):
    pointer = expect(reference, options)

    assert pointer.key == key
    assert pointer.reference == {name: text.strip() for name, text in reference.items() if text}


@pytest.mark.parametrize(
    "reference", [{}, {"candidate": "c"}, {"schedule": " "}, {"attempt": "x" * 501}, {"name": "x"}]
)
def test_an_expectation_that_names_nothing_says_what_to_give(reference):
    with pytest.raises(ValueError, match="give") as caught:
        expect(reference, {})
    assert "xxxx" not in str(caught.value)


def test_a_schedule_that_is_expected_as_a_whole_is_met_by_none_of_its_attempts():
    assert expect({"schedule": "SPRING-07"}, {}).key not in attempt_of().aliases


@pytest.mark.parametrize("row", [SHAPE_A, SHAPE_B, NO_SHOW, None])
def test_the_id_is_what_we_asked_with_in_every_shape(row):
    attempt = None if row else {"AttemptNumber": 1}

    assert attempt_of(row, attempt=attempt).attempt_id == "pair:SPRING-07:cand-1"
    asked = PAIR | {"attempt": "att/1"}
    assert attempt_of(row, asked=asked, attempt=attempt, options=BY_ATTEMPT).attempt_id == "attempt:att%2F1"
    assert attempt_of(row, asked=asked, attempt=attempt).aliases == (
        "?schedule:SPRING-07",
        "?candidate:cand-1",
        "?attempt:att%2F1",
    )


@pytest.mark.parametrize("row", [SHAPE_A, SHAPE_B])
def test_what_we_did_not_ask_with_is_taken_from_the_answer(row):
    attempt = attempt_of(row, asked={"attempt": "a"})

    assert attempt.attempt_id == "pair:SPRING-07:cand-1"
    assert (attempt.candidate.id, attempt.assessment.id, attempt.assessment.group.id) == (
        "cand-1",
        "BIO-2",
        "SPRING-07",
    )
    assert attempt.watch.reference == {**PAIR, "attempt": "a"}


@pytest.mark.parametrize("members", [{"CandidateExtId": None}, {"ScheduleExtId": ""}])
def test_a_result_that_nothing_identifies_is_unreadable(members):
    with pytest.raises(Unreadable, match="no schedule and candidate"):
        attempt_of(SHAPE_A | members, asked={"attempt": "a"})


def test_a_later_attempt_of_one_schedule_has_its_number_and_counts_never_make_an_id():
    attempt = {"AttemptNumber": 3, "StartDate": "2026-03-01T09:00:00Z", "EndDate": "2026-03-01T10:00:00Z"}
    normalised = attempt_of(attempt=attempt, number=3, several=True)

    assert normalised.attempt_id == "pair:SPRING-07:cand-1:3"
    assert normalised.flags == ("several_attempts",)
    for count in ("1", "2", "17", "", None, "many"):
        assert changed(AttemptsCount=count, AssessmentAttemptsCount=count).attempt_id == "pair:SPRING-07:cand-1"
        assert material_digest(changed(AttemptsCount=count)) == material_digest(attempt_of())


@pytest.mark.parametrize(("member", "name"), [("CandidateExtId", "candidate"), ("ScheduleExtId", "schedule")])
def test_an_answer_about_somebody_else_is_kept_and_not_published(member, name):
    spelled = changed(**{member: f" {SHAPE_A[member].upper()} "})
    assert spelled.attempt_id == attempt_of().attempt_id.replace(SHAPE_A[member], SHAPE_A[member].upper())
    with pytest.raises(Unreadable, match=f"its {name} is not the requested one"):
        changed(**{member: 17})


def test_a_result_that_fits_no_attempt_is_kept_for_somebody_to_see():
    with pytest.raises(Unreadable, match="fits none"):
        normalise(Record(UNASSIGNED, {"problem": "it fits none"}), NOW, {})
    with pytest.raises(Unreadable, match="unknown kind"):
        normalise(Record("results", {}), NOW, {})


# State of an attempt ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "status", "grading", "passed", "percentage"),
    [
        (SHAPE_A, "completed", "final", True, "67.5"),
        (SHAPE_A | {"Status": "NotSatisfactory"}, "completed", "final", False, "67.5"),
        (SHAPE_A | {"PublishStatus": "INTERMEDIARY"}, "completed", "provisional", True, "67.5"),
        (SHAPE_A | {"PublishStatus": "FLAGGED_FOR_REMARKING"}, "completed", "provisional", True, "67.5"),
        (
            SHAPE_A | {"PublishStatus": "REMARKING_IN_PROGRESS", "Status": "NotSatisfactory"},
            "completed",
            "provisional",
            False,
            "67.5",
        ),
        (SHAPE_A | {"Status": "Voided"}, "voided", "not_scored", None, None),
        (SHAPE_A | {"Status": "Voided", "Presence": False}, "voided", "not_scored", None, None),
        (SHAPE_A | {"Status": "NotSubmitted", "Presence": False}, "not_started", "not_scored", None, None),
        (SHAPE_A | {"Status": "NotSubmitted", "Presence": None}, "not_started", "not_scored", None, None),
        (SHAPE_A | {"Status": "NotSatisfactory", "Presence": False}, "not_started", "not_scored", None, None),
        (SHAPE_A | {"Status": "NotSubmitted"}, "in_progress", "not_scored", None, None),
        (NO_SHOW, "not_started", "not_scored", None, None),
        (SHAPE_B, "completed", "provisional", None, "50"),
        (SHAPE_B | {"Published": None}, "completed", "pending", None, None),
        (SHAPE_A | {"Published": None}, "completed", "pending", None, None),
        (None, "completed", "pending", None, None),
        (SHAPE_A | {"PublishStatus": "SECOND_OPINION"}, "completed", "provisional", True, "67.5"),
        (SHAPE_A | {"PublishStatus": None}, "completed", "provisional", True, "67.5"),
        (SHAPE_A | {"Status": "not satisfactory", "PublishStatus": "Final"}, "completed", "final", False, "67.5"),
    ],
)
def test_the_state_of_an_attempt(row, status, grading, passed, percentage):
    attempt = attempt_of(row)

    assert (attempt.status, attempt.result.grading, attempt.result.passed) == (status, grading, passed)
    assert attempt.result.percentage == (None if percentage is None else Decimal(percentage))
    scored = grading in ("final", "provisional")
    assert (attempt.result.score is not None) == (attempt.result.max_score is not None) == scored
    assert (attempt.result.grade is not None) == scored


def test_passing_is_the_vendors_word_and_nothing_computed():
    assert changed(Score="2", PassScore="11").result.passed is True
    assert changed(Status="NotSatisfactory", Score="20", Grade="Pass").result.passed is False
    assert changed().result.pass_mark_percentage is None
    assert changed().extensions["pass_score"] == "11.0"


def test_a_result_that_came_from_an_absent_candidate_is_a_contradiction():
    with pytest.raises(Unreadable, match="Presence"):
        changed(Presence=False)


def test_publishing_the_same_again_is_no_news_and_every_other_change_is_one():
    same = material_digest(attempt_of())
    assert material_digest(changed(Published="2026-03-09T08:00:00Z")) == same
    assert material_digest(changed(Score=Decimal("13.50"), MaxScore=20, PercentageScore="67.5")) == same
    assert material_digest(changed(PublishStatus="Final")) == same

    changes = [
        {"Score": "14"},
        {"MaxScore": "21"},
        {"PercentageScore": 68},
        {"Grade": "Merit"},
        {"Status": "NotSatisfactory"},
        {"Status": "Voided"},
        {"PublishStatus": "FLAGGED_FOR_REMARKING"},
        {"PublishStatus": "REMARKING_IN_PROGRESS"},
        {"Published": None},
    ]
    digests = {material_digest(changed(**change)) for change in changes}
    assert len(digests | {same}) == len(changes) + 1


def test_the_finish_is_known_to_some_rechecks_only_and_is_never_a_revision():
    attempt = {"AttemptNumber": 1, "StartDate": "2026-03-01T09:00:00Z", "EndDate": "2026-03-01T10:30:00.82Z"}
    listed, carried = (
        attempt_of(attempt=attempt),
        attempt_of(asked=PAIR | {"started": "1772355600", "finished": "1772361000"}),
    )

    assert listed.completed_at == datetime(2026, 3, 1, 10, 30, 0, 820_000, UTC)
    assert (carried.started_at, carried.completed_at) == (
        datetime(2026, 3, 1, 9, tzinfo=UTC),
        datetime(2026, 3, 1, 10, 30, tzinfo=UTC),
    )
    assert attempt_of().completed_at is None
    assert len({material_digest(attempt) for attempt in (listed, carried, attempt_of())}) == 1


# What is looked at again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "days", "reread"),
    [
        (SHAPE_A, 35, True),
        (SHAPE_A | {"PublishStatus": "REMARKING_IN_PROGRESS"}, 180, False),
        (SHAPE_B, 180, False),
        (SHAPE_A | {"Status": "NotSubmitted"}, 35, True),
        (SHAPE_A | {"Status": "Voided"}, None, None),
        (NO_SHOW, None, None),
    ],
)
def test_a_published_result_is_looked_at_again_for_as_long_as_it_may_change(row, days, reread):
    watch = attempt_of(row | {"Published": "2026-03-02T10:47:03Z"}).watch

    if days is None:
        assert watch is None
    else:
        published = datetime(2026, 3, 2, 10, 47, 3, tzinfo=UTC).timestamp()
        assert (watch.reference, watch.reread) == (PAIR, reread)
        assert watch.give_up_at == published + days * 86_400


@pytest.mark.parametrize(
    "row", [None, SHAPE_B | {"Published": None}, SHAPE_A | {"Published": None, "Status": "NotSubmitted"}]
)
def test_waiting_for_a_result_begins_once_and_ends(row):
    first = attempt_of(row).watch
    later = attempt_of(row, asked=first.reference, now=NOW + 50 * 86_400).watch

    assert not first.reread
    assert later == first
    assert first.give_up_at == NOW + 180 * 86_400


def test_a_publication_in_the_future_does_not_prolong_the_looking():
    assert changed(Published="2031-01-01T00:00:00Z").watch.give_up_at == NOW + 35 * 86_400


# Odd input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "outcome"),
    [
        # numbers as text, text as numbers
        ({"Score": Decimal("13.5"), "MaxScore": 20, "PercentageScore": "67.5", "PassScore": 11}, "same"),
        ({"AssessmentExtId": 4}, "same"),
        ({"Score": "13,5"}, "row.Score"),
        ({"MaxScore": "twenty"}, "row.MaxScore"),
        # the empty string for a boolean is unknown here, not absent
        ({"Presence": ""}, "same"),
        ({"Presence": "true"}, "same"),
        ({"Presence": "perhaps"}, "row.Presence"),
        # unknown words
        ({"Status": "Withdrawn"}, "row.Status"),
        # missing and extra members
        ({"Grade": None, "CandidateInfo": None, "ResultsPerSubject": None}, "same id"),
        ({"Score": None, "MaxScore": "", "PercentageScore": None}, "same id"),
        ({"NewMember": {"a": [1, None]}, "Sections": None}, "same"),
        ({"CandidateInfo": "Ilse Brandt"}, "row.CandidateInfo"),
        ({"ResultsPerSubject": {"ExtId": "x"}}, "row.ResultsPerSubject"),
        # time zones and forms
        ({"Published": "2026-03-02T11:47:03.232+01:00"}, "same"),
        ({"Published": "2026-03-02T10:47:03.232"}, "same"),
        ({"Published": "2026-03-02 10:47:03.2321234Z"}, "same"),
        ({"Published": "02/03/2026 10:47"}, "row.Published"),
        ({"Published": 1772448423}, "row.Published"),
        ({"Published": "2026-02-30T10:47:03Z"}, "row.Published"),
        ({"Published": "0001-01-01T00:00:00Z"}, "row.Published"),
        # a score above the maximum
        ({"Score": "20.5"}, "score_above_maximum"),
        ({"Score": "20"}, "same id"),
    ],
)
def test_odd_input_has_a_defined_outcome(members, outcome):
    if outcome.startswith("row."):
        with pytest.raises(Unreadable, match=outcome):
            changed(**members)
        return
    attempt = changed(**members)
    assert attempt.attempt_id == attempt_of().attempt_id
    assert attempt.flags == ((outcome,) if outcome == "score_above_maximum" else ())
    if outcome == "same":
        assert material_digest(attempt) == material_digest(attempt_of())


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2026-03-02T10:47:03.232Z", "10:47:03.232"),
        ("2026-03-02T10:47:03.82", "10:47:03.820"),
        ("2026-03-02t11:47:03.23212345+01:00", "10:47:03.232"),
        ("2026-03-02 05:17:03-0530", "10:47:03.000"),
    ],
)
def test_every_time_is_utc(given, meant):
    assert changed(Published=given).extensions["published"] == f"2026-03-02T{meant}Z"


@pytest.mark.parametrize(
    ("started", "finished", "flags"),
    [
        (NOW - 60, NOW, ()),
        (NOW, NOW - 1, ("finish_before_start",)),
        (NOW, NOW + 300, ()),
        (NOW, NOW + 301, ("finish_in_future",)),
        (NOW + 400, NOW + 301, ("finish_before_start", "finish_in_future")),
    ],
)
def test_odd_times_are_flagged_and_published_all_the_same(started, finished, flags):
    assert attempt_of(asked=PAIR | {"started": str(int(started)), "finished": str(int(finished))}).flags == flags


def test_before_the_result_is_there_the_schedule_stands_for_the_assessment_and_says_so():
    attempt = attempt_of(None, attempt={"AttemptNumber": 1})

    assert (attempt.assessment.id, attempt.flags) == ("schedule:SPRING-07", ("assessment_unknown",))
    assert (attempt.vendor_status, attempt.vendor_ids["attempt_number"]) == ("HANDED_IN", "1")


def test_subjects_objectives_and_sections_of_the_exam_are_sections():
    objective = {"ExtId": "T1", "Name": "Topic", "Percentage": "50", "Score": "2"}
    subject = {"ExtId": "S1", "Name": "Subject", "Percentage": 71, "Score": "5", "LearningObjectives": [objective]}
    exam = [SECTION | {"PassedStatus": word, "PassType": "Points"} for word in ("Passed", "Not passed", "Later", None)]
    attempt = changed(ResultsPerSubject=[subject, {}], Sections=exam)

    first, second, *rest = attempt.sections
    assert (first.id, first.name, first.percentage, first.score) == ("S1", "Subject", 71, 5)
    assert [(section.id, section.percentage, section.score) for section in first.sections] == [("T1", 50, 2)]
    assert second.id is None
    assert [section.passed for section in rest] == [True, False, None, None]
    assert (rest[0].score, rest[0].max_score, rest[0].percentage) == (9, 12, 75)
    assert attempt.extensions["section_pass_marks"][0] == {"id": "S31", "pass_mark": "30", "pass_type": "Points"}
    assert material_digest(attempt) == material_digest(attempt_of())
    assert changed(Status="Voided", ResultsPerSubject=[subject]).sections == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = sorted({*SHAPE_A, *SHAPE_B, "CandidateInfo", "ResultsPerSubject", "Sections"})


@given(st.dictionaries(st.sampled_from(_MEMBERS), _JSON), st.none() | st.dictionaries(st.text(max_size=12), _JSON))
def test_whatever_stands_in_an_answer_is_news_or_unreadable_and_never_a_crash(changes, attempt):
    try:
        normalised = attempt_of(SHAPE_A | changes, attempt=attempt)
    except Unreadable:
        return
    assert normalised.attempt_id == "pair:SPRING-07:cand-1"
    assert material_digest(normalised)


@given(_JSON | st.dictionaries(st.sampled_from(["CandidateExtId", "ScheduleExtId", "AttemptExtId", "x"]), _JSON))
def test_whatever_a_webhook_says_is_pointers_or_unreadable_and_never_a_crash(body):
    try:
        pointers = split(body, BY_ATTEMPT)
    except Unreadable:
        return
    assert all(isinstance(pointer, Pointer) and pointer.key and pointer.reference for pointer in pointers)


def test_the_vendor_is_declared_as_documented():
    assert (VENDOR.quota.calls, VENDOR.quota.per_seconds, VENDOR.quota.resets_at) == (3000, 86_400, "13:30")
    assert VENDOR.verify is None
    assert not VENDOR.polls
    assert list(VENDOR.recheck_schedule) == sorted(VENDOR.recheck_schedule)
