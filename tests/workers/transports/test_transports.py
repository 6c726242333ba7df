"""What the transports put on the wire, against the real libraries and a real server."""

from __future__ import annotations

import base64
import json
import re
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kombu import Connection, Producer
from nacl.signing import VerifyKey
from standardwebhooks.webhooks import Webhook

from bridge.config.model import Authorization, Subscription
from bridge.errors import ConfigError
from bridge.net.push_client import Answer
from bridge.net.standard_webhooks import SigningSecret, new_ed25519_secret, public_key_of
from tests.support.dispatch import event, outcomes
from tests.support.proxy import Proxy
from tests.support.servers import Server
from workers.transports import transport_for
from workers.transports.amqp_link import AmqpLink
from workers.transports.broker import Broker, Message
from workers.transports.contract import Outgoing
from workers.transports.http_push import answer_outcome

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CELERY = Subscription(name="gradebook", transport="celery", task="gradebook.attempt_completed", queue="gradebook")


def out(number: int, *, attempt: str | None = None) -> Outgoing:
    made = event(number)
    body = json.dumps(made, ensure_ascii=False).encode()
    return Outgoing(made["id"], made["type"], "eu-classmarker", attempt or f"a{number}", body)


def stock_message(broker: Server, queue: str) -> dict[str, Any]:
    """What a stock `send_task` of another program puts on the wire."""
    app = Celery("other", broker=broker.broker_url, set_as_current=False)
    app.send_task("gradebook.attempt_completed", args=[event(1)], queue=queue, task_id=event(1)["id"])
    client = redis.Redis.from_url(broker.broker_url)
    message = json.loads(client.rpop(queue))  # type: ignore[arg-type]
    app.close()
    client.close()
    return message


def test_a_task_message_equals_that_of_stock_celery_except_for_the_redaction(server: Server) -> None:
    stock = stock_message(server, "gradebook")
    transport = transport_for(CELERY, server.broker_url)
    assert outcomes(transport, [out(1)]) == [None]
    client = redis.Redis.from_url(server.broker_url)
    ours = json.loads(client.rpop("gradebook"))  # type: ignore[arg-type]
    assert json.loads(base64.b64decode(ours["body"])) == json.loads(base64.b64decode(stock["body"]))
    assert set(ours["headers"]) == set(stock["headers"])
    differing = {name for name in stock["headers"] if stock["headers"][name] != ours["headers"][name]}
    # send_task says null where .delay() says false.
    assert differing <= {"argsrepr", "kwargsrepr", "ignore_result"}
    assert not ours["headers"]["ignore_result"]
    assert ours["headers"]["argsrepr"] == "<redacted>"
    for name in ("correlation_id", "delivery_mode", "priority", "body_encoding", "reply_to"):
        assert ours["properties"][name] == (stock["properties"][name] if name != "reply_to" else "")
    assert (ours["content-type"], ours["content-encoding"]) == (stock["content-type"], stock["content-encoding"])
    assert "Reyes" not in json.dumps(ours["headers"])
    transport.close()
    client.close()


def test_a_batch_goes_to_the_queue_in_order_with_or_without_a_consumer(server: Server) -> None:
    transport = transport_for(CELERY, server.broker_url)
    sent = [out(number) for number in range(200)]
    assert outcomes(transport, sent) == [None] * 200
    client = redis.Redis.from_url(server.broker_url)
    ids = [json.loads(event)["headers"]["id"] for event in reversed(client.lrange("gradebook", 0, -1))]  # type: ignore[arg-type]
    assert ids == [event.id for event in sent]
    transport.close()
    client.close()


def test_a_broker_that_is_down_fails_every_event_without_charging_the_receiver(own_server: Server) -> None:
    transport = transport_for(CELERY, own_server.broker_url)
    assert outcomes(transport, [out(1)]) == [None]
    own_server.kill9()
    results = outcomes(transport, [out(1), out(2)])
    assert [(failure.reason, failure.charged) for failure in results if failure] == [("broker_unavailable", False)] * 2
    own_server.start()
    assert outcomes(transport, [out(3)]) == [None]
    transport.close()


