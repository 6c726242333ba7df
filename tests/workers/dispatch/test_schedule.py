"""When a failed delivery is tried again, and what an outcome turns into: decisions without a server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.model import Filter, Receipts, RetryPolicy, Subscription
from bridge.delivery.store import Delivery
from bridge.errors import DeliveryFailed
from tests.support.dispatch import even, event
from workers.dispatch.schedule import broker_backoff, max_tries, retry_delay
from workers.dispatch.settlement import (
    Item,
    item_from_entry,
    matches_filter,
    outcome_row,
    outgoing_event,
)
from workers.transports.contract import Outcome, Try

POLICY = RetryPolicy(schedule=(5.0, 300.0), jitter=0.2)
SUBSCRIPTION = Subscription(name="crm", transport="http", retry=POLICY)

BROKEN = DeliveryFailed("receiver answered 500", reason="receiver_error")


def tried(outcome: Outcome) -> Try:
    return Try(outcome, at=100.0, seconds=0.1)


def item(number: int = 1, **members: object) -> Item:
    made = event(number, **members)  # type: ignore[arg-type]
    fields = {
        b"id": made["id"].encode(),
        b"type": made["type"].encode(),
        b"source": str(members.get("source", "eu-classmarker")).encode(),
        b"attempt": b"a1",
        b"event": json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode(),
    }
    return item_from_entry(b"1-0", fields)


def test_each_step_of_the_schedule_is_used_once_and_then_no_try_is_left() -> None:
    assert [retry_delay(POLICY, tries, 0.5) for tries in (1, 2, 3)] == [5.0, 300.0, None]
    assert max_tries(POLICY) == 3


def test_the_draw_changes_a_step_by_at_most_the_jitter() -> None:
    assert retry_delay(POLICY, 2, 0.0) == pytest.approx(240.0)
    assert retry_delay(POLICY, 2, 0.999999) == pytest.approx(360.0, rel=1e-4)


@given(st.integers(1, 2), st.floats(0, 1, exclude_max=True), st.floats(0, 1e12))
def test_retry_after_can_stretch_a_step_to_twice_its_length_and_never_shorten_it(tries, draw, retry_after) -> None:
    plain, stretched = retry_delay(POLICY, tries, draw), retry_delay(POLICY, tries, draw, retry_after)
    assert plain is not None
    assert stretched is not None
    assert plain <= stretched <= max(plain, 2 * POLICY.schedule[tries - 1])


def test_a_receiver_that_asks_for_a_year_gets_twice_the_step() -> None:
    assert retry_delay(POLICY, 2, 0.5, 31_536_000.0) == 600.0


def test_the_backoff_for_a_broker_grows_to_30_seconds() -> None:
    assert [broker_backoff(failures) for failures in (1, 2, 3, 4, 5, 500)] == [1.0, 2.0, 5.0, 10.0, 30.0, 30.0]


def test_a_failure_is_recorded_with_its_first_and_last_error() -> None:
    kind, entry, _, due, record, *_ = outcome_row(item(), tried(BROKEN), SUBSCRIPTION, 100.0, even)
    noted = Delivery.from_json(record)
    assert (kind, entry, due) == ("retry", "1-0", "105.000")
    assert (noted.tries, noted.first_at, noted.last_at, noted.reason) == (1, 100.0, 100.0, "receiver_error")
    other = DeliveryFailed("receiver answered 502", reason="receiver_error")
    again = Delivery.from_json(outcome_row(replace(item(), delivery=noted), tried(other), SUBSCRIPTION, 200.0, even)[4])
    assert (again.tries, again.first_at, again.first_error, again.error) == (
        2,
        100.0,
        "receiver answered 500",
        "receiver answered 502",
    )


def test_a_permanent_failure_is_given_up_at_the_first_try() -> None:
    failure = DeliveryFailed("no", reason="refused", permanent=True)
    assert outcome_row(item(), tried(failure), SUBSCRIPTION, 1.0, even)[0] == "dead"


def test_with_receipts_a_successful_send_is_not_yet_a_delivery() -> None:
    subscription = replace(SUBSCRIPTION, receipts=Receipts(required=True))
    assert outcome_row(item(), tried(None), subscription, 1.0, even)[0] == "sent"
    assert outcome_row(item(), tried(None), SUBSCRIPTION, 1.0, even)[0] == "ok"


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Filter(), True),
        (Filter(types=("attempt.revised",)), False),
        (Filter(sources=("eu-*",)), True),
        (Filter(sources=("us-*",)), False),
        (Filter(when={"passed": True}), True),
        (Filter(when={"passed": False}), False),
        (Filter(types=("attempt.completed",), sources=("eu-*",), when={"passed": True, "score": 21.0}), True),
    ],
)
def test_the_filter_decides_by_type_source_and_result(selection: Filter, taken: bool) -> None:
    assert matches_filter(replace(SUBSCRIPTION, filter=selection), item()) is taken


ALARM = {
    "type": "source.poll_failing",
    "data": {
        "alarm": {"state": "raised", "since": "2026-12-27T23:00:00.000Z", "fact": "f", "value": "v", "remedy": "r"}
    },
}


def notice(kind: str = "source.poll_failing") -> Item:
    retry = item()
    return replace(retry, delivery=replace(retry.delivery, type=kind), event=json.dumps(ALARM).encode())


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        # A receiver that asked for nothing special gets results, not alarms.
        (Filter(), False),
        (Filter(types=("attempt.*",)), False),
        (Filter(types=("source.poll_failing",)), True),
        (Filter(types=("source.*", "attempt.*")), True),
        (Filter(types=("*",)), True),
        (Filter(types=("source.*",), sources=("us-*",)), False),
        # It has no result that could be compared.
        (Filter(types=("source.*", "attempt.*"), when={"grading": "final"}), True),
    ],
)
def test_a_notice_is_sent_only_to_subscriptions_that_request_its_type(selection: Filter, taken: bool) -> None:
    assert matches_filter(replace(SUBSCRIPTION, filter=selection), notice()) is taken


def test_type_patterns_match_attempts_too() -> None:
    assert matches_filter(replace(SUBSCRIPTION, filter=Filter(types=("attempt.*",), when={"passed": True})), item())
    assert not matches_filter(
        replace(SUBSCRIPTION, filter=Filter(types=("attempt.*",), when={"passed": False})), item()
    )


def test_the_minimal_projection_keeps_a_notice_whole() -> None:
    assert json.loads(outgoing_event(replace(SUBSCRIPTION, data="minimal"), notice()).body) == ALARM


def test_the_full_event_is_sent_as_the_bytes_of_the_journal() -> None:
    retry = item()
    assert outgoing_event(SUBSCRIPTION, retry).body is retry.event


def test_the_minimal_event_has_no_name_or_address_and_the_same_id() -> None:
    retry = item()
    sent = outgoing_event(replace(SUBSCRIPTION, data="minimal"), retry)
    assert b"sam@example.test" not in sent.body
    assert "Zoë".encode() not in sent.body
    assert json.loads(sent.body)["id"] == retry.delivery.id
    assert json.loads(sent.body)["data"]["result"] == json.loads(retry.event)["data"]["result"]
