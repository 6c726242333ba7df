"""Coremetrix' words in ours: what webhooks lead to, the status table row by row, odd input, and consent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import Unreadable
from bridge.sdk.records import GRADINGS, STATUSES
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Consent, Ignored, Pointer, Record, material_digest
from bridge.vendors.coremetrix import VENDOR
from bridge.vendors.coremetrix.adapter import expect, normalise, split

DAY = 86_400
#: Sunday, 2026-03-01 09:12:00 UTC: the end of the samples.
END = 1_772_356_320
NOW = END + 600
ATTEMPT = "b7b7b7b7-0000-4000-8000-0000000000bb"
QUIZ = "2f1d3c50-0000-4000-8000-0000000000aa"
OTHER_QUIZ = "2f1d3c50-0000-4000-8000-0000000000ab"
#: First 20 digits of the SHA-256 of "p-001": printf p-001 | sha256sum
PERSON = "b64d7a8d7162723784a7"
ONE = [{"model": "sandbox", "value": Decimal("241.5071")}]
TWO = [{"model": "risk", "value": 250}, {"model": "affordability", "value": "238.10"}]


def read(now=NOW, options=None, **members):
    body = {
        "customId": "p-001",
        "id": ATTEMPT,
        "quizId": QUIZ,
        "name": "sandbox",
        "status": "COMPLETED_SCORED",
        "flags": [],
        "timings": {
            "landing": 1_748_772_000_000,
            "load": 1000 * (END - 710),
            "start": 1000 * (END - 700),
            "end": 1000 * END,
        },
        "scores": ONE,
    }
    return normalise(Record("attempts", {**body, **members}), now, options or {})


def timings(**seconds):
    return {name: 1000 * moment for name, moment in seconds.items()}


def hook(event="attempt_scored", **members):
    return {"event": event, "lastUpdated": "2026-03-01T09:09:00.000Z", "slug": "sandbox", **members}


def test_a_scored_attempt_is_read_in_full():
    attempt = read(name=" sandbox")

    assert (attempt.attempt_id, attempt.status, attempt.vendor_status) == (ATTEMPT, "completed", "COMPLETED_SCORED")
    assert (attempt.candidate.external_id, attempt.candidate.id, attempt.candidate.name) == ("p-001", None, None)
    assert (attempt.assessment.id, attempt.assessment.name) == (QUIZ, "sandbox")
    assert attempt.started_at == datetime.fromtimestamp(END - 700, UTC)
    assert attempt.completed_at == datetime.fromtimestamp(END, UTC)
    assert attempt.duration_seconds == 700
    assert (attempt.result.score, attempt.result.grading) == (Decimal("241.5071"), "final")
    assert (attempt.result.max_score, attempt.result.percentage, attempt.result.passed) == (None, None, None)
    assert [(section.id, section.name, section.score) for section in attempt.sections] == [
        ("sandbox", "sandbox", Decimal("241.5071"))
    ]
    assert (attempt.flags, attempt.watch, attempt.order, attempt.extensions) == ((), None, 0, {})


@pytest.mark.parametrize(
    ("word", "members", "status", "grading"),
    [
        ("INCOMPLETE", {"timings": {}}, "not_started", "not_scored"),
        ("INCOMPLETE", {"timings": timings(landing=END)}, "not_started", "not_scored"),
        ("INCOMPLETE", {"timings": timings(load=END)}, "not_started", "not_scored"),
        ("INCOMPLETE", {"timings": timings(load=END, start=END)}, "in_progress", "not_scored"),
        ("COMPLETED_SCORED", {}, "completed", "final"),
        ("COMPLETED_PARTIALLY_SCORED", {"flags": ["INVENTED_FLAG"]}, "completed", "provisional"),
        ("COMPLETED_PARTIALLY_SCORED", {"now": END + DAY}, "completed", "final"),
        ("COMPLETED_NOT_SCORED", {"flags": ["FAST_CLICK"], "scores": []}, "completed", "not_scored"),
        ("COMPLETED_NOT_SCORED", {"flags": ["FAST_CLICK"], "scores": ONE}, "completed", "not_scored"),
        ("COMPLETED_NOT_SCORED", {"scores": []}, "completed", "pending"),
        ("COMPLETED_NOT_SCORED", {"scores": [], "now": END + DAY - 1}, "completed", "pending"),
        ("COMPLETED_NOT_SCORED", {"scores": [], "now": END + DAY}, "completed", "not_scored"),
    ],
)
def test_the_table_of_statuses_holds_row_by_row(word, members, status, grading):
    attempt = read(status=word, **members)

    assert (attempt.status, attempt.result.grading) == (status, grading)
    assert (attempt.result.passed, attempt.result.percentage) == (None, None)
    assert (attempt.completed_at is None) == (status != "completed")
    assert (attempt.duration_seconds is None) == (status != "completed")
    if grading in {"not_scored", "pending"}:
        assert (attempt.result.score, attempt.sections) == (None, ())


def test_what_may_still_be_scored_is_watched_until_a_day_after_its_finish_and_seen_to_be_settled_then():
    attempt = read(status="COMPLETED_NOT_SCORED", scores=[])

    assert attempt.watch.reference == {"attempt_id": ATTEMPT, "custom_id": "p-001"}
    assert (attempt.watch.due_in, attempt.watch.give_up_at, attempt.watch.reread) == (60, END + DAY, False)
    settled = read(status="COMPLETED_NOT_SCORED", scores=[], now=attempt.watch.give_up_at)
    assert (settled.watch, settled.result.grading) == (None, "not_scored")
    assert material_digest(settled) != material_digest(attempt)


def test_an_open_attempt_is_watched_by_id_from_where_it_began():
    loaded = read(status="INCOMPLETE", timings=timings(landing=END - 9 * DAY, load=END), scores=[])
    started = read(status="INCOMPLETE", timings=timings(load=END - 60, start=END), scores=[])

    assert loaded.watch == started.watch
    assert started.watch.reference == {"attempt_id": ATTEMPT, "custom_id": "p-001"}
    assert (started.watch.due_in, started.watch.give_up_at) == (900, END + 30 * DAY)
    assert read(status="INCOMPLETE", timings=timings(load=END), now=END + 30 * DAY).watch is None
    assert read(status="INCOMPLETE", timings=timings(landing=END)).watch is None


def test_every_model_is_a_section_and_only_a_single_one_is_the_score():
    attempt = read(scores=TWO)

    assert attempt.result.score is None
    assert [(section.id, section.score) for section in attempt.sections] == [
        ("affordability", Decimal("238.1")),
        ("risk", Decimal(250)),
    ]
    assert material_digest(attempt) == material_digest(read(scores=TWO[::-1]))


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [{"model": "sandbox", "value": Decimal("241.5072")}]},
        {"scores": [{"model": "other", "value": Decimal("241.5071")}]},
        {"scores": TWO},
        {"flags": ["FAST_CLICK"]},
        {"status": "COMPLETED_PARTIALLY_SCORED", "now": END + DAY},
        {"timings": timings(start=END - 700, end=END + 1)},
    ],
)
def test_what_the_sheet_hashes_is_news(change):
    assert material_digest(read(**change)) != material_digest(read())


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed"},
        {"timings": timings(landing=END - 1, start=END - 700, end=END)},
        {"scores": [{"model": "sandbox", "value": "241.50710"}]},
        {"customId": None},
        {"user": {"age": "20-24"}, "clientInfo": {}},
        {"now": END + 9 * DAY},
    ],
)
def test_nothing_else_is_news(change):
    assert material_digest(read(**change)) == material_digest(read())


def test_two_orders_of_flags_are_one_set():
    assert read(flags=["B", "A", "A"]).flags == ("A", "B")


@settings(deadline=None)
@given(st.permutations(TWO + ONE), st.permutations(["X", "Y", "Z"]))
def test_order_in_lists_is_no_news(scores, flags):
    assert material_digest(read(scores=scores, flags=flags)) == material_digest(
        read(scores=TWO + ONE, flags=["X", "Y", "Z"])
    )


# Odd input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"timings": {"load": str(1000 * END), "start": f"{1000 * (END - 700)}", "end": f" {1000 * END}.0 "}},
        {"scores": [{"model": "sandbox", "value": "241.5071"}]},
        {"id": f" {ATTEMPT.upper()} ", "quizId": QUIZ.upper()},
        {"flags": None},
        {"flags": ""},
        {"flags": [None, " "]},
        {"scores": [None, *ONE]},
        {"timings": {"start": 1000 * (END - 700), "complete": 1000 * END}},
        {"timings": {"start": "2026-03-01T09:00:20Z", "end": "2026-03-01T11:12:00+02:00"}},
        {"timings": {"start": 1000 * (END - 700), "end": "2026-03-01T09:12:00.000"}},
        {"timings": {"landing": "last summer", "start": 1000 * (END - 700), "end": 1000 * END}},
        {"status": " completed_scored "},
        {"model": "new", "updatedAt": 5},
    ],
)
def test_other_spellings_are_the_same_news(members):
    attempt = read(**members)

    assert (attempt.attempt_id, attempt.assessment.id, attempt.duration_seconds) == (ATTEMPT, QUIZ, 700)
    assert material_digest(attempt) == material_digest(read())


@pytest.mark.parametrize("given", ["", " ", None, 5])
def test_a_missing_or_odd_person_is_unknown_or_text(given):
    attempt = read(customId=given)
    known = given == 5

    assert attempt.candidate.external_id == ("5" if known else None)
    assert (len(attempt.consent), len(attempt.aliases)) == ((2, 2) if known else (0, 0))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"id": None}, "id: is empty"),
        ({"id": "../admin"}, "id: must be a uuid"),
        ({"quizId": ""}, "quizId: is empty"),
        ({"status": None}, "status: is empty"),
        ({"status": "PAUSED"}, 'status is "PAUSED"'),
        ({"timings": {}}, "timings.end: is missing"),
        ({"timings": None}, "timings.end: is missing"),
        ({"timings": {"end": END}}, "timings.end: must be UNIX milliseconds"),
        ({"timings": {"end": 1_000_000 * END}}, "timings.end: must be UNIX milliseconds"),
        ({"timings": {"end": "01:02"}}, "timings.end: must be a time in ISO 8601"),
        ({"timings": {"end": 0}}, "timings.end: must be UNIX milliseconds"),
        ({"timings": {"end": {}}}, "timings.end: must be a number"),
        ({"scores": [{"model": "sandbox", "value": "high"}]}, "scores.0.value: must be a number"),
        ({"scores": {}}, "scores"),
        ({"flags": [{}]}, "flags: must be text"),
        ({"flags": True}, "flags: must be text"),
    ],
)
def test_what_cannot_be_read_is_quarantined_with_its_path(members, problem):
    with pytest.raises(Unreadable, match=problem):
        read(**members)


@pytest.mark.parametrize("member", ["id", "quizId", "status"])
def test_a_missing_member_that_identifies_is_unreadable(member):
    body = {"id": ATTEMPT, "quizId": QUIZ, "status": "INCOMPLETE"}
    normalise(Record("attempts", body), NOW, {})
    del body[member]

    with pytest.raises(Unreadable, match=f"{member}: is missing"):
        normalise(Record("attempts", body), NOW, {})


def test_oddities_are_flagged_beside_the_vendors_flags_and_published_all_the_same():
    assert read(timings=timings(start=END, end=END - 1)).flags == ("finish_before_start",)
    assert read(timings=timings(start=END, end=END - 1)).duration_seconds is None
    assert read(timings=timings(end=NOW + 300)).flags == ()
    assert read(timings=timings(end=NOW + 301), flags=["FAST_CLICK"]).flags == ("FAST_CLICK", "finish_in_future")
    assert read(scores=[{"model": "sandbox", "value": 10**9}]).flags == ()


@pytest.mark.parametrize("word", ["COMPLETED_PARTIALLY_SCORED", "COMPLETED_NOT_SCORED"])
def test_a_finish_in_the_future_opens_no_window_that_lasts_until_then(word):
    attempt = read(status=word, timings=timings(end=NOW + 50 * 365 * DAY))

    assert (attempt.watch, attempt.result.grading in {"final", "not_scored"}) == (None, True)
    assert read(status="INCOMPLETE", timings=timings(load=NOW + DAY)).watch is None


def test_a_duration_is_never_computed_from_the_landing_page():
    assert read(timings=timings(landing=END - 270 * DAY, end=END)).duration_seconds is None
    assert read(timings=timings(landing=END - 270 * DAY, end=END)).started_at is None


def test_an_incomplete_attempt_has_no_scores_and_no_finish_whatever_it_says():
    attempt = read(status="INCOMPLETE")

    assert (attempt.completed_at, attempt.result.score, attempt.sections, attempt.flags) == (None, None, (), ())


def test_no_profile_and_no_person_outside_the_candidate():
    text = repr(read(user={"occupation": "Pilot", "age": "25-29"}, clientInfo={"ip": "2001:db8::7"}))

    assert "Pilot" not in text
    assert "2001:db8" not in text
    assert text.count("p-001") == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ["id", "quizId", "status", "customId", "name", "flags", "timings", "scores"]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=4), st.integers(0, 2 * NOW))
def test_any_value_anywhere_is_read_in_our_words_or_unreadable(members, now):
    try:
        attempt = read(now=now, **members)
    except Unreadable:
        return
    assert attempt.status in STATUSES
    assert attempt.result.grading in GRADINGS
    assert len(material_digest(attempt)) == 6


# Webhooks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "key", "reference"),
    [
        (
            {"puid": "p-001", "quizId": QUIZ, "attemptId": ATTEMPT.upper()},
            ATTEMPT,
            {"custom_id": "p-001", "quiz_id": QUIZ, "announced": ATTEMPT},
        ),
        ({"puid": "p-001", "id": ATTEMPT}, ATTEMPT, {"custom_id": "p-001", "announced": ATTEMPT}),
        (
            {"puid": "p-001", "id": OTHER_QUIZ, "attemptId": ATTEMPT},
            ATTEMPT,
            {"custom_id": "p-001", "announced": ATTEMPT},
        ),
        ({"puid": "p-001", "id": 55, "attemptId": "x"}, f"?person:{PERSON}", {"custom_id": "p-001"}),
        (
            {"puid": "p-001", "quizId": QUIZ.upper()},
            f"?person:{PERSON}:{QUIZ}",
            {"custom_id": "p-001", "quiz_id": QUIZ},
        ),
        ({"puid": " p-001 ", "quizId": ""}, f"?person:{PERSON}", {"custom_id": "p-001"}),
        ({"puid": "", "attemptId": ATTEMPT}, ATTEMPT, {"attempt_id": ATTEMPT}),
    ],
)
def test_what_a_webhook_names_is_the_reference_of_its_recheck(members, key, reference):
    expected = Pointer(key=key, reference=reference, give_up_after=DAY)

    assert split(hook("attempt_scored", **members), {}) == (expected,)


@pytest.mark.parametrize("event", ["quiz_load", "quiz_start", "quiz_complete", "attempt_scored", "attempt_profiled"])
def test_every_event_about_progress_is_a_pointer_whether_confirmed_or_not(event):
    expected = Pointer(key=f"?person:{PERSON}", reference={"custom_id": "p-001"}, give_up_after=DAY)

    for confirm in (True, False):
        assert split(hook(event, puid="p-001"), {"confirm": confirm}) == (expected,)


def test_a_pointer_without_an_attempt_may_mean_what_has_its_key_as_alias():
    assert hashlib.sha256(b"p-001").hexdigest()[:20] == PERSON
    for members in ({}, {"quizId": QUIZ}):
        [pointer] = split(hook(puid="p-001", **members), {})
        assert pointer.key in read().aliases
    assert all(alias.startswith("?") and "p-001" not in alias for alias in read().aliases)


@pytest.mark.parametrize("body", [None, [], "attempt_scored", {}, {"event": ""}, {"event": ["attempt_scored"]}, hook()])
def test_a_body_that_leads_nowhere_is_unreadable(body):
    with pytest.raises(Unreadable):
        split(body, {})


@pytest.mark.parametrize("event", ["landing_load", "quiz_archived", "x" * 200])
def test_events_without_an_attempt_and_unknown_ones_are_ignored_by_name(event):
    assert split(hook(event, puid="p-001", quizId=QUIZ), {}).kind == event[:59] + (
        "…" if len(event) > 60 else event[59:]
    )


def test_other_quizzes_than_the_configured_are_left_alone():
    options = {"quiz_ids": (QUIZ.upper(),)}

    assert split(hook(puid="p-001", quizId=OTHER_QUIZ), options) == Ignored("attempt_scored")
    assert isinstance(split(hook(puid="p-001", quizId=QUIZ), options)[0], Pointer)
    assert isinstance(split(hook(puid="p-001", quizId=f" {QUIZ.upper()}"), options)[0], Pointer)
    assert isinstance(split(hook(puid="p-001"), options)[0], Pointer)
    assert read(options=options).status == "completed"
    for word in ("COMPLETED_SCORED", "COMPLETED_NOT_SCORED", "INCOMPLETE"):
        foreign = read(quizId=OTHER_QUIZ, status=word, options=options)
        assert (foreign.status, foreign.watch, foreign.candidate.external_id) == ("not_started", None, None)


# Consent --------------------------------------------------------------------------------------------------------------


def consent(event="quiz_consent", options=None, **members):
    times = {"consentTime": "2026-03-01T09:00:00.120Z", "withdrawalTime": "2026-03-02T11:00:00.500+02:00"}
    return split(hook(event, puid="p-001", **times, **members), options or {})


def test_consent_and_its_withdrawal_name_what_attempts_name():
    anywhere, here = consent(quizId=QUIZ, consent=True)
    [taken] = consent("quiz_consent_withdrawal", quizId=QUIZ.upper(), consent=False)

    assert here == Consent(
        key=f"consent:{PERSON}:{QUIZ}", given=True, at=1_772_355_600.12, subject={"puid": "p-001", "quizId": QUIZ}
    )
    assert anywhere == replace(here, key=f"consent:{PERSON}")
    assert (taken.key, taken.given, taken.at, taken.subject) == (here.key, False, 1_772_442_000.5, here.subject)
    assert (anywhere.key, here.key) == read().consent == read(status="INCOMPLETE").consent
    assert here.key not in read(quizId=OTHER_QUIZ).consent
    assert not {anywhere.key, here.key} & {*read(customId="p-002").consent}


@pytest.mark.parametrize(
    ("event", "word", "given"),
    [
        ("quiz_consent", None, True),
        ("quiz_consent", "true", True),
        ("quiz_consent", False, False),
        ("quiz_consent", "", False),
        ("quiz_consent_withdrawal", True, False),
        ("quiz_consent_withdrawal", None, False),
        ("quiz_consent_withdrawal", "", False),
    ],
)
def test_where_event_and_flag_disagree_the_person_has_not_agreed(event, word, given):
    assert {word.given for word in consent(event, quizId=QUIZ, consent=word)} == {given}


def test_a_withdrawal_without_a_quiz_is_one_of_all_until_the_person_agrees_again():
    [taken] = consent("quiz_consent_withdrawal")

    assert (taken.given, taken.subject) == (False, {"puid": "p-001"})
    assert taken.key in read().consent
    assert taken.key in read(quizId=OTHER_QUIZ).consent
    assert taken.key in {word.key for word in consent(quizId=QUIZ)}


def test_consent_to_a_quiz_that_is_not_configured_is_remembered_for_when_it_is():
    assert len(consent("quiz_consent_withdrawal", {"quiz_ids": (OTHER_QUIZ,)}, quizId=QUIZ)) == 1


def test_consent_needs_a_person_and_bears_every_other_fault():
    body = hook("quiz_consent_withdrawal", quizId=QUIZ, puid="p-001", withdrawalTime="")
    assert split(body, {})[0].at == 1_772_356_140
    for odd in ({"lastUpdated": "yesterday", "withdrawalTime": 7}, {"quizId": "no uuid"}):
        [taken] = split(body | odd, {})
        assert (taken.given, taken.at) == (False, None if "lastUpdated" in odd else 1_772_356_140)
    assert taken.key in read(quizId=OTHER_QUIZ).consent
    del body["puid"]
    with pytest.raises(Unreadable, match="puid"):
        split(body, {})


def test_the_last_word_is_told_by_its_time_in_whatever_order_it_comes():
    words = [consent(quizId=QUIZ)[0], consent("quiz_consent_withdrawal", quizId=QUIZ)[0]]

    for order in permutations(words):
        assert not max(order, key=lambda item: item.at).given


# Expectations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "key", "kept"),
    [
        ({"attempt_id": ATTEMPT.upper()}, ATTEMPT, {"attempt_id": ATTEMPT}),
        ({"attempt_id": ATTEMPT, "custom_id": "p-001"}, ATTEMPT, {"attempt_id": ATTEMPT, "custom_id": "p-001"}),
        ({"custom_id": "p-001"}, f"?person:{PERSON}", {"custom_id": "p-001"}),
        (
            {"custom_id": "p-001", "quiz_id": QUIZ.upper()},
            f"?person:{PERSON}:{QUIZ}",
            {"custom_id": "p-001", "quiz_id": QUIZ},
        ),
    ],
)
def test_an_expectation_leads_to_the_attempt_or_to_its_alias(reference, key, kept):
    pointer = expect(reference, {})

    assert (pointer.key, pointer.reference) == (key, kept)
    assert pointer.key in (read().attempt_id, *read().aliases)


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ({}, "custom_id or attempt_id"),
        ({"quiz_id": QUIZ}, "custom_id or attempt_id"),
        ({"attempt_id": "17"}, "attempt_id: must be a uuid"),
        ({"custom_id": "p-001", "quiz_id": "sandbox"}, "quiz_id: must be a uuid"),
        ({"custom_id": "p-001", "quiz_id": OTHER_QUIZ}, "not in this source's options.quiz_ids"),
    ],
)
def test_an_expectation_that_names_no_attempt_is_refused(reference, problem):
    with pytest.raises(ValueError, match=problem):
        expect(reference, {"quiz_ids": (QUIZ,)})
    assert set(VENDOR.reference_help) == {"custom_id", "quiz_id", "attempt_id"}


def test_the_webhook_of_the_vendor_is_read_from_its_bytes():
    raw = json.dumps(hook(puid="p-001", quizId=QUIZ)).encode()

    assert split(parse(raw), {})[0].key == f"?person:{PERSON}:{QUIZ}"
