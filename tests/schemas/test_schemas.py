"""The published event: declaration, bytes, JSON Schema and the schema of CloudEvents agree."""

from __future__ import annotations

import json
import re
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft202012Validator
from marshmallow import ValidationError, fields

from bridge.ingest.event_builder import event_type
from bridge.journal import BACKFILL, BRIDGE, POLL, WEBHOOK
from bridge.sdk.vendor import GRADINGS, PUBLISHABLE_STATUSES
from schemas import export, shapes
from schemas.event import (
    ATTEMPT_TYPES,
    COMPLETED,
    Assessment,
    Attempt,
    Candidate,
    Data,
    Event,
    Group,
    Links,
    Result,
    Section,
    VendorFacts,
    event_id,
    format_time,
    minimal,
)
from schemas.notices import NOTICE_TYPES, TEST
from schemas.shapes import DataSchema, EventSchema
from tests.support.events import MARK, events
from tests.support.schemas import CLOUDEVENTS, compact, problems

DATA = Path(__file__).parents[1] / "data"
FOLDER = Path(export.__file__).parent
DOCUMENTS = export.documents()

OURS = Draft202012Validator(
    json.loads(DOCUMENTS["event-1.0.schema.json"]), format_checker=Draft202012Validator.FORMAT_CHECKER
)
OUR_DATA = Draft202012Validator(
    json.loads(DOCUMENTS["attempt-1.0.schema.json"]), format_checker=Draft202012Validator.FORMAT_CHECKER
)


def documented() -> Any:
    return json.loads((DATA / "attempt-completed.json").read_text())


@pytest.mark.long
@given(events())
def test_loading_the_bytes_gives_the_event_and_dumping_the_event_gives_the_bytes(event: Event) -> None:
    raw = event.to_json()
    assert EventSchema().load(json.loads(raw)) == event
    assert compact(EventSchema().dump(event)) == raw


@given(events())
def test_every_event_is_valid_against_our_schema_and_that_of_cloudevents(event: Event) -> None:
    document = json.loads(event.to_json())
    assert problems(OURS, document) == problems(CLOUDEVENTS, document) == problems(OUR_DATA, document["data"]) == []


@given(events())
def test_attributes_have_no_personal_data_and_follow_the_rules_of_cloudevents(event: Event) -> None:
    attributes = json.loads(event.to_json())
    del attributes["data"]
    assert MARK not in json.dumps(attributes, ensure_ascii=False)
    for name, value in attributes.items():
        assert re.fullmatch(r"[a-z0-9]{1,20}", name)
        assert value is True if name == "bridgetest" else value
        assert isinstance(value, bool if name == "bridgetest" else str)


