"""ClassMarker's signature, routing of webhooks, and the table from its words to ours."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BadSignature, Unreadable
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Ignored, Record, material_digest
from bridge.vendors.classmarker import VENDOR
from bridge.vendors.classmarker.adapter import normalise, split, verify
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from bridge.vendors.classmarker.simulator.sittings import SHAPES, poll_row, verify_body
from tests.support.web import sign

NOW = 1_795_000_000
HEADER = "x-classmarker-hmac-sha256"
#: 142 bytes without a newline at the end; \u00eb is six characters.
VECTOR = (
    rb'{"payload_type":"single_user_test_results_link","payload_status":"verify",'
    rb'"result":{"link_result_id":42,"percentage":75.0,"first":"Zo\u00eb"}}'
)
VECTOR_SIGNATURE = "5juRpA612g9RSD4m6l0mwfUDYiEI6gjrWNg+1Us5aag="
PRINTED_AGAIN_SIGNATURE = "+jf/95T06I4FDnhyVXniqiDUI4jIXDKL7v3DWUWp5Z8="


def link(**result):
    fields = {
        "link_result_id": 5,
        "percentage": Decimal("70.0"),
        "points_scored": Decimal("21.0"),
        "points_available": Decimal("30.0"),
        "requires_grading": "No",
        "time_started": NOW - 600,
        "time_finished": NOW - 60,
        "duration": "00:09:00",
        "percentage_passmark": 65,
        "passed": True,
    }
    body = {"test": {"test_id": 7}, "link": {"link_id": 8}, "result": fields | result}
    return normalise(Record("links", body), NOW, {})


@pytest.mark.parametrize(
    "value", [VECTOR_SIGNATURE, f"{VECTOR_SIGNATURE}, {VECTOR_SIGNATURE}", f" {VECTOR_SIGNATURE},"]
)
def test_the_known_answer_is_accepted_also_when_the_header_is_doubled(value):
    assert len(VECTOR) == 142
    verify(VECTOR, {HEADER: value}, ("invented-phrase",), NOW)


@pytest.mark.parametrize(
    "value",
    [
        PRINTED_AGAIN_SIGNATURE,
        f"{PRINTED_AGAIN_SIGNATURE}, {VECTOR_SIGNATURE}",
        VECTOR_SIGNATURE.rstrip("="),
        VECTOR_SIGNATURE.replace("+", "-"),
        VECTOR_SIGNATURE[:20] + "\n" + VECTOR_SIGNATURE[20:],
        "e63b91a40eb5da0f51483e26ea5d26c1f503622108ea08eb58d83ed54b3969a8",
        "ß" + VECTOR_SIGNATURE,
        "x",
        "====",
        "%%%",
        "sha256=" + "0" * 64,
        "A" * 43 + "=",
        "A" * 8000,
        ",",
        " , ",
        "v1,AAAA",
        "0" * 64,
        "\xe9\xe8",
        "\xff" * 44,
        VECTOR_SIGNATURE[:-2],
        VECTOR_SIGNATURE.lower(),
        f"{VECTOR_SIGNATURE}\t{VECTOR_SIGNATURE}",
        sign(VECTOR, "another phrase"),
        sign(VECTOR + b" ", "invented-phrase"),
        sign(b"", "invented-phrase"),
    ],
)
def test_any_other_signature_is_refused(value):
    with pytest.raises(BadSignature):
        verify(VECTOR, {HEADER: value}, ("invented-phrase",), NOW)


def test_without_a_configured_secret_nothing_is_accepted():
    with pytest.raises(BadSignature):
        verify(VECTOR, {HEADER: VECTOR_SIGNATURE}, (), NOW)


def test_the_sample_of_a_saved_webhook_is_a_test_and_no_attempt():
    assert split(parse(VECTOR), {}) == Ignored("verify", outcome="test")
    assert split(verify_body(), {}) == Ignored("verify", outcome="test")


def test_an_unknown_kind_of_webhook_is_ignored_by_name():
    body = {"payload_type": "single_user_test_started_link", "payload_status": "live"}

    assert split(body, {}) == Ignored("single_user_test_started_link")


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "live",
        {},
        {"payload_type": "single_user_test_results_link"},
        {"payload_type": ["single_user_test_results_link"], "payload_status": "live"},
        {"payload_type": "single_user_test_results_link", "payload_status": "draft"},
    ],
)
def test_a_body_that_is_no_webhook_of_theirs_is_unreadable(body):
    with pytest.raises(Unreadable):
        split(body, {})


def test_a_negative_id_is_unreadable():
    body = {
        "payload_type": "single_user_test_results_link",
        "payload_status": "live",
        "test": {"test_id": 7},
        "link": {"link_id": 8},
        "result": {"link_result_id": -5, "time_finished": NOW},
    }
    [record] = split(body, {})

    with pytest.raises(Unreadable, match="link_result_id: must not be negative"):
        normalise(record, NOW, {})


@pytest.mark.parametrize("missing", ["test", "link", "result"])
def test_a_webhook_without_one_of_its_parts_is_unreadable(missing):
    body = {
        "payload_type": "single_user_test_results_link",
        "payload_status": "live",
        "test": {"test_id": 7},
        "link": {"link_id": 8},
        "result": {"link_result_id": 5, "time_finished": NOW},
    }
    [record] = split(body, {})
    assert normalise(record, NOW, {}).attempt_id == "link:5"
    del body[missing]
    [record] = split(body, {})

    with pytest.raises(Unreadable, match=missing):
        normalise(record, NOW, {})


@pytest.mark.parametrize("pass_mark", [0, "0", "", "0.0", None])
def test_without_a_pass_mark_nobody_passed_whatever_the_vendor_says(pass_mark):
    result = link(percentage_passmark=pass_mark, passed=True).result

    assert result.passed is None
    assert result.pass_mark_percentage is None
    assert result.percentage == Decimal(70)


@pytest.mark.parametrize(("given", "passed"), [(True, True), (False, False), ("", False), ("true", True), (None, None)])
def test_with_a_pass_mark_the_vendors_word_counts(given, passed):
    assert link(passed=given).result.passed is passed


def test_a_result_that_waits_for_a_person_is_provisional_and_watched():
    attempt = link(requires_grading="Yes")

    assert (attempt.status, attempt.result.grading, attempt.result.passed) == ("completed", "provisional", None)
    assert (attempt.result.percentage, attempt.result.pass_mark_percentage) == (70, 65)
    assert attempt.watch.reference == {
        "stream": "link",
        "result": "5",
        "link": "8",
        "test": "7",
        "finished": str(NOW - 60),
    }
    assert attempt.watch.give_up_at == NOW - 60 + 90 * 86_400


@pytest.mark.parametrize("survey", [{"test_type": "Survey"}, {"points_available": 0}, {"points_available": "0.0"}])
def test_a_survey_has_no_score(survey):
    attempt = link(**survey, requires_grading="Yes")

    assert (attempt.status, attempt.result.grading) == ("completed", "not_scored")
    assert (attempt.result.score, attempt.result.percentage, attempt.result.passed) == (None, None, None)
    assert attempt.watch is None


def test_an_unfinished_row_is_in_progress_and_a_finished_one_needs_its_time():
    assert link(status="ip", time_finished="").status == "in_progress"
    with pytest.raises(Unreadable, match="time_finished"):
        link(time_finished="")
    with pytest.raises(Unreadable, match="status"):
        link(status="voided")


def test_oddities_are_flagged_and_published_all_the_same():
    assert link().flags == ()
    assert link(time_finished=NOW + 300).flags == ()
    assert link(time_finished=NOW + 301).flags == ("finish_in_future",)
    assert link(points_scored=Decimal("30.5")).flags == ("score_above_maximum",)
    assert link(time_started=NOW, time_finished=NOW - 1).flags == ("finish_before_start",)


def test_milliseconds_are_no_time():
    with pytest.raises(Unreadable, match="time_finished"):
        link(time_finished=NOW * 1000)


def test_what_was_asked_before_the_test_is_told_by_position():
    attempt = link(access_code_used="A-1", extra_info2_answer="42", cm_user_id="1iframe=1")

    assert attempt.extensions == {"access_code": "A-1", "extra_info": [None, "42", None, None, None]}
    assert (attempt.candidate.id, attempt.candidate.external_id) == (None, "1iframe=1")
    assert link(access_code="A-1", extra_info2="42").extensions == attempt.extensions


def test_later_is_a_later_finish_and_then_a_graded_result():
    ungraded, graded = link(requires_grading="Yes"), link()
    reopened = link(time_finished=NOW - 59, requires_grading="Yes")

    assert ungraded.order < graded.order < reopened.order < 2**40


@pytest.mark.parametrize("shape", SHAPES)
def test_two_hundred_invented_sittings_are_the_same_news_in_every_spelling(shape):
    simulator = Simulator(Random(shape).randrange(10**6), lambda: NOW, behaviour=Behaviour(shape=shape))
    ids = [simulator.finish_random(NOW - number) for number in range(200)]
    polled = {}
    for stream, channel in (("groups", "group"), ("links", "link")):
        for sitting in simulator.sittings(channel, 0):
            polled[sitting.attempt_id] = normalise(polled_record(simulator, stream, sitting), NOW, {})

    for attempt_id in ids:
        [record] = split(parse(simulator.webhook(attempt_id)[0]), {})
        pushed = normalise(record, NOW, {})
        assert pushed.attempt_id == attempt_id
        assert material_digest(pushed) == material_digest(polled[attempt_id])
        assert pushed.candidate == polled[attempt_id].candidate


def polled_record(simulator, stream, sitting):
    row = parse(json.dumps(poll_row(sitting, newer_fields=True)).encode())
    place = sitting.channel
    return Record(
        stream, {"test": {"test_id": row["test_id"]}, place: {f"{place}_id": row[f"{place}_id"]}, "result": row}
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = [
    "link_result_id",
    "percentage",
    "points_scored",
    "points_available",
    "requires_grading",
    "time_started",
    "time_finished",
    "duration",
    "percentage_passmark",
    "passed",
    "email",
    "status",
    "test_type",
    "cm_user_id",
    "extra_info3",
    "access_code",
]


@given(st.dictionaries(st.sampled_from(_MEMBERS), _JSON))
def test_whatever_stands_in_a_result_is_news_or_unreadable_and_never_a_crash(changes):
    try:
        attempt = link(**changes)
    except Unreadable:
        return
    assert attempt.attempt_id.startswith("link:")
    assert material_digest(attempt)


def test_the_vendor_is_declared_as_documented():
    assert (VENDOR.quota.calls, VENDOR.quota.per_seconds) == (30, 3600)
    assert VENDOR.look_back_limit < 90 * 86_400
