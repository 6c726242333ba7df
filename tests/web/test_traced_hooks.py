"""The span of a webhook: what it says of one that is taken, and what it leaves out of one that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from flask.testing import FlaskClient

from bridge.errors import StateUnavailable
from bridge.web import create_app
from bridge.web.gate import Gate
from tests.support.tracing import KeepingTracer, keeping
from tests.support.web import TOKEN, result, services_over, sign

FOREIGN = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.fixture
def tracer() -> Iterator[KeepingTracer]:
    with keeping() as kept:
        yield kept


@pytest.fixture
def client(tmp_path: Path, state: redis.Redis, tracer: KeepingTracer) -> FlaskClient:
    return create_app(services_over(tmp_path, state), gate=Gate(lambda: None)).test_client()


def send(client: FlaskClient, path: str, number: int = 1, **headers: str) -> int:
    body = result(number)
    given = {"X-Classmarker-Hmac-Sha256": sign(body), **headers}
    return client.post(path, data=body, content_type="application/json", headers=given).status_code


def test_a_webhook_is_a_trace_of_its_own_and_its_event_is_published_within(
    client: FlaskClient, tracer: KeepingTracer
) -> None:
    assert send(client, "/webhooks/eu", traceparent=FOREIGN) == 200
    published, received = tracer.ended
    assert (received.name, received.kind, received.parent, received.link) == (
        "POST /webhooks/{source}",
        "SERVER",
        "",
        FOREIGN,
    )
    said = {
        "attempt_bridge.source": "eu",
        "attempt_bridge.vendor": "classmarker",
        "attempt_bridge.outcome": "published",
    }
    assert received.attributes | said == received.attributes
    assert received.attributes["http.response.status_code"] == 200
    assert (published.name, published.kind, published.parent) == ("publish journal", "PRODUCER", received.traceparent)


def test_what_was_published_before_has_no_span_of_publishing(client: FlaskClient, tracer: KeepingTracer) -> None:
    for _ in range(2):
        send(client, "/webhooks/eu")
    assert len(tracer.named("publish journal")) == 1
    assert [span.attributes["attempt_bridge.outcome"] for span in tracer.named("POST /webhooks/{source}")] == [
        "published",
        "duplicate",
    ]


@pytest.mark.parametrize(
    "path", ["/webhooks/CANARY-source", "/webhooks/closed/CANARY-wrong", f"/webhooks/closed/{TOKEN}"]
)
def test_the_address_of_a_webhook_is_not_told(path: str, client: FlaskClient, tracer: KeepingTracer) -> None:
    send(client, path)
    (received,) = tracer.named("POST /webhooks/{source}")
    assert "CANARY" not in f"{received.name} {received.attributes}"


def test_a_webhook_that_cannot_be_taken_now_has_failed_by_its_outcome(
    tmp_path: Path, state: redis.Redis, tracer: KeepingTracer
) -> None:
    def away() -> None:
        raise StateUnavailable("CANARY")

    gate = Gate(away)
    gate.probe()
    assert send(create_app(services_over(tmp_path, state), gate=gate).test_client(), "/webhooks/eu") == 503
    (received,) = tracer.ended
    assert (received.reason, received.attributes["http.response.status_code"]) == ("state_unavailable", 503)