@given(events())
def test_every_time_is_utc_with_milliseconds(event: Event) -> None:
    document = json.loads(event.to_json())
    attempt = document["data"]["attempt"]
    times = [document["time"], document["recordedtime"], attempt["started_at"], attempt["completed_at"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times if time)


@given(events())
def test_the_minimal_projection_keeps_the_id_and_drops_name_address_links_and_answers(event: Event) -> None:
    full = json.loads(event.to_json())
    reduced = minimal(full)
    candidate, data = full["data"]["candidate"], reduced["data"]
    assert reduced["id"] == full["id"]
    assert data["candidate"] == {**candidate, "email": None, "name": None}
    assert set(data["links"].values()) == {None}
    label = full["data"]["extensions"].get("expectation")
    assert data["extensions"] == ({} if label is None else {"expectation": label})
    rest = {"candidate": 0, "links": 0, "extensions": 0}
    assert data | rest == full["data"] | rest
    assert json.loads(event.to_json()) == full
    assert list(data) == list(full["data"])
    assert problems(OURS, reduced) == problems(CLOUDEVENTS, reduced) == []


def test_the_documented_event_is_what_the_code_writes() -> None:
    event = Event(
        id=event_id("/acme/sources/eu-classmarker", "link:62510937", COMPLETED, 1),
        source="/acme/sources/eu-classmarker",
        type=COMPLETED,
        subject="link:62510937",
        time=datetime(2026, 11, 20, 14, 52, 41, tzinfo=UTC),
        dataschema="https://bridge.acme.example/schemas/attempt/1.0.json",
        recordedtime=datetime(2026, 11, 20, 14, 52, 43, 518_999, tzinfo=UTC),
        partitionkey="eu-classmarker/link:62510937",
        bridgevendor="classmarker",
        bridgeorigin="webhook",
        data=Data(
            attempt=Attempt(
                id="link:62510937",
                status="completed",
                started_at=datetime(2026, 11, 20, 15, 20, 5, tzinfo=timezone(timedelta(hours=1))),
                completed_at=datetime(2026, 11, 20, 14, 52, 41, tzinfo=UTC),
                duration_seconds=1956,
            ),
            candidate=Candidate(id="cand-8841", external_id="E-20417", email="sam@example.test", name="Sam Reyes"),
            assessment=Assessment(
                id="1173082",
                name="Fire warden refresher",
                group=Group(kind="link", id="402217", name="Site B"),
            ),
            result=Result(
                score=Decimal(21),
                max_score=Decimal("30.00"),
                percentage=Decimal("70.00004"),
                pass_mark_percentage=Decimal(65),
                passed=True,
            ),
            sections=(
                Section(
                    id="s1", name="Alarms", score=Decimal(9), max_score=Decimal(10), percentage=Decimal(90), passed=None
                ),
            ),
            vendor=VendorFacts(
                name="classmarker", source="eu-classmarker", status="f", ids={"link_result_id": "62510937"}
            ),
            links=Links(report="https://www.classmarker.example/view/results/?required=62510937"),
        ),
    )
    assert event.to_json() == compact(documented())


def test_the_id_of_a_given_event_never_changes() -> None:
    # Receivers remember ids: with another value everything would be published again.
    first = event_id("/acme/sources/eu-classmarker", "link:62510937", COMPLETED, 1)
    assert first == "7c19d583-cb6b-556e-a2c8-fabca9ee09b1"


def test_a_time_of_any_zone_is_written_in_utc() -> None:
    moment = datetime(2026, 1, 1, 0, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert format_time(moment) == "2025-12-31T19:00:00.999Z"


def test_members_that_a_later_version_adds_are_ignored() -> None:
    document = documented()
    expected = EventSchema().load(documented())
    document["sequence"] = "7"
    document["data"]["attempt"]["room"] = "B"
    document["data"]["sections"][0]["weight"] = 2
    assert EventSchema().load(document) == expected
    assert problems(OURS, document) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("type",), "attempt.exploded"),
        (("specversion",), "2.0"),
        (("id",), None),
        (("time",), "2026-11-20 14:52"),
        (("data", "attempt", "revision"), 0),
        (("data", "attempt", "revision"), "1"),
        (("data", "attempt", "status"), "in_progress"),
        (("data", "attempt", "started_at"), "2026-11-20T14:52:41.000"),
        (("data", "result", "grading"), "guessed"),
        (("data", "result", "score"), "twenty"),
        (("data", "result", "passed"), "maybe"),
        (("data", "sections"), None),
        (("data", "assessment", "group"), []),
        (("bridgetest",), False),
        (("traceparent",), f"00-{'a' * 32}-{'b' * 16}-01-and-more"),
    ],
)
def test_a_broken_event_is_refused_by_the_declaration_and_by_the_schema(path: tuple[str, ...], value: Any) -> None:
    document = documented()
    member = document
    for name in path[:-1]:
        member = member[name]
    member[path[-1]] = value
    with pytest.raises(ValidationError):
        EventSchema().load(document)
    assert problems(OURS, document)


