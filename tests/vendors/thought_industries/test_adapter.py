"""Thought Industries' signature, pointers, and the tables of its words."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BadSignature, Unreadable
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Ignored, Record, material_digest
from bridge.vendors import thought_industries
from bridge.vendors.thought_industries import VENDOR
from bridge.vendors.thought_industries.adapter import LONGEST_SITTING, expect, normalise, split, verify
from bridge.vendors.thought_industries.schema import pruned

NOW = 1_795_000_000
DAY = 86_400
HEADER = "x-ti-signature"
#: The vendor sheet's own known answer: 77 bytes without a newline at the end.
VECTOR = b'{"event":"course.completed","timestamp":"2026-03-01T10:00:00.000Z","data":{}}'
VECTOR_SIGNATURE = "9c9793c4263c96c868d9b2fc2e116dd3d94067aad7264d42c725ac6f2d70ef54"
ID = "7d0d2b3a-0a51-4c1e-9b1f-0c6f8f6f1a01"
USER = "3d3d3d3d-5555-4e55-8e6b-444444444444"
COURSE = "5c5c5c5c-4444-4e55-8e6b-333333333333"
OTHER = "5c5c5c5c-4444-4e55-8e6b-999999999999"
OPTIONS = {name: option.default for name, option in VENDOR.options.items()}


def iso(moment):
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def attempt(*, now=NOW, options=OPTIONS, **changes):
    row = {
        "id": ID,
        "assessment": {"id": OTHER, "type": "quiz", "title": "Module 1", "minPassingPercent": 80},
        "courseId": COURSE,
        "user": {"id": USER, "email": "lee@example.test"},
        "createdAt": iso(NOW - 1800),
        "updatedAt": iso(NOW - 600),
        "timeElapsedInSeconds": 1080,
        "status": "finished",
        "grade": 85,
        "originalGrade": 85,
        "passed": True,
        "assignmentSubmissionId": None,
        "topicType": "quiz",
        "forgiven": False,
        "topicId": "6e6e6e6e-6666-4e55-8e6b-555555555555",
    }
    return normalise(Record("attempt", row | changes), now, options)


def split_webhook(data, *, options=OPTIONS, **members):
    body = {"event": "course.completed", "timestamp": iso(NOW), "data": data}
    return split(body | members, options)


# Signature ------------------------------------------------------------------------------------------------------------


def test_the_known_answer_is_accepted():
    assert len(VECTOR) == 77
    verify(VECTOR, {HEADER: VECTOR_SIGNATURE}, ("other", "whsec_invented"), NOW)


@pytest.mark.parametrize(
    "value",
    [
        VECTOR_SIGNATURE.upper(),
        f"sha256={VECTOR_SIGNATURE}",
        VECTOR_SIGNATURE[:-1],
        VECTOR_SIGNATURE + "00",
        f"{VECTOR_SIGNATURE}\n",
        f" {VECTOR_SIGNATURE}",
        "9" * 64,
        "٣" * 64,
        "nJeTxCY8lsho2bL8LhFt09lAZ6rXJk1Cxyxazy1w71Q=",
    ],
)
def test_any_other_signature_is_refused(value):
    with pytest.raises(BadSignature):
        verify(VECTOR, {HEADER: value}, ("whsec_invented",), NOW)


def test_a_reprinted_body_no_header_and_no_secret_are_refused():
    reprinted = json.dumps(json.loads(VECTOR)).encode()
    for raw, headers, secrets in (
        (reprinted, {HEADER: VECTOR_SIGNATURE}, ("whsec_invented",)),
        (VECTOR, {}, ("whsec_invented",)),
        (VECTOR, {HEADER: VECTOR_SIGNATURE}, ()),
    ):
        with pytest.raises(BadSignature):
            verify(raw, headers, secrets, NOW)


# Webhooks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"userId": USER, "courseId": COURSE},
        {"userId": USER.upper(), "course": {"id": f" {COURSE} "}, "user": "somebody"},
        {"user": {"id": USER}, "course": {"id": COURSE}, "percentComplete": 100},
    ],
)
def test_a_completed_course_points_to_the_learner_in_the_course(data):
    [pointer] = split_webhook(data)

    assert pointer.key == f"?user:{USER}:{COURSE}"
    assert pointer.reference == {"user_id": USER, "course_id": COURSE, "since": str(NOW - DAY)}
    assert pointer.key in attempt().aliases


@pytest.mark.parametrize("timestamp", [None, "", "soon", {"at": 1}, "2026-13-01T00:00:00Z"])
def test_a_pointer_without_a_usable_time_is_still_a_pointer(timestamp):
    [pointer] = split_webhook({"userId": USER, "courseId": COURSE}, timestamp=timestamp)

    assert pointer.reference == {"user_id": USER, "course_id": COURSE}


@pytest.mark.parametrize(
    "data",
    [
        {},
        None,
        [],
        "course",
        {"userId": USER},
        {"courseId": COURSE},
        {"userId": 7, "courseId": COURSE},
        {"userId": "lee", "courseId": COURSE},
        {"user": {"id": {}}, "courseId": COURSE},
        {"userId": f"{USER}:x", "courseId": COURSE},
    ],
)
def test_a_completed_course_without_usable_ids_is_ignored_and_never_a_guess(data):
    assert split_webhook(data) == Ignored("course.completed")


@pytest.mark.parametrize("event", ["enrollment.created", "order.completed", "certificate.issued", "course.started"])
def test_every_other_event_is_ignored_by_name(event):
    assert split_webhook({"userId": USER, "courseId": COURSE}, event=event) == Ignored(event)


@pytest.mark.parametrize(
    "body", [None, [], "course.completed", {}, {"event": ""}, {"event": None}, {"event": {"a": 1}}]
)
def test_a_body_that_is_no_webhook_of_theirs_is_unreadable(body):
    with pytest.raises(Unreadable):
        split(body, OPTIONS)


# Expectations and options ---------------------------------------------------------------------------------------------


def test_an_expected_attempt_is_named_by_learner_and_course():
    pointer = expect({"user_id": f" {USER.upper()}", "course_id": COURSE}, OPTIONS)

    assert pointer.key in attempt().aliases
    assert pointer.reference == {"user_id": USER, "course_id": COURSE}
    assert set(VENDOR.reference_help) == set(pointer.reference)


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ({}, "user_id, course_id"),
        ({"user_id": USER}, "course_id"),
        ({"user_id": "lee@example.test", "course_id": COURSE}, "user_id"),
    ],
)
def test_a_reference_that_names_no_place_says_what_it_wants(reference, named):
    with pytest.raises(ValueError, match=f"^{named}: give the uuids") as raised:
        expect(reference, OPTIONS)
    assert "lee@" not in str(raised.value)


@pytest.mark.parametrize("options", [{"user_ids": (OTHER,)}, {"course_ids": (OTHER,)}])
def test_what_the_options_leave_out_is_neither_expected_nor_pointed_to(options):
    options = OPTIONS | options

    assert split_webhook({"userId": USER, "courseId": COURSE}, options=options) == Ignored("course.completed")
    with pytest.raises(ValueError, match="excluded"):
        expect({"user_id": USER, "course_id": COURSE}, options)


def test_options_name_ids_in_any_case():
    options = OPTIONS | {"user_ids": (USER.upper(),), "course_ids": (f" {COURSE}", OTHER)}

    assert split_webhook({"userId": USER, "courseId": COURSE}, options=options) == split_webhook(
        {"userId": USER, "courseId": COURSE}
    )


# Status and score -----------------------------------------------------------------------------------------------------

EIGHTY = Decimal(80)


@pytest.mark.parametrize(
    ("row", "status", "grading", "passed", "percentage", "pass_mark"),
    [
        ({"status": "started", "grade": 0, "passed": False}, "in_progress", "not_scored", None, None, None),
        ({"status": "started", "grade": 90, "passed": True}, "in_progress", "not_scored", None, None, None),
        ({"status": "pending", "grade": 0, "passed": False}, "completed", "pending", None, None, EIGHTY),
        ({}, "completed", "final", True, 85, EIGHTY),
        ({"grade": 0, "originalGrade": 0, "passed": False}, "completed", "final", False, 0, EIGHTY),
        ({"grade": 100, "topicType": "test"}, "completed", "final", True, 100, EIGHTY),
        ({"topicType": "highlightZoneQuiz"}, "completed", "final", True, 85, EIGHTY),
        ({"assessment": None}, "completed", "final", None, 85, None),
        ({"assessment": {"minPassingPercent": 0}}, "completed", "final", None, 85, None),
        ({"assessment": {"minPassingPercent": ""}}, "completed", "final", None, 85, None),
        ({"grade": 85, "originalGrade": 76}, "completed", "final", True, 85, EIGHTY),
        ({"topicType": "survey", "grade": 0}, "completed", "not_scored", None, None, None),
        ({"topicType": "workbook"}, "completed", "not_scored", None, None, None),
        ({"topicType": "tally", "grade": 300}, "completed", "not_scored", None, None, None),
        ({"topicType": "ad"}, "completed", "not_scored", None, None, None),
        ({"topicType": "assignment"}, "completed", "final", True, 85, EIGHTY),
        ({"topicType": "lti", "grade": None}, "completed", "not_scored", None, None, None),
        ({"topicType": "hologram"}, "completed", "final", True, 85, EIGHTY),
        ({"topicType": None}, "completed", "final", True, 85, EIGHTY),
        ({"grade": None}, "completed", "final", True, None, EIGHTY),
        ({"grade": None, "topicType": "test"}, "completed", "final", True, None, EIGHTY),
        ({"grade": None, "topicType": "highlightZoneQuiz"}, "completed", "final", True, None, EIGHTY),
        ({"forgiven": True, "passed": False}, "completed", "final", False, 85, EIGHTY),
    ],
)
def test_the_status_table_row_by_row(row, status, grading, passed, percentage, pass_mark):
    normalised = attempt(**row)

    assert (normalised.status, normalised.vendor_status) == (status, row.get("status", "finished"))
    result = normalised.result
    assert (result.grading, result.passed, result.percentage) == (grading, passed, percentage)
    assert (result.pass_mark_percentage, result.score, result.max_score) == (pass_mark, None, None)
    assert (normalised.completed_at is None) == (status == "in_progress")


def test_forgiven_is_flagged_and_news_but_does_not_void():
    plain, forgiven = attempt(), attempt(forgiven=True)

    assert (plain.flags, forgiven.flags) == ((), ("forgiven",))
    assert forgiven.status == "completed"
    assert material_digest(plain) != material_digest(forgiven)


def test_a_changed_grade_is_later_news_that_tells_the_first_one():
    before, after = attempt(), attempt(grade=92, updatedAt=iso(NOW - 600).replace(".000Z", ".010Z"))

    assert before.extensions == {"topic_type": "quiz"}
    assert after.extensions == {"topic_type": "quiz", "original_grade": 85.0}
    assert material_digest(before) != material_digest(after)
    assert before.order < after.order < 2**40


def test_a_finish_is_when_it_was_first_seen_so_a_later_touch_is_no_news():
    first, touched = attempt(), attempt(updatedAt=iso(NOW - 60), timeElapsedInSeconds=1081)

    assert first.completed_at_is_observed
    assert first.completed_at == datetime.fromtimestamp(NOW - 600, UTC)
    assert first.order < touched.order
    assert material_digest(first) == material_digest(touched)


def test_a_hand_in_that_joins_the_attempt_is_news():
    joined = attempt(assignmentSubmissionId=OTHER)

    assert joined.vendor_ids["assignment_submission_id"] == OTHER
    assert material_digest(joined) != material_digest(attempt())


def test_who_what_and_where():
    normalised = attempt(
        id=ID.upper(),
        courseId=None,
        course={"id": COURSE, "title": "Warehouse safety"},
        user={"id": USER, "email": "", "firstName": " Lee", "lastName": "Park "},
        assessment=None,
        topic={"id": OTHER, "title": "Module 1"},
        topicId=None,
    )

    assert normalised.attempt_id == ID
    assert (normalised.candidate.id, normalised.candidate.email, normalised.candidate.name) == (USER, None, "Lee Park")
    assert (normalised.assessment.id, normalised.assessment.name) == (OTHER, "Module 1")
    assert (normalised.assessment.group.kind, normalised.assessment.group.id, normalised.assessment.group.name) == (
        "course",
        COURSE,
        "Warehouse safety",
    )
    assert normalised.vendor_ids == {"attempt_id": ID, "user_id": USER, "course_id": COURSE, "topic_id": OTHER}
    assert attempt(user={"name": "Lee P.", "firstName": "Lee"}).candidate.name == "Lee P."


# Watches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["started", "pending"])
def test_an_open_attempt_is_watched_from_when_the_rounds_stop_waiting_for_it(status):
    young = attempt(status=status).watch
    old = attempt(status=status, createdAt=iso(NOW - 5 * DAY)).watch

    assert young.reference == {"attempt_id": ID, "user_id": USER, "course_id": COURSE}
    assert young.due_in == LONGEST_SITTING - 1800
    assert old.due_in == 3600
    assert old.give_up_at == NOW - 5 * DAY + 90 * DAY
    assert not young.reread


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({"user": None}, {"attempt_id": ID, "created": repr(float(NOW - 1800))}),
        ({"courseId": None}, {"attempt_id": ID, "user_id": USER}),
    ],
)
def test_a_watch_without_learner_or_course_rechecks_the_rest(changes, reference):
    normalised = attempt(status="pending", **changes)

    assert normalised.watch.reference == reference
    assert normalised.aliases == ()


@pytest.mark.parametrize(
    ("created", "updated", "due_in"),
    [
        # Within a day, the sweep sees every change that a reader may expect.
        (NOW - 1800, NOW - 600, None),
        (NOW - DAY, NOW, None),
        # Longer on its way than the sweep reaches back.
        (NOW - 6 * DAY, NOW, 9 * DAY),
        (NOW - 40 * DAY, NOW - 2 * DAY, 3600),
        # Long settled, as a backfill finds it.
        (NOW - 400 * DAY, NOW - 15 * DAY, None),
        # Its time is wrong: it would be watched until then.
        (NOW - 2 * DAY, NOW + 400 * DAY, None),
    ],
)
def test_a_finished_attempt_is_read_again_by_the_sweep_and_only_beyond_it_by_a_watch(created, updated, due_in):
    watch = attempt(createdAt=iso(created), updatedAt=iso(updated)).watch

    assert (watch and watch.due_in) == due_in
    if watch is not None:
        assert watch.reread
        assert watch.give_up_at == updated + OPTIONS["reread"]
        assert watch.give_up_at > NOW


# Odd input ------------------------------------------------------------------------------------------------------------


def test_numbers_and_flags_may_come_as_text():
    told = {"grade": "85.0", "originalGrade": "85", "timeElapsedInSeconds": "1080", "passed": "true", "forgiven": ""}

    assert attempt(**told) == attempt()
    assert attempt(passed="").result.passed is False
    assert attempt(assessment={"id": OTHER, "title": "Module 1", "minPassingPercent": "80"}) == attempt()


@pytest.mark.parametrize(
    "name", ["user", "courseId", "createdAt", "updatedAt", "timeElapsedInSeconds", "originalGrade"]
)
@pytest.mark.parametrize("value", [None, ...])
def test_null_and_missing_members_are_null(name, value):
    normalised = attempt(**{name: value}) if value is None else normalise(without(name), NOW, OPTIONS)

    assert normalised.status == "completed"
    assert normalised == attempt(**{name: None})
    facts = {
        "user": normalised.candidate.id,
        "courseId": normalised.assessment.group,
        "createdAt": normalised.started_at,
        "updatedAt": normalised.completed_at,
        "timeElapsedInSeconds": normalised.duration_seconds,
        "originalGrade": normalised.extensions.get("original_grade"),
    }
    assert facts[name] is None


def without(name):
    row = {"id": ID, "status": "finished", "grade": 85, "passed": True, "topicType": "quiz", "forgiven": False}
    row |= {"assessment": {"id": OTHER, "type": "quiz", "title": "Module 1", "minPassingPercent": 80}}
    row |= {"courseId": COURSE, "user": {"id": USER, "email": "lee@example.test"}, "createdAt": iso(NOW - 1800)}
    row |= {"updatedAt": iso(NOW - 600), "timeElapsedInSeconds": 1080, "originalGrade": 85}
    row |= {"topicId": "6e6e6e6e-6666-4e55-8e6b-555555555555"}
    return Record("attempt", {key: value for key, value in row.items() if key != name})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": None}, "id: is empty"),
        ({"id": "7"}, "id: must be a uuid"),
        ({"status": ""}, "status: is empty"),
        ({"status": "archived"}, 'status is "archived". Known: started, pending, finished'),
        ({"grade": 104}, "grade: must be a percentage of 0 to 100"),
        ({"grade": -1}, "grade: must be a percentage of 0 to 100"),
        ({"grade": "A+"}, "grade: must be a number"),
        ({"passed": "perhaps"}, "passed: must be true/false"),
        ({"createdAt": "yesterday"}, "createdAt: must be a time"),
        ({"updatedAt": "2026-03-01"}, "updatedAt: must be a time"),
        ({"updatedAt": "9999-12-31T23:59:59-14:00"}, "updatedAt: must be a time"),
        ({"user": "lee@example.test"}, "user: must be an object"),
        ({"assessment": None, "topicId": None}, "assessment.id, topicId: both are missing"),
    ],
)
def test_what_does_not_fit_is_unreadable_and_says_why_without_quoting(changes, problem):
    with pytest.raises(Unreadable) as raised:
        attempt(**changes)
    assert str(raised.value).startswith(problem)
    assert "lee@" not in str(raised.value)


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-11-18T09:36:40.000Z",
        "2026-11-18T09:36:40",
        "2026-11-18 09:36:40Z",
        "2026-11-18T11:36:40+02:00",
        "2026-11-18T04:06:40.000-05:30",
        1_794_994_600,
        1_794_994_600_000,
        "1794994600000",
        Decimal("1794994600.0"),
    ],
)
def test_one_moment_in_every_spelling_wherever_we_run(spelling, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        normalised = attempt(createdAt=spelling)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert normalised.started_at == datetime(2026, 11, 18, 9, 36, 40, tzinfo=UTC)


@pytest.mark.parametrize("elapsed", [-5, "-0.5", None])
def test_a_duration_below_nothing_is_unknown(elapsed):
    assert attempt(timeElapsedInSeconds=elapsed).duration_seconds is None


def test_odd_times_are_flagged_and_published_all_the_same():
    assert attempt(createdAt=iso(NOW), updatedAt=iso(NOW - 1)).flags == ("finish_before_start",)
    assert attempt(updatedAt=iso(NOW + 300)).flags == ()
    assert attempt(updatedAt=iso(NOW + 301)).flags == ("finish_in_future",)
    assert attempt(status="started", updatedAt=iso(NOW + 301)).flags == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = [
    "id",
    "status",
    "assessment",
    "course",
    "courseId",
    "topic",
    "topicId",
    "topicType",
    "user",
    "createdAt",
    "updatedAt",
    "timeElapsedInSeconds",
    "grade",
    "originalGrade",
    "passed",
    "forgiven",
    "assignmentSubmissionId",
    "questions",
]


@given(st.dictionaries(st.sampled_from(_MEMBERS), _JSON))
def test_whatever_stands_in_a_row_is_news_or_unreadable_and_never_a_crash(changes):
    try:
        normalised = attempt(**pruned(changes))
    except Unreadable:
        return
    assert normalised.attempt_id == normalised.vendor_ids["attempt_id"]
    assert material_digest(normalised)


@given(_JSON)
def test_whatever_a_signed_body_holds_is_a_reading_or_unreadable(body):
    try:
        reading = split(body, OPTIONS)
    except Unreadable:
        return
    assert isinstance(reading, Ignored)


# Allow-list -----------------------------------------------------------------------------------------------------------


def test_a_row_is_cut_to_what_is_published(vendor_page):
    [row] = parse(vendor_page)["data"]["AssessmentAttempts"]["assessmentAttempts"]
    kept = pruned(row)

    assert kept["user"].keys() == {"id", "email", "name", "firstName", "lastName"}
    assert kept["course"].keys() == kept["topic"].keys() == {"id", "title"}
    assert not kept.keys() & {"questions", "answers"}
    assert "invented" not in json.dumps(kept)
    assert len(json.dumps(row)) > 5 * len(json.dumps(kept))
    assert normalise(Record("attempt", kept), NOW, OPTIONS) == normalise(Record("attempt", row), NOW, OPTIONS)


@pytest.fixture
def vendor_page():
    path = Path(thought_industries.__file__).parent / "fixtures" / "poll_attempts_wrapped.in.json"
    return json.dumps(json.loads(path.read_text())["answer"]).encode()


@pytest.mark.parametrize("row", [None, "a row", 7, [], [{"id": ID}]])
def test_a_row_that_is_no_object_keeps_nothing_and_is_unreadable(row):
    assert pruned(row) == {}
    with pytest.raises(Unreadable, match="id: is missing"):
        normalise(Record("attempt", pruned(row)), NOW, OPTIONS)


def test_an_object_in_the_place_of_text_is_unreadable_and_not_kept():
    kept = pruned({"id": ID, "grade": {"telephone": "1"}, "user": [{"telephone": "1"}], "course": "text"})

    assert kept == {"id": ID, "grade": {}, "user": [], "course": "text"}


def test_the_vendor_is_declared_as_documented():
    assert (VENDOR.quota.calls, VENDOR.quota.per_seconds) == (120, 60)
    assert OPTIONS == {"dates": "iso", "reread": 14 * DAY, "course_ids": (), "user_ids": ()}
    assert VENDOR.polls["attempts"].low_water
    assert VENDOR.polls["rereads"].sweep(OPTIONS | {"reread": 5.0}) == 5.0
