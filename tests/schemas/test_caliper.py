"""Events as those of Caliper 1.2: every key and word is a term of its context, for every event of every vendor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given

from attempt_bridge_client.samples import Samples
from schemas.caliper import VERSION, caliper_events
from schemas.event import Event, minimal
from schemas.formats import CALIPER, Format
from tests.support.events import MARK, events
from tests.support.sql_tables import made, notice

BASE = "https://bridge.example.org"
FORM = Format(name=CALIPER, base=BASE)
TERMS = frozenset((Path(__file__).parents[1] / "data/caliper-1.2-terms.txt").read_text().split()) | {"@context"}
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
SAMPLES = Samples()
SENT_AT = "2026-11-20T14:52:43.518Z"


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Every member within, but those of extensions, which are free."""
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        yield name, inner
        if name != "extensions":
            yield from members(inner)
    for inner in value if isinstance(value, list) else ():
        yield from members(inner)


def check(events: list[dict[str, Any]]) -> None:
    """By the context, and by what the specification requires of events and of entities."""
    for event in events:
        assert event["@context"] == VERSION
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", event["id"])
        assert event["type"].removesuffix("Event") in ("Assessment", "Grade", "")
        for name, value in members(event):
            assert name in TERMS
            assert value is not None
            if name in ("type", "profile", "action", "identifierType"):
                assert value in TERMS
            if name in ("eventTime", "startedAtTime", "endedAtTime", "dateCreated"):
                assert TIME.fullmatch(value)
            if name == "id":
                assert urlsplit(value).scheme in ("urn", "https")
                assert value.isascii()
        if event["type"] == "GradeEvent":
            # Marking by a machine: the actor is no person.
            kinds = [event[part]["type"] for part in ("actor", "object", "generated")]
            assert (event["action"], kinds) == ("Graded", ["SoftwareApplication", "Attempt", "Score"])
        if event["type"] == "AssessmentEvent":
            kinds = [event[part]["type"] for part in ("actor", "object", "generated")]
            assert (event["action"], kinds) == ("Submitted", ["Person", "Assessment", "Attempt"])


def converted(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    events = caliper_events(event, base=BASE)
    check(events)
    return events


@pytest.mark.parametrize("vendor", SAMPLES.vendors)
def test_every_sample_of_every_vendor_has_only_terms_of_the_context(vendor: str) -> None:
    kinds = [[each["type"] for each in converted(SAMPLES.attempt(vendor, what))] for what in ("revised", "voided")]
    assert kinds == [["GradeEvent"], ["GradeEvent"]]
    assert converted(SAMPLES.attempt(vendor, "completed"))[0]["type"] == "AssessmentEvent"


def test_a_result_is_submitted_and_graded_and_the_grade_has_the_id_of_the_event() -> None:
    submitted, graded = converted(made())
    assert (submitted["type"], graded["type"]) == ("AssessmentEvent", "GradeEvent")
    assert graded["id"] == f"urn:uuid:{made()['id']}"
    assert submitted["id"] != graded["id"]
    assert graded["generated"]["scoreGiven"] == 21.5
    assert graded["generated"]["id"].endswith("/attempts/a1/scores/1")
    assert submitted["extensions"]["eventId"] == made()["id"]


def test_a_pending_result_is_only_submitted_and_score_zero_is_graded() -> None:
    assert [each["type"] for each in converted(made(result={"score": None, "grading": "pending"}))] == [
        "AssessmentEvent"
    ]
    assert [each["type"] for each in converted(made(result={"score": 4.0, "grading": "pending"}))] == [
        "AssessmentEvent"
    ]
    assert converted(made(result={"score": 0.0}))[1]["generated"]["scoreGiven"] == 0.0


def test_a_later_revision_is_another_score_and_a_voided_attempt_one_without_points() -> None:
    (revised,) = converted(made(revision=2))
    assert revised["generated"]["id"].endswith("/scores/2")
    assert revised["eventTime"] == "2026-11-20T15:00:00.000Z"
    (voided,) = converted(made(revision=3, voided=True))
    assert "scoreGiven" not in voided["generated"]
    assert voided["generated"]["extensions"] == {"revision": 3, "status": "voided", "grading": "final"}


def test_personal_data_that_is_filtered_out_is_in_no_event() -> None:
    assert "otherIdentifiers" in converted(made())[0]["actor"]
    text = json.dumps(converted(minimal(made())), ensure_ascii=False)
    assert "Reyes" not in text
    assert "example.test" not in text


def test_an_envelope_holds_the_events_of_several_attempts() -> None:
    parts = [FORM.converted(made(number)) for number in (1, 2)]
    envelope = json.loads(FORM.body(parts, SENT_AT))
    assert list(envelope) == ["sensor", "sendTime", "dataVersion", "data"]
    assert (envelope["sensor"], envelope["sendTime"], envelope["dataVersion"]) == (
        f"{BASE}/caliper",
        SENT_AT,
        VERSION,
    )
    assert envelope["data"] == [*caliper_events(made(1), base=BASE), *caliper_events(made(2), base=BASE)]


def test_a_test_is_an_event_that_grades_nothing_and_a_notice_has_none() -> None:
    assert [each["type"] for each in converted(SAMPLES.notice("bridge.test"))] == ["Event"]
    with pytest.raises(ValueError, match="Caliper has no event for this"):
        caliper_events(notice(), base=BASE)


@pytest.mark.long
@given(events())
def test_any_event_becomes_events_of_terms_alone_and_the_same_bytes_again(event: Event) -> None:
    document = json.loads(event.to_json())
    body = FORM.converted(document)
    check(json.loads(body))
    assert FORM.converted(json.loads(event.to_json())) == body
    kept = minimal(document)["data"]["candidate"]
    if kept["id"] is None and kept["external_id"] is None:
        assert MARK not in FORM.converted(minimal(document)).decode()
