"""`transport: http` with `format: xapi` or `caliper`: requests of many events, and what a refused one costs."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import redis
from standardwebhooks.webhooks import Webhook

from bridge.config.model import Authorization, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import ConfigError
from bridge.net.standard_webhooks import SigningSecret
from bridge.state import keys
from tests.support.dispatch import at, even, lane, outcomes
from tests.support.lrs import Lrs, subscription
from tests.support.sql_tables import made, publish
from tests.support.waiting import until
from workers.dispatch.window_lane import WINDOW_CRASH_POINTS
from workers.transports import transport_for
from workers.transports.batch_push import BatchPush
from workers.transports.contract import Outgoing

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_795_000_000.0


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def lrs() -> Iterator[Lrs]:
    with Lrs().served() as served:
        yield served


def out(to: Subscription, *events: dict[str, Any], replay: str = "") -> list[Outgoing]:
    return [
        Outgoing(each["id"], each["type"], "eu", each["subject"], to.output.converted(each), replay) for each in events
    ]


def serve(state: redis.Redis, to: Subscription, number: int, **options: Any) -> None:
    """A dispatch process that settles what is in the journal, `number` events, and ends."""
    transport = transport_for(to, "")
    served = lane(state, transport, subscription=to, **options)

    def step() -> bool:
        served.step(at(NOW), even, block=0.02)
        served.adopt(lambda consumer: consumer == options.get("consumer", "one"))
        status = Deliveries(state).state(to.name, now=NOW)
        return status.delivered + status.dead >= number

    try:
        until(step)
    finally:
        transport.close()
    assert state.xpending(keys.journal(0), keys.group(to.name))["pending"] == 0


def bad(statement: Any) -> bool:
    return statement.get("object", {}).get("id", "").endswith("/assessments/bad")


def test_what_waits_goes_together_and_every_event_has_a_try_of_its_own(lrs: Lrs) -> None:
    to = subscription(lrs)
    transport = transport_for(to, "")
    assert isinstance(transport, BatchPush)
    traced = [replace(event, traceparent=f"00-{'a' * 32}-{'b' * 16}-01") for event in out(to, *map(made, range(120)))]
    assert outcomes(transport, traced[:1], now=NOW) == [None]
    assert lrs.requests[0][0]["Traceparent"] == traced[0].traceparent
    assert outcomes(transport, traced[1:], now=NOW) == [None] * 119
    transport.close()
    # A request of several events is part of several traces.
    assert not any("Traceparent" in headers for headers, number in lrs.requests[1:] if number > 1)
    assert len(lrs.valid) == 120
    assert sum(number for _, number in lrs.requests) == 120
    assert max(number for _, number in lrs.requests) == 50
    assert len(lrs.requests) <= 120 / 50 + 5


def test_a_refused_request_costs_the_bad_statement_alone_and_it_is_not_tried_again(lrs: Lrs) -> None:
    lrs.refuses = bad
    to = subscription(lrs)
    events = [made(number, assessment={"id": "bad" if number in (7, 31) else "t1"}) for number in range(40)]
    transport = transport_for(to, "")
    tries = transport.send(out(to, *events), now=NOW)
    transport.close()
    failed = {number: tried for number, tried in enumerate(tries) if tried.failure}
    assert list(failed) == [7, 31]
    assert [(each.status, each.failure and each.failure.permanent) for each in failed.values()] == [(400, True)] * 2
    assert set(lrs.valid) == {each["id"] for number, each in enumerate(events) if number not in (7, 31)}


def test_a_known_statement_is_delivered_and_the_others_of_its_request_are_stored(lrs: Lrs) -> None:
    to = subscription(lrs)
    lrs.stored[made(2)["id"]] = {"id": made(2)["id"], "verb": {"id": "as an earlier version sent it"}}
    transport = transport_for(to, "")
    tries = transport.send(out(to, *map(made, range(5))), now=NOW)
    assert [tried.failure for tried in tries] == [None] * 5
    assert [tried.status for tried in tries].count(409) == 1
    assert len(lrs.stored) == 5
    # And once more, all of them: nothing changes.
    assert outcomes(transport, out(to, *map(made, range(5))), now=NOW) == [None] * 5
    assert len(lrs.stored) == 5
    transport.close()


def test_a_revision_whose_void_is_known_stores_the_result(lrs: Lrs) -> None:
    to = subscription(lrs)
    transport = transport_for(to, "")
    assert outcomes(transport, out(to, made(1), made(1, revision=2)), now=NOW) == [None, None]
    assert set(lrs.valid) == {made(1, revision=2)["id"]}
    void, result = json.loads(to.output.converted(made(1, revision=3)))
    lrs.stored[void["id"]] = {**void, "timestamp": "2026-11-20T16:00:00.000Z"}
    assert outcomes(transport, out(to, made(1, revision=3)), now=NOW) == [None]
    assert set(lrs.valid) == {result["id"]}
    # A gateway that remembers ids of requests must not drop the second statement as a copy of the first.
    assert len({headers["Webhook-Id"] for headers, _ in lrs.requests[-2:]}) == 2
    assert outcomes(transport, out(to, made(1, revision=4, voided=True)), now=NOW) == [None]
    assert lrs.valid == {}
    transport.close()


def test_a_store_that_keeps_only_the_good_ones_without_refusing_is_noticed(lrs: Lrs) -> None:
    lrs.refuses, lrs.partial = bad, True
    to = subscription(lrs)
    events = [made(number, assessment={"id": "bad" if number == 3 else "t1"}) for number in range(8)]
    transport = transport_for(to, "")
    failures = outcomes(transport, out(to, *events), now=NOW)
    transport.close()
    assert [number for number, failure in enumerate(failures) if failure] == [3]


@pytest.mark.parametrize(("status", "about_event"), [(503, False), (401, True), (429, False)])
def test_what_is_no_fault_of_the_statements_is_tried_together_and_not_one_by_one(
    lrs: Lrs, status: int, about_event: bool
) -> None:
    to = subscription(lrs)
    lrs.faults = [status] * 50
    transport = transport_for(to, "")
    failures = outcomes(transport, out(to, *map(made, range(40))), now=NOW)
    transport.close()
    assert {(failure.about_event, failure.permanent) for failure in failures if failure} == {(about_event, False)}
    assert len([failure for failure in failures if failure]) == 40
    assert len(lrs.requests) <= 4


def test_a_store_that_fails_while_statements_are_separated_gets_no_further_requests(lrs: Lrs) -> None:
    to = subscription(lrs, concurrency=16)
    lrs.faults = [400, 200, 400, 503, 503, 503]
    transport = transport_for(to, "")
    failures = outcomes(transport, out(to, *map(made, range(16))), now=NOW)
    transport.close()
    assert [failure is None for failure in failures] == [True] * 8 + [False] * 8
    # All, the first half, the second, and a half of that: the rest is not sent.
    assert [number for _, number in lrs.requests] == [16, 8, 8, 4]


def test_a_request_is_no_longer_than_a_proxy_accepts_and_of_one_replay(lrs: Lrs) -> None:
    to = subscription(lrs)
    large = [made(number, extensions={}) | {"sections": None} for number in range(4)]
    for event in large:
        event["data"]["sections"] = [{"id": "s", "name": "x" * 300_000}]
    transport = transport_for(to, "")
    mixed = [*out(to, *large[:2]), *out(to, made(5), made(6), replay="r1")]
    assert outcomes(transport, mixed, now=NOW) == [None] * 4
    transport.close()
    assert sorted(number for _, number in lrs.requests) == [1, 1, 2]
    assert [number for headers, number in lrs.requests if headers.get("Bridge-Replay") == "r1"] == [2]


def test_the_headers_are_those_of_the_standard_and_the_id_of_the_event_stays_visible(lrs: Lrs) -> None:
    to = subscription(lrs)
    (event,) = out(to, made(1))
    transport = transport_for(to, "")
    assert outcomes(transport, [event], now=NOW) == [None]
    ((headers, _),) = lrs.requests
    assert headers["X-Experience-Api-Version"] == "1.0.3"
    assert headers["Content-Type"] == "application/json"
    assert headers["Webhook-Id"] == event.id
    assert "Webhook-Signature" not in headers
    shown = transport.shown(event, now=NOW)
    assert json.loads(shown.body)[0]["id"] == event.id
    assert shown.headers["x-experience-api-version"] == "1.0.3"
    assert shown.headers["authorization"] == "****"
    transport.close()
    other = transport_for(subscription(lrs, headers={"X-Experience-API-Version": "1.0.0"}), "")
    assert outcomes(other, out(to, made(2)), now=NOW) == [None]
    other.close()
    assert lrs.requests[-1][0]["X-Experience-Api-Version"] == "1.0.0"


def test_with_secrets_it_is_signed_too_and_events_as_they_are_are_never_unsigned(lrs: Lrs) -> None:
    to = subscription(lrs, secrets=(SigningSecret(SECRET),))
    (event,) = out(to, made(1))
    transport = transport_for(to, "")
    shown = transport.shown(event, now=NOW)
    transport.close()
    signed = Webhook(SECRET).sign(event.id, datetime.fromtimestamp(NOW, UTC), shown.body.decode())
    assert shown.headers["webhook-signature"] == signed
    with pytest.raises(ConfigError, match="no secret"):
        transport_for(subscription(lrs, format="cloudevents"), "")


def test_there_is_a_dead_letter_for_each_bad_statement_and_the_good_ones_are_stored(
    state: redis.Redis, lrs: Lrs
) -> None:
    lrs.refuses = bad
    to = subscription(lrs, name="crm")
    events = [made(number, assessment={"id": "bad" if number % 20 == 3 else "t1"}) for number in range(60)]
    publish(state, keys.journal(0), events)
    serve(state, to, 60)
    status = Deliveries(state).state("crm", now=NOW)
    assert (status.delivered, status.dead, status.retrying) == (57, 3, 0)
    assert len(lrs.valid) == 57


@pytest.mark.parametrize("point", WINDOW_CRASH_POINTS[:4])
def test_a_process_that_ends_at_any_point_leaves_each_result_once_in_the_store(
    state: redis.Redis, lrs: Lrs, point: str
) -> None:
    to = subscription(lrs, name="crm", retry=RetryPolicy(schedule=(1.0,), jitter=0.0))
    events = [made(number, revision=revision) for revision in (1, 2) for number in range(12)]
    publish(state, keys.journal(0), events)

    def crash(reached: str) -> None:
        if reached == point:
            raise Killed

    with pytest.raises(Killed):
        serve(state, to, 24, crash=crash)
    serve(state, to, 24, consumer="two")
    assert set(lrs.valid) == {made(number, revision=2)["id"] for number in range(12)}
    assert len(lrs.stored) == 36


def test_a_caliper_endpoint_gets_envelopes_and_a_refused_one_is_halved(lrs: Lrs) -> None:
    envelopes: list[dict[str, Any]] = []

    class Endpoint(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            envelope = json.loads(self.rfile.read(int(self.headers["content-length"])))
            is_bad = any("bad" in json.dumps(each["object"]) for each in envelope["data"])
            if self.headers["authorization"] != "Bearer token" or self.headers["content-type"] != "application/json":
                is_bad = True
            if not is_bad:
                envelopes.append(envelope)
            self.send_response(400 if is_bad else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        url = f"http://127.0.0.1:{server.server_port}/caliper"
        to = subscription(lrs, format="caliper", url=url, authorization=Authorization("token"))
        transport = transport_for(to, "")
        events = [made(number, assessment={"id": "bad" if number == 5 else "t1"}) for number in range(20)]
        failures = outcomes(transport, out(to, *events), now=NOW)
        transport.close()
        server.shutdown()
    assert [number for number, failure in enumerate(failures) if failure] == [5]
    assert failures[5] is not None
    assert not failures[5].permanent
    sent = [each for envelope in envelopes for each in envelope["data"]]
    assert len(sent) == 38
    assert len(envelopes) < 19
    assert {envelope["sensor"] for envelope in envelopes} == {"https://bridge.example.org/caliper"}


@pytest.mark.parametrize(("form", "name"), [("xapi", "id"), ("caliper", "sensor")])
def test_a_message_in_a_queue_is_one_body_with_the_id_of_its_event(server: Any, lrs: Lrs, form: str, name: str) -> None:
    to = replace(
        subscription(lrs, format=form, url=None, authorization=None), transport="kombu", queue="records", name="records"
    )
    transport = transport_for(to, server.broker_url)
    assert outcomes(transport, out(to, made(1, revision=2)), now=NOW) == [None]
    transport.close()
    client = redis.Redis.from_url(server.broker_url)
    message = json.loads(client.rpop("records"))  # type: ignore[arg-type]
    client.close()

    body = json.loads(base64.b64decode(message["body"]))
    assert message["content-type"] == "application/json"
    assert message["properties"]["message_id"] == made(1, revision=2)["id"]
    statements = body if form == "xapi" else body["data"]
    assert made(1, revision=2)["id"] in statements[-1]["id"]
    assert name in (body[0] if form == "xapi" else body)
