"""A record that causes an unexpected error is quarantined alone; the others are published and the cursor moves on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import redis

from bridge.ingest.context import WebhookRequest
from bridge.ingest.dry_run import DryRun
from bridge.ingest.pipeline import receive
from bridge.ingest.reprocess import reprocess_quarantined, reprocess_request
from bridge.journal.reading import Reader
from bridge.sdk.records import Pointer
from bridge.sdk.vendor import NormalisedAttempt, Record, Vendor, Watch
from bridge.services import Services
from bridge.state import keys
from bridge.web.hooks import request_id
from schemas.event import Candidate
from tests.support.polling import START, Api, Sitting, journal, journal_events, make_services, make_vendor
from tests.support.web import captured_logs
from workers.polling.overdue import announce_overdue
from workers.polling.poll import poll_once

NAME, CANARY = "eu-little", "CANARY-sam@example.test"
ID = request_id(START, bytes(10))
PLAIN = make_vendor(Api(clock=lambda: START)).normalise


class Odd:
    """What a vendor's `normalise` may return or raise unexpectedly."""

    @staticmethod
    def raises(attempt: NormalisedAttempt) -> NormalisedAttempt:
        raise RuntimeError(CANARY)

    @staticmethod
    def id_(attempt: NormalisedAttempt) -> NormalisedAttempt:
        return replace(attempt, attempt_id=f"{CANARY}\ud800")

    @staticmethod
    def alias(attempt: NormalisedAttempt) -> NormalisedAttempt:
        return replace(attempt, aliases=("?\ud800",))

    @staticmethod
    def name(attempt: NormalisedAttempt) -> NormalisedAttempt:
        return replace(attempt, candidate=Candidate(name=f"{CANARY} \ud800"))

    @staticmethod
    def order(attempt: NormalisedAttempt) -> NormalisedAttempt:
        return replace(attempt, order=2**40)

    @staticmethod
    def material(attempt: NormalisedAttempt) -> NormalisedAttempt:
        return replace(attempt, material=(object(),))  # type: ignore[arg-type]

    @staticmethod
    def watch(attempt: NormalisedAttempt) -> NormalisedAttempt:
        watch = Watch(reference={"sitting": object()}, due_in=60.0, give_up_at=START + 1e6)  # type: ignore[dict-item]
        return replace(attempt, watch=watch)


ODD = [Odd.raises, Odd.id_, Odd.alias, Odd.name, Odd.order, Odd.material, Odd.watch]


def world(client: redis.Redis, odd: Any, bad: str = "2") -> tuple[Services, Api]:
    api = Api(clock=lambda: START)

    def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        attempt = PLAIN(record, now, options)
        return odd(attempt) if record.body["id"] == bad else attempt

    return make_services(client, make_vendor(api, normalise=normalise), lambda: START), api


def healed(services: Services) -> Services:
    vendor: Vendor = next(iter(services.vendors.values()))
    return replace(services, vendors={vendor.name: replace(vendor, normalise=PLAIN)})


def request(body: object) -> WebhookRequest:
    return WebhookRequest(id=ID, body=json.dumps(body).encode(), headers={}, kept_headers={}, received_at=START)


ROW = {"id": "2", "finished": int(START) - 10, "score": 1, "graded": True}


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_a_polled_record_with_an_unexpected_error_is_quarantined_and_the_cursor_moves_on(
    state: redis.Redis, odd: Any
) -> None:
    services, api = world(state, odd)
    api.add(*(Sitting(f"{number}", int(START) - 100 + number) for number in range(5)))

    with captured_logs() as output:
        report = poll_once(services, NAME)

    assert (report.outcome, report.rounds[0].error) == ("done", None)
    assert report.rounds[0].outcomes["quarantined"] == 1
    assert [attempt for _, attempt in journal(state)] == ["a:0", "a:1", "a:3", "a:4"]
    assert services.cursors.position(NAME, "results").cursor == f"{START - 96:.0f}"
    (kept,) = services.quarantine.list()
    assert (kept.reason, json.loads(kept.body)["record"]["id"]) == ("unexpected_error", "2")
    assert CANARY not in output.getvalue()
    assert '"unexpected_error"' in output.getvalue()
    assert '"error_type"' in output.getvalue()
    # The next round reads it again, with the same result.
    assert poll_once(services, NAME).outcome == "done"
    assert services.quarantine.size() == 1

    assert reprocess_quarantined(services.ingest_context(NAME), kept, None, now=START) == "quarantined"
    assert reprocess_quarantined(healed(services).ingest_context(NAME), kept, None, now=START) == "published"


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_a_webhook_with_an_unexpected_error_is_quarantined_and_can_be_reprocessed(state: redis.Redis, odd: Any) -> None:
    services, _ = world(state, odd)

    assert receive(services.ingest_context(NAME), request(ROW)).outcome == "quarantined"

    stored = services.requests.find(ID)
    assert stored is not None
    assert (stored.outcome, stored.reason, stored.body) == ("quarantined", "unexpected_error", request(ROW).body)
    assert reprocess_request(services.ingest_context(NAME), stored, now=START) == "quarantined"
    assert reprocess_request(healed(services).ingest_context(NAME), stored, now=START) == "published"
    assert journal(state) == [("attempt.completed", "a:2")]