def test_a_lost_reply_of_the_broker_is_a_failure_and_not_a_hidden_retry(server: Server) -> None:
    proxy = Proxy.before(server.broker_url)
    transport = transport_for(CELERY, proxy.url(server.broker_url))
    proxy.drop_replies(b"LPUSH", times=1)
    (failure,) = outcomes(transport, [out(1)])
    assert failure is not None
    assert failure.charged is False
    assert proxy.fired == 1
    client = redis.Redis.from_url(server.broker_url)
    assert client.llen("gradebook") == 1
    assert outcomes(transport, [out(1)]) == [None]
    ids = {json.loads(event)["headers"]["id"] for event in client.lrange("gradebook", 0, -1)}  # type: ignore[arg-type]
    assert ids == {out(1).id}
    transport.close()
    client.close()
    proxy.close()


def test_a_broker_without_memory_is_named_and_the_event_is_not_in_the_message(own_server: Server) -> None:
    client = own_server.client()
    client.config_set("maxmemory", "1mb")
    transport = transport_for(CELERY, own_server.broker_url)
    (failure,) = outcomes(transport, [out(1)])
    assert failure is not None
    assert str(failure) == "broker: it has no free memory. Remedy: free memory there, or raise its maxmemory"
    assert "LPUSH" not in str(failure)
    assert failure.charged is False
    client.config_set("maxmemory", "0")
    assert outcomes(transport, [out(1)]) == [None]
    transport.close()
    client.close()


@pytest.mark.parametrize("subscription", [CELERY, Subscription(name="w", transport="kombu", queue="gradebook")])
def test_a_message_of_a_replay_has_its_job_in_a_header(server: Server, subscription: Subscription) -> None:
    transport = transport_for(subscription, server.broker_url)
    assert outcomes(transport, [replace(out(1), replay="replay-1"), out(1)]) == [None, None]
    transport.close()
    with redis.Redis.from_url(server.broker_url) as client:
        again, first = (json.loads(client.rpop("gradebook")) for _ in range(2))  # type: ignore[arg-type]
    assert again["headers"] == {**first["headers"], "bridge-replay": "replay-1"}
    assert "bridge-replay" not in first["headers"]
    assert again["body"] == first["body"]


def test_a_kombu_queue_on_redis_gets_the_event_itself(server: Server) -> None:
    subscription = Subscription(name="warehouse", transport="kombu", queue="warehouse")
    transport = transport_for(subscription, server.broker_url)
    assert outcomes(transport, [out(1), out(2)]) == [None, None]
    with Connection(server.broker_url) as connection:
        queue = connection.SimpleQueue("warehouse")
        message = queue.get(timeout=5)
        body = message.body if isinstance(message.body, bytes) else message.body.encode()
        assert body == out(1).body
        assert message.content_type == "application/cloudevents+json"
        assert message.properties["correlation_id"] == message.properties["message_id"] == out(1).id
        assert (message.properties["type"], message.properties["app_id"]) == (out(1).type, "attempt-bridge")
        assert message.properties["timestamp"] == 1
        message.ack()
        queue.close()
    transport.close()


def test_the_element_of_a_redis_queue_is_what_the_page_about_subscribing_decodes(server: Server) -> None:
    page = (Path(__file__).parents[3] / "docs/subscribing.md").read_text()
    (snippet,) = [block for block in re.findall(r"```python\n(.+?)```", page, re.S) if "def event_in" in block]
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    transport = transport_for(Subscription(name="w", transport="kombu", queue="raw"), server.broker_url)
    assert outcomes(transport, [out(1)]) == [None]
    client = redis.Redis.from_url(server.broker_url)
    _, element = client.brpop(["raw"], timeout=5)  # type: ignore[misc]
    assert scope["event_in"](element) == json.loads(out(1).body)
    transport.close()
    client.close()


