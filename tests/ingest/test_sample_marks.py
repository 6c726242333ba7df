"""A webhook marked as a test publishes a labelled event about an attempt of its own, and touches nothing real."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from jsonschema import Draft202012Validator

from bridge import registry
from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.ingest.reprocess import reprocess_request
from bridge.ingest.sample_marks import MARK, is_marked, marked
from bridge.sdk.vendor import Ignored, Vendor
from bridge.services import Services
from schemas import export
from schemas.event import minimal
from schemas.shapes import EventSchema
from tests.support.polling import START, journal_events, make_services, with_source
from tests.support.schemas import problems

OURS = Draft202012Validator(json.loads(export.documents()["event-1.0.schema.json"]))
VENDORS = registry.vendors()
FOLDERS = Path(registry.__file__).parent / "vendors"
SAMPLES = [
    pytest.param(name, json.loads(path.read_text()), id=f"{name}-{path.name.removesuffix('.in.json')}")
    for name in VENDORS
    for path in sorted((FOLDERS / name.replace("-", "_") / "fixtures").glob("webhook_*.in.json"))
]
DIRECT = json.loads((FOLDERS / "classmarker" / "fixtures" / "webhook_link_numbers.in.json").read_text())["webhook"]


def services_of(state: redis.Redis, vendor: Vendor, options: dict[str, Any] | None = None) -> Services:
    defaults = {name: option.default for name, option in vendor.options.items()}
    made = make_services(state, replace(vendor, verify=None), lambda: START)
    return with_source(made, options=defaults | (options or {}))


def deliver(services: Services, body: Any, ident: str = "r1") -> str:
    raw = json.dumps(body, ensure_ascii=False).encode()
    request = WebhookRequest(id=ident, body=raw, headers={}, kept_headers={}, received_at=START)
    return receive(services.ingest_context("eu-little"), request).outcome


def real_state(state: redis.Redis) -> set[str]:
    """All keys but the journal, its memory and index, stored requests, quarantine and counts."""
    kept = ("journal", "seen", ":ids:", "requests", "quarantine", "counts")
    return {name for key in state.keys("*") if not any(word in (name := key.decode()) for word in kept)}  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "case"), SAMPLES)
def test_a_marked_webhook_of_any_vendor_publishes_only_labelled_events_and_leaves_no_watch_or_consent(
    name: str, case: dict[str, Any], state: redis.Redis
) -> None:
    services = services_of(state, VENDORS[name], case.get("options"))
    plain = receive_plainly(services, case["webhook"])
    outcome = deliver(services, marked(case["webhook"]) if isinstance(case["webhook"], dict) else case["webhook"])
    events = journal_events(state)
    assert outcome in ("published", "test", "ignored", "quarantined")
    assert (outcome == "ignored") == (isinstance(plain, Ignored) and plain.outcome == "ignored")
    assert bool(events) == (outcome == "published")
    assert real_state(state) == set()
    for event in events:
        assert event["bridgetest"] is True
        assert minimal(event)["bridgetest"] is True
        assert event["subject"] == event["data"]["attempt"]["id"]
        assert event["subject"].startswith("test:")
        assert MARK not in json.dumps(event)
        assert problems(OURS, event) == []
        assert EventSchema().load(event).bridgetest is True


def receive_plainly(services: Services, body: Any) -> Any:
    (source,) = services.config.sources.values()
    try:
        return services.vendors[source.vendor].split(json.loads(json.dumps(body)), source.options)
    except Exception:  # noqa: BLE001 - unreadable, whatever the folder raises
        return None


def test_a_test_and_the_real_attempt_with_the_same_id_do_not_meet(state: redis.Redis) -> None:
    services = services_of(state, VENDORS["classmarker"])
    assert [deliver(services, marked(DIRECT), f"r{number}") for number in (1, 2)] == ["published", "duplicate"]
    assert deliver(services, DIRECT, "r3") == "published"
    changed = {**DIRECT, "result": {**DIRECT["result"], "points_scored": 1}}
    assert deliver(services, marked(changed), "r4") == "revised"
    events = journal_events(state)
    assert sorted((event["type"], event["subject"], event.get("bridgetest", False)) for event in events) == [
        ("attempt.completed", "link:81234568", False),
        ("attempt.completed", "test:link:81234568", True),
        ("attempt.revised", "test:link:81234568", True),
    ]
    assert len({event["id"] for event in events}) == 3


def test_a_stored_test_stays_a_test_when_it_is_processed_again(state: redis.Redis) -> None:
    services = services_of(state, VENDORS["classmarker"])
    deliver(services, marked(DIRECT))
    (stored,) = services.requests.list()
    assert (stored.outcome, stored.attempts) == ("test", ("test:link:81234568",))
    assert reprocess_request(services.ingest_context("eu-little"), stored, now=START) == "duplicate"
    assert [event["bridgetest"] for event in journal_events(state)] == [True]


@pytest.mark.parametrize("value", [1, "true", None, False, {}])
def test_only_the_value_true_marks_a_body(value: object) -> None:
    assert not is_marked(json.dumps({MARK: value}).encode())
    assert not is_marked(json.dumps({"x": {MARK: True}}).encode())
    assert not is_marked(json.dumps([{MARK: True}]).encode())
    assert is_marked(json.dumps({MARK: True}).encode())
