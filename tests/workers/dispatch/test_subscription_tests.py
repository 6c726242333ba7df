"""`subscriptions test`: one labelled event through the real transport, shown as it was sent; nothing is left behind."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis
from flask.testing import FlaskClient
from standardwebhooks.webhooks import Webhook

from bridge import cli
from bridge.delivery import subscription_test as tests_of_subscriptions
from bridge.delivery.subscription_test import AskedTest, SubscriptionTests
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from schemas.notice_shapes import NoticeSchema
from schemas.notices import TEST
from tests.support.dispatch import dispatching
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.watches_api import TOKENS, OpenGate, access_of, build
from workers.dispatch.subscription_tests import SubscriptionTester

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

OWN = "headers: {X-Tenant: hush}, authorization: {bearer: hush-hush}"


class Hook(ThreadingHTTPServer):
    """Answers with `status` and `body`; records bodies and headers."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, dict[str, str]]] = []
        self.status, self.body = 200, b"thanks"
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.got.append((body, {name.lower(): value for name, value in self.headers.items()}))
                self.send_response(hook.status)
                self.send_header("content-length", str(len(hook.body)))
                self.end_headers()
                self.wfile.write(hook.body)

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    made = Hook()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, hook: Hook) -> Services:
    hook.got.clear()
    hook.status, hook.body = 200, b"thanks"
    url = f"http://127.0.0.1:{hook.server_port}/in?key=hush"
    crm = f"crm: {{transport: http, url: '{url}', secrets: [{SECRET}], allow_private: true, {OWN}}}"
    far = f"far: {{transport: http, url: 'https://localhost:{hook.server_port}/', secrets: [{SECRET}]}}"
    lrs = f"lrs: {{transport: http, format: xapi, url: '{url}', allow_private: true, {OWN}}}"
    return build(state, tmp_path, access=access_of(TOKENS) + f"subscriptions: {{{crm}, {far}, {lrs}}}\n")


@pytest.fixture
def app(services: Services) -> FlaskClient:
    client = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['operator']}"
    return client


@contextmanager
def one_test_done(services: Services) -> Iterator[None]:
    """The part of a dispatch process that does tests, for one of them."""
    services.state.set(keys.heartbeat("dispatch"), "1")
    running = threading.Thread(target=SubscriptionTester(services, services.now).step, args=(30.0,))
    running.start()
    yield
    running.join(10)
    assert not running.is_alive()


def test_a_paused_subscription_gets_one_labelled_event_and_nothing_else_changes(
    app: FlaskClient, services: Services, hook: Hook
) -> None:
    services.deliveries.pause("crm")
    before = services.deliveries.state("crm", now=1.0)
    with one_test_done(services):
        done = app.post("/api/v1/subscriptions/crm/test").json
    ((body, headers),) = hook.got
    Webhook(SECRET).verify(body, headers)
    event = json.loads(body)
    NoticeSchema().load(event)
    assert (event["type"], event["bridgetest"], event["subject"]) == (TEST, True, "crm")
    assert (done["ok"], done["problem"], done["state"], done["event_id"]) == (True, "", "paused", event["id"])
    assert (done["status"], done["answer"], done["seconds"] > 0) == (200, "thanks", True)
    # What is shown is what was sent, but for the secret in the address.
    assert done["request"]["body"].encode() == body
    shown = done["request"]["headers"]
    own = {name for name, value in shown.items() if value == "****"}
    assert {name.lower(): headers[name.lower()] for name in own} == {
        "x-tenant": "hush",
        "authorization": "Bearer hush-hush",
    }
    assert {name: headers[name] for name in shown.keys() - own} == {name: shown[name] for name in shown.keys() - own}
    assert shown.keys() - own == {"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"}
    assert "hush" not in json.dumps(done)
    assert done["request"]["to"] == f"POST http://127.0.0.1:{hook.server_port}/in?key=****"
    assert services.deliveries.state("crm", now=1.0) == before
    left = {name.decode() for name in services.state.keys("ab:*")}
    assert left == {keys.audit(), keys.heartbeat("dispatch"), keys.subscription_state("crm")}
    (change,) = app.get("/api/v1/audit").json["audit"]
    assert (change["action"], change["target"], change["after"]) == (
        "testSubscription",
        "subscription crm",
        {"test": "ok"},
    )


