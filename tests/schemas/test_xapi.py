"""Events as xAPI statements: every event of every vendor, and each rule of the standard that a result can break."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given

from attempt_bridge_client.samples import Samples
from schemas.event import Event, event_id, minimal
from schemas.formats import XAPI, Format
from schemas.projection import only
from schemas.xapi import EXTENSION, MBOX, statements
from tests.support.events import MARK, events
from tests.support.lrs import statement_problem
from tests.support.sql_tables import PATH, made, notice

BASE = "https://bridge.example.org"
VERBS = "http://adlnet.gov/expapi/verbs/"
SAMPLES = Samples()


def converted(event: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return statements({"bridgevendor": "classmarker", **event}, base=BASE, **options)


def result_of(**result: Any) -> dict[str, Any]:
    (statement,) = converted(made(result=result))
    assert statement_problem(statement) is None
    return statement["result"]


@pytest.mark.parametrize("vendor", SAMPLES.vendors)
def test_every_sample_of_every_vendor_is_valid_and_voids_what_it_replaces(vendor: str) -> None:
    completed, revised, voided = (SAMPLES.attempt(vendor, what) for what in ("completed", "revised", "voided"))
    first, second, last = converted(completed), converted(revised), converted(voided)
    assert [statement_problem(each) for each in (*first, *second, *last)] == [None] * len([*first, *second, *last])
    assert [each["id"] for each in first] == [completed["id"]]
    assert (second[0]["object"]["id"], second[1]["id"]) == (completed["id"], revised["id"])
    # The sample was voided before it was published: it voids what the first revision would have been.
    assert [each["object"]["objectType"] for each in last] == ["StatementRef"]
    assert last[0]["object"]["id"] == event_id(voided["source"], voided["subject"], "attempt.completed", 1) or (
        voided["data"]["attempt"]["revision"] > 1
    )
    assert first == converted(completed)


@pytest.mark.parametrize(("passed", "verb"), [(True, "passed"), (False, "failed"), (None, "completed")])
def test_the_verb_says_what_the_vendor_decided(passed: bool | None, verb: str) -> None:
    (statement,) = converted(made(passed=passed))
    assert statement["verb"]["id"] == VERBS + verb
    assert statement["result"].get("success") is passed
    assert statement["result"]["completion"] is True


def test_score_zero_is_a_score_and_no_score_is_none() -> None:
    assert result_of(score=0.0, max_score=30.0, percentage=0.0)["score"] == {"scaled": 0, "raw": 0, "min": 0, "max": 30}
    assert "score" not in result_of(score=None, max_score=30.0, percentage=None)
    assert "score" not in result_of(score=None, max_score=30.0, percentage=None, grading="pending")
    assert "score" not in result_of(score=3.0, percentage=10.0, grading="pending")


@pytest.mark.parametrize(
    ("result", "score"),
    [
        ({"score": 33.0, "max_score": 30.0, "percentage": 110.0}, {"raw": 33.0}),
        ({"score": -2.0, "max_score": 30.0, "percentage": -6.7}, {"scaled": -0.067, "raw": -2.0}),
        ({"score": 5.0, "max_score": None, "percentage": None}, {"raw": 5.0}),
        ({"score": 0.0, "max_score": 0.0, "percentage": None}, {"raw": 0.0}),
        ({"score": None, "max_score": None, "percentage": 100.0}, {"scaled": 1.0}),
        ({"score": None, "max_score": None, "percentage": -100.5}, None),
    ],
)
def test_a_score_outside_its_range_claims_no_range(result: dict[str, Any], score: dict[str, float] | None) -> None:
    assert result_of(**result).get("score") == score


def test_duration_and_pass_mark_are_those_of_the_standard() -> None:
    event = made(attempt={"duration_seconds": 1956})
    (statement,) = converted(event)
    assert statement["result"]["duration"] == "PT32M36S"
    assert converted(made(attempt={"duration_seconds": 0}))[0]["result"]["duration"] == "PT0S"
    assert converted(made(attempt={"duration_seconds": 90_000}))[0]["result"]["duration"] == "PT25H"
    mastery = "https://w3id.org/xapi/cmi5/context/extensions/masteryscore"
    assert statement["context"]["extensions"][mastery] == 0.6
    assert statement["timestamp"] == event["time"]


def test_a_person_is_named_by_the_account_that_is_known() -> None:
    def actor(options: dict[str, Any] | None = None, **candidate: Any) -> dict[str, Any]:
        (statement,) = converted(made(candidate=candidate), **(options or {}))
        assert statement_problem(statement) is None
        return statement["actor"]

    at_source = {"homePage": f"{BASE}{PATH}", "name": "c1"}
    assert actor() == {"objectType": "Agent", "name": "Zoë Reyes", "account": at_source}
    assert actor(id=None)["account"]["name"] == "external:E"
    assert actor(id=None, external_id=None)["account"]["name"] == "attempt:a1"
    assert actor({"home_page": "https://id.example.org"})["account"] == {
        "homePage": "https://id.example.org",
        "name": "E",
    }
    assert actor({"home_page": "https://id.example.org"}, external_id=None)["account"] == at_source
    by_mail = actor({"actor": MBOX}, email="sam@example.org")
    assert by_mail == {"objectType": "Agent", "name": "Zoë Reyes", "mbox": "mailto:sam@example.org"}
    for email in ("no address", "sam..r@example.org", "sam@example", "sam@example.org?cc=x@example.org"):
        assert actor({"actor": MBOX}, email=email)["account"] == at_source
    assert actor({"actor": MBOX}, email=None)["account"] == at_source


def test_an_id_of_the_vendor_cannot_leave_its_place_in_an_iri() -> None:
    (statement,) = converted(made(assessment={"id": "../a b?c#d/é"}))
    assert statement_problem(statement) is None
    assert statement["object"]["id"] == f"{BASE}{PATH}/assessments/..%2Fa%20b%3Fc%23d%2F%C3%A9"


def test_personal_data_that_is_filtered_out_is_in_no_statement() -> None:
    (statement,) = converted(minimal(made()), actor=MBOX)
    assert statement["actor"] == {"objectType": "Agent", "account": {"homePage": f"{BASE}{PATH}", "name": "c1"}}
    (statement,) = converted(only(made(), ("result.passed",)), actor=MBOX)
    assert statement_problem(statement) is None
    assert statement["actor"]["account"]["name"] == "attempt:a1"
    assert "score" not in statement["result"]


def test_a_revision_voids_only_the_one_before_it_and_a_void_adds_no_result() -> None:
    void, third = converted(made(revision=3))
    assert void["object"] == {"objectType": "StatementRef", "id": made(revision=2)["id"]}
    assert third["id"] == made(revision=3)["id"]
    # What is voided once has one voiding statement, whoever sends it.
    (again,) = converted(made(revision=3, voided=True))
    assert again["id"] == void["id"]
    assert again["id"] not in (made(revision=2)["id"], made(revision=3)["id"])
    (from_the_start,) = converted(made(voided=True))
    assert from_the_start["object"]["id"] == made()["id"]
    assert "platform" not in void["context"]


def test_what_is_invented_is_stored_and_voided_at_once() -> None:
    statement, void = converted({**made(), "bridgetest": True})
    assert (statement["id"], void["object"]["id"]) == (made()["id"], made()["id"])
    tested, void = converted(SAMPLES.notice("bridge.test"))
    assert [statement_problem(each) for each in (tested, void)] == [None, None]
    assert void["object"]["id"] == tested["id"]


def test_a_notice_has_no_statement() -> None:
    with pytest.raises(ValueError, match="xAPI has no statement"):
        converted(notice())


def test_the_statements_of_an_event_can_be_told_apart_in_its_body() -> None:
    form = Format(name=XAPI, base=BASE)
    body = form.converted({"bridgevendor": "classmarker", **made(revision=2)})
    assert [json.loads(part)[0] for part in form.parts(body)] == json.loads(body)
    assert form.body([body, form.converted({"bridgevendor": "x", **made(2)})], "").count(b'"verb"') == 3


@pytest.mark.long
@given(events())
def test_any_event_becomes_valid_statements_and_ids_that_depend_on_it_alone(event: Event) -> None:
    document = json.loads(event.to_json())
    form = Format(name=XAPI, base=BASE)
    body = form.converted(document)
    statements = json.loads(body)
    assert [statement_problem(each) for each in statements] == [None] * len(statements)
    assert len({each["id"] for each in statements}) == len(statements)
    assert form.converted(json.loads(event.to_json())) == body
    assert MARK not in form.converted(only(document, ("result",))).decode()
    for name in re.findall(rf'"({EXTENSION}[^"]*)"', body.decode()):
        assert name.removeprefix(EXTENSION) in ("sections", "grade", "grading", "revision", "event-id")