def _member_paths(document: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    results = []
    for name, member in document.items():
        results.append((*path, name))
        if isinstance(member, dict) and name not in ("ids", "extensions"):
            results += _member_paths(member, (*path, name))
    return results


@pytest.mark.parametrize("path", _member_paths(documented()), ids=".".join)
def test_every_member_is_always_present(path: tuple[str, ...]) -> None:
    document = documented()
    member = document
    for name in path[:-1]:
        member = member[name]
    del member[path[-1]]
    assert problems(OURS, document)
    with pytest.raises(ValidationError):
        EventSchema().load(document)


def _pairs(shape: Any) -> list[tuple[Any, type]]:
    """Every declared shape with its dataclass, from the event down."""
    results = [(shape, shape.makes)]
    for field in shape.fields.values():
        inner = field.inner if isinstance(field, fields.List) else field
        if (
            isinstance(inner, fields.Nested)
            and hasattr(inner.schema, "makes")
            and type(inner.schema) is not type(shape)
        ):
            results += _pairs(inner.schema)
    return results


@pytest.mark.parametrize(
    ("shape", "dataclass"), _pairs(EventSchema()), ids=lambda value: getattr(value, "__name__", "")
)
def test_shapes_and_dataclasses_declare_the_same_members(shape: Any, dataclass: type) -> None:
    assert is_dataclass(dataclass)
    assert set(shape.fields) == {field.name for field in dataclass_fields(dataclass)}


def test_the_enumerations_of_the_schema_are_those_of_the_code() -> None:
    assert set(shapes.GRADINGS) == GRADINGS
    assert set(shapes.STATUSES) == PUBLISHABLE_STATUSES
    assert set(shapes.ORIGINS) == {WEBHOOK, POLL, BACKFILL, BRIDGE}
    assert set(ATTEMPT_TYPES) == {
        event_type(status, revision) for status in PUBLISHABLE_STATUSES for revision in (1, 2)
    }


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_the_checked_in_document_is_current(name: str) -> None:
    # Remedy: python -m schemas.export
    assert (FOLDER / name).read_text(encoding="utf-8") == DOCUMENTS[name]


@pytest.mark.parametrize("name", sorted(name for name in DOCUMENTS if name.endswith(".json")))
def test_the_json_schema_is_valid_allows_more_members_and_describes_each(name: str) -> None:
    schema = json.loads(DOCUMENTS[name])
    Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        assert "additionalProperties" not in part
        assert all("description" in member for member in part["properties"].values())


def test_export_writes_every_document(tmp_path: Path) -> None:
    paths = export.write(tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in paths} == DOCUMENTS


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for member in node for reference in _references(member)]
    if not isinstance(node, dict):
        return []
    return [value for key, value in node.items() if key == "$ref"] + _references(list(node.values()))


def test_the_asyncapi_document_names_every_event_type_and_the_generated_schema() -> None:
    page = yaml.safe_load(DOCUMENTS["asyncapi.yaml"])
    assert page["asyncapi"] == "3.0.0"
    messages = page["components"]["messages"]
    types = {*ATTEMPT_TYPES, *NOTICE_TYPES, TEST}
    assert {message["name"] for message in messages.values()} == types
    assert set(page["channels"]["exchange"]["parameters"]["type"]["enum"]) == types
    # A test of a subscription is never in the journal.
    assert set(page["channels"].pop("journal")["messages"]) == set(messages) - {"bridgeTest"}
    assert all(set(channel["messages"]) == set(messages) for channel in page["channels"].values())
    assert page["components"]["schemas"] == {
        "event": {"$ref": "./event-1.0.schema.json"},
        "notice": {"$ref": "./notice-event-1.0.schema.json"},
    }
    about_results = {message["name"] for message in messages.values() if message["payload"]["$ref"].endswith("/event")}
    assert about_results == set(ATTEMPT_TYPES)


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    page = yaml.safe_load(DOCUMENTS["asyncapi.yaml"])
    for reference in _references(page):
        if reference.startswith("./"):
            assert reference.removeprefix("./") in DOCUMENTS
            continue
        result = page
        for name in reference.removeprefix("#/").split("/"):
            result = result[name]
        assert result


def test_the_data_alone_can_be_loaded() -> None:
    assert DataSchema().load(documented()["data"]) == EventSchema().load(documented()).data