def test_a_receiver_that_fails_gets_no_second_request_and_its_circuit_is_not_charged(
    app: FlaskClient, services: Services, hook: Hook
) -> None:
    hook.status, hook.body = 500, b"x" * 5000
    with one_test_done(services):
        done = app.post("/api/v1/subscriptions/crm/test").json
    assert len(hook.got) == 1
    assert (done["ok"], done["problem"], done["status"]) == (False, "receiver answered 500", 500)
    assert (done["answer"], done["state"]) == ("x" * 1024, "active")
    state = services.deliveries.state("crm", now=1.0)
    assert (state.failures, state.failed, state.dead, state.last_error) == (0, 0, 0, "")


def test_a_test_reaches_no_address_that_a_push_may_not_reach(app: FlaskClient, services: Services, hook: Hook) -> None:
    with one_test_done(services):
        done = app.post("/api/v1/subscriptions/far/test").json
    assert (done["ok"], done["reason"], done["status"], hook.got) == (False, "forbidden_address", None, [])
    assert "which is not public" in done["problem"]


def test_a_test_of_an_lrs_is_a_statement_that_is_voided_at_once(
    app: FlaskClient, services: Services, hook: Hook
) -> None:
    with one_test_done(services):
        done = app.post("/api/v1/subscriptions/lrs/test").json
    ((body, headers),) = hook.got
    statement, void = json.loads(body)
    assert (done["ok"], statement["id"], void["object"]["id"]) == (True, done["event_id"], done["event_id"])
    assert headers["webhook-id"] == done["event_id"]
    assert "webhook-signature" not in headers
    assert json.loads(done["request"]["body"]) == [statement, void]


def test_a_test_that_nobody_can_do_is_refused_in_one_line(app: FlaskClient, services: Services) -> None:
    def refused(name: str) -> tuple[int, str]:
        answer = app.post(f"/api/v1/subscriptions/{name}/test")
        return answer.status_code, answer.json["detail"]

    assert refused("crn") == (404, 'unknown subscription: "crn". Did you mean "crm"?')
    assert refused("crm") == (
        409,
        "no dispatch process runs that could send the test. Remedy: start attempt-bridge dispatch, or up",
    )
    services.state.xgroup_create(keys.journal(0), "warehouse", "0", mkstream=True)
    assert refused("warehouse") == (409, "warehouse reads the journal itself: there is nothing to send")
    services.state.sadd(keys.subscriptions(), "old")
    assert refused("old")[0] == 409
    services.state.set(keys.heartbeat("dispatch"), "1")
    services.state.set(keys.tested("crm"), "other")
    assert refused("crm") == (409, "another test of crm is under way. Remedy: repeat this in a moment")
    app.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['viewer']}"
    assert refused("crm")[0] == 403