@pytest.mark.parametrize(
    ("subscription", "problem"),
    [
        (Subscription(name="w", transport="kombu", exchange="attempts"), "drops messages without a binding"),
        (Subscription(name="w", transport="kombu"), "`exchange` or `queue`"),
        (Subscription(name="w", transport="celery", task="t"), "`task` and `queue`"),
        (Subscription(name="w", transport="http", url="http://10.0.0.1/"), "not encrypted"),
    ],
)
def test_a_subscription_that_cannot_work_is_refused_by_name(subscription: Subscription, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        transport_for(subscription, "redis://127.0.0.1:1/0")
    assert "subscriptions.w" in str(caught.value)


class Hook(ThreadingHTTPServer):
    """Keeps what it is sent and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.status = 204
        self.got: list[tuple[bytes, dict[str, str]]] = []
        self.at_once = self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.lock = threading.Lock()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with hook.lock:
                    hook.at_once += 1
                    hook.most_at_once = max(hook.most_at_once, hook.at_once)
                    hook.got.append((body, {name.lower(): value for name, value in self.headers.items()}))
                hook.gate.wait(10)
                with hook.lock:
                    hook.at_once -= 1
                self.send_response(hook.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    receiver = Hook()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


def http_subscription(hook: Hook, *secrets: str) -> Subscription:
    return Subscription(
        name="crm",
        transport="http",
        url=hook.url,
        secrets=tuple(map(SigningSecret, secrets or (SECRET,))),
        allow_private=True,
    )


def test_a_push_is_signed_over_the_bytes_that_arrive_with_every_secret(hook: Hook) -> None:
    other = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    transport = transport_for(http_subscription(hook, SECRET, other), "")
    assert outcomes(transport, [out(1)], now=time.time()) == [None]
    ((body, headers),) = hook.got
    assert body == out(1).body
    assert headers["webhook-id"] == out(1).id
    assert headers["content-type"] == "application/cloudevents+json"
    for secret in (SECRET, other):
        assert Webhook(secret).verify(body, headers)["id"] == out(1).id
    transport.close()


def test_a_receiver_verifies_either_signature_while_a_key_pair_replaces_a_secret(hook: Hook) -> None:
    pair = new_ed25519_secret(bytes([7]) * 32)
    transport = transport_for(http_subscription(hook, pair, SECRET), "")
    assert outcomes(transport, [out(1)], now=time.time()) == [None]
    transport.close()
    ((body, headers),) = hook.got
    assert Webhook(SECRET).verify(body, headers)["id"] == out(1).id
    first = headers["webhook-signature"].split(" ")[0].removeprefix("v1a,")
    public = base64.b64decode((public_key_of(pair) or "").removeprefix("whpk_"))
    content = f"{out(1).id}.{headers['webhook-timestamp']}.".encode() + body
    assert VerifyKey(public).verify(content, base64.b64decode(first)) == content


def test_headers_and_authorisation_of_the_subscription_arrive_and_no_redirect_gets_them(
    hook: Hook, anything: ThreadingHTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    more: dict[str, Any] = {"headers": {"X-Tenant": "Zoë", "X-Api-Key": "canary"}}
    bearer = replace(http_subscription(hook), authorization=Authorization("canary"), **more)
    basic = replace(http_subscription(hook), authorization=Authorization("canary", user="bridge"))
    for subscription in (bearer, basic):
        transport = transport_for(subscription, "")
        assert outcomes(transport, [out(1)], now=time.time()) == [None]
        transport.close()
    (body, first), (_, second) = hook.got
    assert (first["x-tenant"], first["x-api-key"], first["authorization"]) == ("Zoë", "canary", "Bearer canary")
    assert second["authorization"] == "Basic " + base64.b64encode(b"bridge:canary").decode()
    assert first["content-type"] == "application/cloudevents+json"
    assert Webhook(SECRET).verify(body, first)["id"] == out(1).id
    # A redirect, even to an address that would be allowed, and refusals.
    url = f"http://127.0.0.1:{anything.server_port}/"
    transport = transport_for(replace(bearer, url=url), "")
    answers = ((b"307 Temporary Redirect", [(b"location", hook.url.encode())]), (b"401 Unauthorized", []))
    for (status, headers), reason in zip(answers, ("redirect", "receiver_refused"), strict=True):
        anything.answer = (status, headers, b"")  # type: ignore[attr-defined]
        (failure,) = outcomes(transport, [out(2)], now=time.time())
        assert failure is not None
        assert (failure.reason, failure.about_event, "canary" in str(failure)) == (reason, reason != "redirect", False)
    transport.close()
    assert len(hook.got) == 2
    assert "canary" not in caplog.text + repr(bearer) + repr(basic)


def test_nothing_is_sent_when_every_secret_has_expired_and_the_try_says_why(hook: Hook) -> None:
    crm = replace(http_subscription(hook), secrets=(SigningSecret(SECRET, expires=2000.0),))
    transport = transport_for(crm, "")
    before, after = (transport.send([out(1)], now=now)[0] for now in (1999.0, 2000.0))
    transport.close()
    assert before.failure is None
    assert after.failure is not None
    assert (after.failure.reason, after.failure.charged, after.status) == ("secrets_expired", True, None)
    assert len(hook.got) == 1


def test_what_a_replay_sends_again_has_its_job_in_a_header_and_the_same_signed_body(hook: Hook) -> None:
    transport = transport_for(http_subscription(hook), "")
    assert outcomes(transport, [replace(out(1), replay="replay-1"), out(2)], now=time.time()) == [None, None]
    transport.close()
    told = {headers["webhook-id"]: (headers.get("bridge-replay"), body) for body, headers in hook.got}
    assert told == {out(1).id: ("replay-1", out(1).body), out(2).id: (None, out(2).body)}


def test_a_push_gives_a_try_with_its_time_status_and_the_first_kilobyte_of_the_answer(
    anything: ThreadingHTTPServer,
) -> None:
    anything.answer = (b"422 No", [], b"x" * 5000)  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{anything.server_port}/"
    transport = transport_for(
        Subscription(name="crm", transport="http", url=url, secrets=(SigningSecret(SECRET),), allow_private=True), ""
    )
    refused, _ = transport.send([out(1), out(2)], now=1000.0)
    assert refused.failure is not None
    assert (refused.failure.reason, refused.status, refused.answer) == ("receiver_refused", 422, b"x" * 1024)
    assert refused.at >= 1000.0
    assert refused.seconds > 0
    anything.answer = (b"200 OK", [], b"thanks")  # type: ignore[attr-defined]
    (taken,) = transport.send([out(1)], now=1000.0)
    assert (taken.failure, taken.status, taken.answer) == (None, 200, b"thanks")
    transport.close()


def test_a_push_without_an_answer_is_a_try_without_a_status() -> None:
    crm = Subscription(
        name="crm", transport="http", url="http://127.0.0.1:9/", secrets=(SigningSecret(SECRET),), allow_private=True
    )
    transport = transport_for(crm, "")
    (tried,) = transport.send([out(1)], now=1000.0)
    assert tried.failure is not None
    assert (tried.failure.reason, tried.status, tried.answer) == ("network", None, b"")


def test_the_tries_of_a_batch_share_its_time(server: Server) -> None:
    transport = transport_for(CELERY, server.broker_url)
    first, second = transport.send([out(1), out(2)], now=1000.0)
    assert (first.at, first.status, first.answer) == (1000.0, None, b"")
    assert first.seconds == second.seconds > 0
    transport.close()


def test_the_events_of_one_attempt_are_pushed_in_order_and_those_of_others_beside_them(hook: Hook) -> None:
    transport = transport_for(http_subscription(hook), "")
    hook.gate.clear()
    batch = [out(number, attempt="same" if number < 4 else None) for number in range(8)]
    result: list[Any] = []
    sending = threading.Thread(target=lambda: result.extend(outcomes(transport, batch)))
    sending.start()
    while hook.most_at_once < 5:
        assert sending.is_alive()
    assert sum(1 for body, _ in hook.got if json.loads(body)["id"] in {event.id for event in batch[:4]}) == 1
    hook.gate.set()
    sending.join()
    assert result == [None] * 8
    assert hook.most_at_once == 5
    arrived = [json.loads(body)["id"] for body, _ in hook.got]
    assert [event_id for event_id in arrived if event_id in {each.id for each in batch[:4]}] == [
        event.id for event in batch[:4]
    ]
    transport.close()


@pytest.mark.parametrize(
    ("status", "reason", "charged"),
    [
        (200, None, True),
        (204, None, True),
        (301, "redirect", True),
        (400, "receiver_refused", True),
        (410, "gone", False),
        (429, "throttled", True),
        (500, "receiver_error", True),
        (503, "receiver_error", True),
    ],
)
def test_an_answer_has_an_outcome(status: int, reason: str | None, charged: bool) -> None:
    failure = answer_outcome(Answer(status, {"retry-after": "17"}, b""), now=0.0)
    if reason is None:
        assert failure is None
        return
    assert failure is not None
    assert (failure.reason, failure.charged, failure.permanent) == (reason, charged, False)
    assert failure.retry_after == (17.0 if status in (429, 503) else None)


# --- what receivers and brokers may answer: anything


class _Anything(BaseHTTPRequestHandler):
    """Answers each request with the next of `answers`: (status, headers, body)."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        status, headers, body = self.server.answer  # type: ignore[attr-defined]
        head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        self.wfile.write(b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, head, len(body)) + body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def anything() -> Iterator[ThreadingHTTPServer]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Anything)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