def test_a_stored_webhook_of_a_vendor_that_no_longer_sends_any_stays_in_quarantine(state: redis.Redis) -> None:
    services, _ = world(state, Odd.raises)
    receive(services.ingest_context(NAME), request(ROW))
    stored = services.requests.find(ID)
    assert stored is not None
    context = healed(services).ingest_context(NAME)
    polled = replace(context, vendor=replace(context.vendor, split=None))

    with captured_logs() as output:
        assert reprocess_request(polled, stored, now=START) == "quarantined"
    assert "unexpected_error" not in output.getvalue()
    assert journal(state) == []


@pytest.mark.parametrize("odd", [Odd.raises, Odd.id_, Odd.alias, Odd.name, Odd.material], ids=lambda odd: odd.__name__)
def test_a_dry_run_predicts_what_would_be_quarantined(state: redis.Redis, odd: Any) -> None:
    services, _ = world(state, odd)
    dry_run = DryRun(context=services.ingest_context(NAME), reader=Reader(state, partitions=1))
    records = [Record("results", ROW | {"id": name}) for name in ("1", "2", "3")]
    assert [row.attempt.attempt_id for row in dry_run.preview(records, now=START)] == ["a:1", "a:3"]
    assert dry_run.outcomes["quarantined"] == 1


def test_a_body_that_makes_split_fail_is_quarantined(state: redis.Redis) -> None:
    services, _ = world(state, Odd.raises)
    context = services.ingest_context(NAME)
    context = replace(context, vendor=replace(context.vendor, split=lambda body, options: body["a"]["b"]))
    assert receive(context, request({"a": 1})).outcome == "quarantined"


def store_label(services: Services, label: str, *, key: str = "a:2", due: float = START) -> None:
    """Store a label as an earlier version did."""
    pointer = Pointer(key=key, reference={"sitting": "2"})
    services.expectations.expect(NAME, [pointer], label="x", due=due, deadline=due + 600, now=due)
    old = fake_value(services, key) | {"label": label, "reference": {"sitting": "2\ud800"}}
    services.state.hset(keys.expected(NAME), key, json.dumps(old, separators=(",", ":"), sort_keys=True))


def fake_value(services: Services, key: str) -> dict[str, Any]:
    return json.loads(services.state.hget(keys.expected(NAME), key))  # type: ignore[arg-type]


def test_a_stored_label_with_a_lone_surrogate_stops_neither_poll_nor_webhook(state: redis.Redis) -> None:
    services, api = world(state, lambda attempt: attempt)
    store_label(services, "HR \ud800")
    api.add(*(Sitting(f"{number}", START - 100 + number) for number in range(5)))

    assert poll_once(services, NAME).rounds[0].outcomes == {"published": 5}

    labels = {event["subject"]: event["data"]["extensions"].get("expectation") for event in journal_events(state)}
    assert labels["a:2"] == "HR \N{REPLACEMENT CHARACTER}"
    store_label(services, "HR \ud800", key="a:9")
    assert receive(services.ingest_context(NAME), request(ROW | {"id": "9"})).outcome == "published"
    assert services.expectations.list(NAME) == ()


def test_an_expectation_with_such_a_label_is_announced_as_overdue_once_and_listed(state: redis.Redis) -> None:
    services, _ = world(state, lambda attempt: attempt)
    store_label(services, "HR \ud800", due=START - 10_000)
    assert announce_overdue(services) == 1
    assert announce_overdue(services) == 0
    (event,) = journal_events(state)
    assert event["data"]["watch"]["label"] == "HR \N{REPLACEMENT CHARACTER}"
    (shown,) = services.expectations.list(NAME)
    assert (shown.state, shown.label) == ("overdue", "HR \N{REPLACEMENT CHARACTER}")


def test_an_unreadable_previous_event_does_not_prevent_a_revision(state: redis.Redis) -> None:
    services, api = world(state, lambda attempt: attempt)
    api.add(Sitting("1", START - 100), Sitting("2", START - 90))
    poll_once(services, NAME)
    name = "ab:{0}:journal"
    old: Any = state.xrange(name)
    state.delete(name)
    for entry, fields in old:
        event = json.loads(fields[b"event"])
        del event["data"]["attempt"]
        state.xadd(name, fields | {b"event": json.dumps(event)}, id=entry)
    api.streams["results"] = [Sitting("1", START - 90, score=11), Sitting("2", START - 80, score=12)]

    assert poll_once(services, NAME).rounds[0].outcomes["revised"] == 2