def test_a_test_that_nobody_has_taken_in_time_is_never_sent(
    app: FlaskClient, services: Services, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.web.api.subscriptions.WAIT_SECONDS", 0.05)
    services.state.set(keys.heartbeat("dispatch"), "1")
    answer = app.post("/api/v1/subscriptions/crm/test")
    assert (answer.status_code, "no report within" in answer.json["detail"]) == (504, True)
    assert not SubscriptionTester(services, services.now).step(0.1)
    assert hook.got == []
    assert app.get("/api/v1/audit").json["audit"] == []


def test_dispatch_with_another_file_sends_nothing_and_says_so(services: Services, hook: Hook) -> None:
    tests = SubscriptionTests(services.state, services.blocking_client)
    asked = AskedTest("1", "crm", "of another file")
    assert tests.ask(asked)
    assert SubscriptionTester(services, services.now).step(1.0)
    report = tests.wait(asked, 1.0)
    assert report is not None
    assert (report.reason, hook.got) == ("other_configuration", [])


def test_what_a_later_version_has_asked_for_or_reported_ends_nothing(services: Services) -> None:
    tests = SubscriptionTests(services.state, services.blocking_client)
    services.state.rpush(keys.asked_tests(), "1", "2")
    services.state.set(keys.asked_test("1"), '["?"]')
    assert tests.take(0.1) is None
    assert tests.take(0.1) is None
    text = json.dumps({"problem": "no", "colour": "blue"})
    services.state.rpush(keys.test_report("3"), text)
    report = tests.wait(AskedTest("3", "crm", ""), 1.0)
    assert report is not None
    assert report.problem == "no"


def test_the_command_shows_request_answer_and_time_and_fails_with_1(
    services: Services, hook: Hook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    services.deliveries.pause("crm")
    with one_test_done(services):
        assert cli.run(["subscriptions", "test", "crm"]) == 0
    out, err = capfd.readouterr()
    assert f"POST http://127.0.0.1:{hook.server_port}/in?key=****" in out
    assert "webhook-signature: v1," in out
    assert re.search(r"(?m)^time +\d+ ms$", out)
    assert "[+] the receiver answered 200\n" in out
    assert err == "crm is paused: the test was sent anyway; events wait\n"
    hook.status = 503
    with one_test_done(services):
        assert cli.run(["subscriptions", "test", "crm", "-o", "json"]) == 1
    assert json.loads(capfd.readouterr().out)["problem"] == "receiver answered 503"
    assert cli.run(["subscriptions", "test", "crn"]) == 2


@pytest.mark.long
def test_a_dispatch_process_puts_the_test_into_the_queue_of_a_celery_or_kombu_subscription(
    server: Server, state: redis.Redis, tmp_path: Path
) -> None:
    two = "a: {transport: celery, task: t, queue: qa}, b: {transport: kombu, queue: qb}"
    made = build(state, tmp_path, access=access_of(TOKENS) + f"subscriptions: {{{two}}}\n")
    made = replace(made, broker_url=server.broker_url)
    broker = redis.Redis.from_url(server.broker_url)
    client = create_app(made, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['operator']}"
    with dispatching(made):
        until(lambda: state.exists(keys.heartbeat("dispatch")))
        for name in ("a", "b"):
            done = client.post(f"/api/v1/subscriptions/{name}/test").json
            assert (done["ok"], done["problem"], done["status"]) == (True, "", None)
            message = json.loads(broker.lpop(f"q{name}"))  # type: ignore[arg-type]
            body = base64.b64decode(message["body"])
            assert body.decode() == done["request"]["body"]
            event = json.loads(body) if name == "b" else json.loads(body)[0][0]
            assert (event["type"], event["id"], event["bridgetest"]) == (TEST, done["event_id"], True)
            assert f"q{name} of redis" in done["request"]["to"]
            sent = (
                message["headers"] if name == "a" else message["properties"] | {"content_type": message["content-type"]}
            )
            assert all(str(sent[header]) == value for header, value in done["request"]["headers"].items())
    broker.close()


def test_the_wait_is_longer_than_a_try_of_any_transport_and_shorter_than_that_of_a_remote_command() -> None:
    from bridge.cli.api_client import _TIMEOUT_SECONDS
    from bridge.net.push_client import DEADLINE_SECONDS

    assert DEADLINE_SECONDS < tests_of_subscriptions.WAIT_SECONDS < _TIMEOUT_SECONDS
    assert tests_of_subscriptions.WAIT_SECONDS < tests_of_subscriptions._EXPIRY_SECONDS