_LINE = st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))
_BEYOND = b"Mon, 01 Jan 2024 00:00:00 +99999999999999999999"


@pytest.mark.long
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.sampled_from([b"429 Slow", b"503 Off", b"200 OK", b"410 Gone", b"302 There"]) | _LINE,
    headers=st.lists(
        st.tuples(st.just(b"Retry-After"), _LINE | st.just(_BEYOND)) | st.tuples(_LINE, _LINE), max_size=4
    ),
    body=st.binary(max_size=200),
)
@example(status=b"429 Slow", headers=[(b"Retry-After", _BEYOND)], body=b"")
def test_any_answer_of_a_receiver_is_an_outcome(
    anything: ThreadingHTTPServer, status: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    anything.answer = (status, headers, body)  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{anything.server_port}/"
    transport = transport_for(
        Subscription(name="crm", transport="http", url=url, secrets=(SigningSecret(SECRET),), allow_private=True), ""
    )
    # Half an answer is waited for until the deadline.
    transport._client._deadline = 0.2  # type: ignore[attr-defined]
    for outcome in outcomes(transport, [out(1), out(2)], now=1_795_219_200.0):
        assert outcome is None or outcome.reason != "unexpected_error"
        assert outcome is None or outcome.retry_after is None or 0 <= outcome.retry_after <= 7 * 86_400
    transport.close()


def test_an_unexpected_error_of_a_push_affects_its_event_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/"
    transport = transport_for(
        Subscription(name="crm", transport="http", url=url, secrets=(SigningSecret(SECRET),), allow_private=True), ""
    )

    async def post(self: Any, body: bytes, headers: Any) -> Answer:
        if json.loads(body)["subject"] == "a2":
            raise ZeroDivisionError
        return Answer(204, {}, b"")

    monkeypatch.setattr("bridge.net.push_client.Client.post", post)
    results = outcomes(transport, [out(1), out(2), out(3)])
    assert [failure and (failure.reason, failure.charged) for failure in results] == [
        None,
        ("unexpected_error", True),
        None,
    ]


def ready_in_memory(link: AmqpLink, exchange: str | None) -> None:
    class Confirming(Producer):
        def publish(self, *arguments: Any, **options: Any) -> None:
            super().publish(*arguments, **options)
            link._on_ack(link._tag, False)

    link._producer = Confirming(Connection("memory://"))


@pytest.mark.parametrize("url", ["redis", "amqp://127.0.0.1:9//"])
@pytest.mark.parametrize("error", [ValueError("CANARY"), struct.error("x"), AssertionError(), UnicodeError("x")])
def test_an_unexpected_error_of_a_message_affects_its_event_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch, url: str, error: Exception
) -> None:
    broker = Broker(server.broker_url if url == "redis" else url)
    monkeypatch.setattr(AmqpLink, "ready", ready_in_memory)

    def message_of(event: Outgoing) -> Message:
        if event.attempt == "a2":
            raise error
        return Message(event.body, "warehouse", event.id, {})

    tries = broker.publish([out(1), out(2), out(3)], message_of, now=1.0, content_type="application/json")
    results = [tried.failure for tried in tries]
    assert [failure and (failure.reason, failure.charged) for failure in results] == [
        None,
        ("unexpected_error", True),
        None,
    ]
    assert "CANARY" not in str(results[1])
    broker.close()
    if url == "redis":
        client = redis.Redis.from_url(server.broker_url)
        assert client.llen("warehouse") == 2
        client.close()


def test_a_routing_key_that_amqp_cannot_carry_is_a_failed_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AmqpLink, "ready", ready_in_memory)
    topic = Subscription(
        name="warehouse", transport="kombu", exchange="attempts", routing_key="ü" * 100 + "{type}.{source}"
    )
    transport = transport_for(topic, "amqp://127.0.0.1:9//")
    long = replace(out(1), source="s" * 63)
    short, failure = outcomes(transport, [out(2), long])
    assert short is None
    assert failure is not None
    assert (failure.reason, failure.charged) == ("bad_routing_key", True)
    assert "281 bytes" in str(failure)
