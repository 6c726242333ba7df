"""A span for each try, around transports that send in batches and in a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import redis

from bridge.config.model import Subscription
from bridge.errors import DeliveryFailed
from tests.support.dispatch import Receiver, lane, publish, run_until_idle
from tests.support.tracing import keeping
from workers.dispatch.traced_transport import traced
from workers.transports.contract import Outgoing, Try, WindowTransport

PARENT = f"00-{'1' * 32}-{'2' * 16}-01"
BROKER = "redis+socket:///run/state.sock"
CRM = Subscription(name="crm", transport="http", url="https://crm.example/CANARY?key=CANARY")
GRADEBOOK = Subscription(name="gradebook", transport="celery", task="t", queue="gradebook")


def outgoing(number: int = 1, **more: Any) -> Outgoing:
    return Outgoing(f"id-{number}", "attempt.completed", "eu", "CANARY-attempt", b'{"name":"CANARY"}', **more)


class Batches:
    """Answers with the tries that it was given, or raises what it was given."""

    batch = 200

    def __init__(self, result: list[Try] | Exception) -> None:
        self.result = result
        self.sent: list[Outgoing] = []

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        self.sent += events
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def close(self) -> None: ...


class InWindow(Batches):
    concurrency = 8

    def __init__(self) -> None:
        super().__init__([])
        self.finished: list[tuple[int, Try]] = []

    def start(self, events: Sequence[tuple[int, Outgoing]], *, now: float) -> None:
        self.sent += [event for _, event in events]

    def withdraw(self) -> list[int]:
        return [2]

    def results(self, timeout: float = 0.0) -> list[tuple[int, Try]]:
        return self.finished


def test_without_a_tracer_the_transport_stays_as_it_is() -> None:
    transport = Batches([])
    assert traced(transport, CRM, BROKER) is transport


def test_each_try_has_a_span_below_its_event_whose_context_is_sent() -> None:
    failure = DeliveryFailed("CANARY", reason="receiver_error")
    transport = Batches([Try(None, 1.0, 0.25, 204), Try(failure, 1.0, 0.5, 503)])
    with keeping() as tracer:
        tries = traced(transport, CRM, BROKER).send([outgoing(1, traceparent=PARENT), outgoing(2)], now=1.0)
    assert tries == transport.result
    first, second = tracer.ended
    assert (first.name, first.kind, first.parent, second.parent) == ("send crm", "CLIENT", PARENT, "")
    assert [event.traceparent for event in transport.sent] == [first.traceparent, second.traceparent]
    assert transport.sent[0].headers == {"traceparent": first.traceparent}
    assert first.attributes == {
        "attempt_bridge.subscription": "crm",
        "attempt_bridge.transport": "http",
        "http.request.method": "POST",
        "server.address": "crm.example",
        "messaging.message.id": "id-1",
        "cloudevents.event_id": "id-1",
        "cloudevents.event_type": "attempt.completed",
        "attempt_bridge.source": "eu",
        "attempt_bridge.outcome": "delivered",
        "attempt_bridge.try_seconds": 0.25,
        "http.response.status_code": 204,
    }
    assert (second.reason, second.attributes["attempt_bridge.outcome"]) == ("receiver_error", "failed")
    assert second.attributes["http.response.status_code"] == 503
    assert "CANARY" not in str([(span.attributes, span.reason) for span in tracer.ended])


def test_a_message_names_its_broker_and_queue_and_a_replay_its_job() -> None:
    with keeping() as tracer:
        traced(Batches([Try(None, 1.0, 0.1)]), GRADEBOOK, BROKER).send([outgoing(replay="r1")], now=1.0)
    (span,) = tracer.ended
    named = {"messaging.system": "redis", "messaging.destination.name": "gradebook", "attempt_bridge.replay": "r1"}
    assert (span.kind, span.attributes | named) == ("PRODUCER", span.attributes)
    lake = Subscription(name="lake", transport="kafka", servers=("k:9093",), topic="attempts")
    with keeping() as tracer:
        traced(Batches([Try(None, 1.0, 0.1)]), lake, BROKER).send([outgoing()], now=1.0)
    named = {"messaging.system": "kafka", "messaging.destination.name": "attempts"}
    assert tracer.ended[0].attributes | named == tracer.ended[0].attributes


@pytest.mark.parametrize(
    ("subscription", "kind", "named"),
    [
        (
            Subscription(name="lake", transport="kafka", servers=("CANARY:9092",), topic="attempts"),
            "PRODUCER",
            {"messaging.system": "kafka", "messaging.destination.name": "attempts"},
        ),
        (Subscription(name="rows", transport="sql", url="postgresql://CANARY@db/results"), "CLIENT", {}),
        (Subscription(name="chat", transport="notify", urls=("slack://CANARY",)), "CLIENT", {}),
    ],
    ids=["kafka", "sql", "notify"],
)
def test_every_transport_has_spans_without_its_address(
    subscription: Subscription, kind: str, named: dict[str, str]
) -> None:
    with keeping() as tracer:
        traced(Batches([Try(None, 1.0, 0.1)]), subscription, BROKER).send([outgoing()], now=1.0)
    (span,) = tracer.ended
    assert (span.kind, span.attributes | named) == (kind, span.attributes)
    assert span.attributes["attempt_bridge.transport"] == subscription.transport
    assert "CANARY" not in str(span.attributes)


def test_the_spans_of_a_transport_that_raises_end_as_failed() -> None:
    with keeping() as tracer, pytest.raises(ValueError, match="CANARY"):
        traced(Batches(ValueError("CANARY")), CRM, BROKER).send([outgoing(1), outgoing(2)], now=1.0)
    assert [span.reason for span in tracer.ended] == ["ValueError", "ValueError"]


def test_in_a_window_a_span_ends_with_its_result_and_what_is_withdrawn_was_no_try() -> None:
    inner = InWindow()
    with keeping() as tracer:
        transport = traced(inner, CRM, BROKER)
        assert isinstance(transport, WindowTransport)
        assert (transport.batch, transport.concurrency) == (200, 8)
        transport.start([(1, outgoing(1, traceparent=PARENT)), (2, outgoing(2))], now=1.0)
        assert tracer.ended == []
        assert transport.withdraw() == [2]
        inner.finished = [(1, Try(None, 1.0, 0.1, 200)), (2, Try(None, 1.0, 0.1, 200))]
        assert transport.results() == inner.finished
    (span,) = tracer.ended
    assert (span.attributes["messaging.message.id"], span.parent) == ("id-1", PARENT)
    assert inner.sent[0].traceparent == span.traceparent


def test_a_lane_sends_with_the_trace_of_the_event_whatever_is_left_of_its_body(state: redis.Redis) -> None:
    publish(state, 1, traceparent=PARENT)
    receiver = Receiver()
    with keeping() as tracer:
        run_until_idle(lane(state, traced(receiver, CRM, BROKER)), 1000.0)
    (span,) = tracer.ended
    assert (span.parent, span.attributes["attempt_bridge.outcome"]) == (PARENT, "delivered")
