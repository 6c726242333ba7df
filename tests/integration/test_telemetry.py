"""OpenTelemetry in real processes: `up` with an OTLP receiver, a vendor, an HTTP receiver and a Celery queue."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kombu import Connection
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.wrappers import Request, Response

from bridge.vendors.classmarker.simulator import Simulator
from tests.support.commands import Started
from tests.support.otlp import Collector, ReceivedSpan, collector
from tests.support.servers import Server, serving
from tests.support.tls import Authority, TLSFront
from tests.support.waiting import until
from tests.support.web import API_TOKEN, Web, post, result

pytestmark = pytest.mark.timeout(300)

PERSON = {"first": "Canaria", "last": "Canarias", "email": "canary.person@example.test"}
WEBHOOK_TOKEN, PATH_TOKEN = "CANARY-token-of-the-webhook-address", "CANARY-token-of-the-receiver"
COLLECTOR_TOKEN = "CANARY-of-the-collector"
SECRETS = (WEBHOOK_TOKEN, PATH_TOKEN, COLLECTOR_TOKEN, API_TOKEN, "CANARY", "Canaria", "canary.person", "sandbox-key")
#: What the sender of the webhook says of its own trace.
FOREIGN = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@dataclass
class Traced:
    """A bridge that has published one attempt by poll and one by webhook, and delivered both twice."""

    collector: Collector
    url: str
    #: Origin -> the event as it was pushed, and the headers of the push.
    events: dict[str, dict[str, Any]]
    headers: dict[str, dict[str, str]]
    #: Event id -> headers of the task.
    tasks: dict[str, dict[str, Any]]

    def about(self, name: str, origin: str) -> ReceivedSpan:
        """The one span of this name about the event that came this way."""
        ident = self.events[origin]["id"]
        (span,) = [each for each in self.collector.named(name) if each.attributes["messaging.message.id"] == ident]
        return span

    def parent(self, span: ReceivedSpan) -> ReceivedSpan:
        (parent,) = [each for each in self.collector.spans if (each.trace, each.id) == (span.trace, span.parent)]
        return parent


@pytest.fixture
def traced(
    own_server: Server, starts_processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Traced]:
    simulator = Simulator(7, time.time)
    events: dict[str, dict[str, Any]] = {}
    headers: dict[str, dict[str, str]] = {}

    @Request.application
    def receiver(request: Request) -> Response:
        event = json.loads(request.get_data())
        headers[event["bridgeorigin"]] = {name.lower(): value for name, value in request.headers}
        events[event["bridgeorigin"]] = event
        return Response(status=204)

    with ExitStack() as stack:
        api, hook = stack.enter_context(serving(simulator.wsgi)), stack.enter_context(serving(receiver))
        got = stack.enter_context(collector())
        config = tmp_path / "bridge.yaml"
        config.write_text(yaml.safe_dump(_configuration(own_server, simulator, api, hook)))
        simulator.finish(**PERSON)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={COLLECTOR_TOKEN}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "300")
        started = Started(tmp_path, "--config", str(config), "up", "--port", "0")
        stack.callback(lambda: started.process.poll() is None and started.ends(signal.SIGTERM))
        url = started.ready()
        # Otherwise the poll may list the second result too.
        started.wait_for(lambda: got.named("send crm"))
        raw, signed = simulator.webhook(simulator.finish(**PERSON))
        sent = {**signed, "traceparent": f"00-{FOREIGN[0]}-{FOREIGN[1]}-01"}
        answer = requests.post(f"{url}/webhooks/eu/{WEBHOOK_TOKEN}", data=raw, headers=sent, timeout=30)
        assert answer.json()["outcome"] == "published"
        started.wait_for(lambda: all(len(got.named(f"send {name}")) == 2 for name in ("crm", "gradebook")))
        yield Traced(got, url, events, headers, _tasks(own_server.broker_url))
        assert started.ends(signal.SIGTERM) == 0
        assert "Traceback" not in started.err.read_text()
        # The state server was given, so `up` has none of its own.
        assert not list(tmp_path.rglob("server.conf"))


def _configuration(server: Server, simulator: Simulator, api: str, hook: str) -> dict[str, Any]:
    credentials = {
        "api_key": simulator.api_key,
        "api_secret": simulator.api_secret,
        "webhook_secret": [simulator.webhook_secret],
    }
    source = {
        "vendor": "classmarker",
        "credentials": credentials,
        "base_url": api,
        "webhook": {"token": WEBHOOK_TOKEN},
        "poll": {"every": "1h"},
    }
    secrets = ["whsec_" + "QUJD" * 11]
    crm = {"transport": "http", "url": f"{hook}/{PATH_TOKEN}", "allow_private": True, "secrets": secrets}
    gradebook = {"transport": "celery", "task": "gradebook.done", "queue": "gradebook"}
    token = {"name": "ops", "role": "operator", "sha256": hashlib.sha256(API_TOKEN.encode()).hexdigest()}
    return {
        "demo": True,
        "bridge": {
            "name": "acme",
            "public_url": "http://127.0.0.1:8080",
            "state": server.url,
            "broker": server.broker_url,
            "data_dir": "data",
        },
        "sources": {"eu": source},
        "subscriptions": {"crm": crm, "gradebook": gradebook},
        "access": {"tokens": [token]},
    }


def _tasks(broker: str) -> dict[str, dict[str, Any]]:
    with Connection(broker) as connection, connection.SimpleQueue("gradebook") as queue:
        messages = [queue.get(timeout=10) for _ in range(2)]
    return {message.headers["id"]: message.headers for message in messages}


def test_an_attempt_is_one_trace_from_a_webhook_or_a_poll_to_each_delivery_and_metrics_are_exported_too(
    traced: Traced,
) -> None:
    """In one test, because it takes a whole bridge."""
    for origin in ("webhook", "poll"):
        check_deliveries(origin, traced)
        check_what_is_sent(origin, traced)
    check_link(traced)
    check_metrics(traced)
    check_nothing_personal(traced)
    check_resources(traced)
    check_documented(traced)


def check_deliveries(origin: str, traced: Traced) -> None:
    published = traced.about("publish journal", origin)
    brought = traced.parent(published)
    assert (published.kind, published.attributes["attempt_bridge.origin"]) == ("PRODUCER", origin)
    assert brought.parent == ""
    for name, kind, process in (("send crm", "CLIENT", "dispatch"), ("send gradebook", "PRODUCER", "dispatch")):
        sent = traced.about(name, origin)
        assert (sent.trace, sent.parent, sent.kind) == (published.trace, published.id, kind)
        assert sent.resource["attempt_bridge.process"] == process
        assert (sent.attributes["attempt_bridge.outcome"], sent.failed) == ("delivered", False)
    if origin == "webhook":
        assert (brought.name, brought.kind) == ("POST /webhooks/{source}", "SERVER")
        assert (brought.attributes["attempt_bridge.source"], brought.attributes["http.response.status_code"]) == (
            "eu",
            200,
        )
    else:
        assert (brought.name, brought.kind, brought.attributes["attempt_bridge.records"]) == ("poll eu", "INTERNAL", 1)
        (call,) = [span for span in traced.collector.named("GET") if span.parent == brought.id]
        assert (call.trace, call.kind, call.attributes["http.response.status_code"]) == (brought.trace, "CLIENT", 200)


def check_what_is_sent(origin: str, traced: Traced) -> None:
    event = traced.events[origin]
    assert event["traceparent"] == traced.about("publish journal", origin).traceparent
    assert "tracestate" not in event
    assert traced.headers[origin]["traceparent"] == traced.about("send crm", origin).traceparent
    assert traced.tasks[event["id"]]["traceparent"] == traced.about("send gradebook", origin).traceparent


def check_link(traced: Traced) -> None:
    span = traced.collector.span("POST /webhooks/{source}")
    assert span.links == [FOREIGN]
    assert FOREIGN[0] not in {each.trace for each in traced.collector.spans}


def check_nothing_personal(traced: Traced) -> None:
    raw = b"".join(traced.collector.raw)
    assert raw
    assert [text for text in SECRETS if text.encode() in raw] == []
    assert all(event["data"]["attempt"]["id"].encode() not in raw for event in traced.events.values())


def check_metrics(traced: Traced) -> None:
    names = ["bridge_webhook_requests", "bridge_deliveries", "bridge_subscription_backlog", "bridge_state_up"]

    def agree() -> bool:
        text = requests.get(f"{traced.url}/metrics", headers={"Authorization": f"Bearer {API_TOKEN}"}, timeout=10).text
        shown = {family.name: _samples(family) for family in text_string_to_metric_families(text)}
        return all(shown[name] == traced.collector.values(name) for name in names)

    until(agree)
    assert traced.collector.values("bridge_webhook_requests") == {("published", "eu"): 1.0}
    exporting = {name: set[str]() for name in names}
    for resource, metric in traced.collector.metrics:
        exporting.setdefault(metric.name, set()).add(resource["service.instance.id"])
    assert exporting["bridge_deliveries"] == {"acme/state"}
    ((points),) = [
        metric.histogram.data_points
        for _, metric in traced.collector.metrics[::-1]
        if metric.name == "bridge_webhook_request_duration_seconds" and metric.histogram.data_points[0].count
    ][:1]
    assert (points[0].count, sum(points[0].bucket_counts)) == (1, 1)


def _samples(family: Any) -> dict[tuple[str, ...], float]:
    suffix = "_total" if family.type == "counter" else ""
    wanted = [sample for sample in family.samples if sample.name == family.name + suffix]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in wanted}


def check_resources(traced: Traced) -> None:
    processes = {
        (span.resource["attempt_bridge.process"], span.resource["attempt_bridge.name"])
        for span in traced.collector.spans
    }
    assert processes == {("web", "acme"), ("worker", "acme"), ("dispatch", "acme")}
    assert {span.resource["service.name"] for span in traced.collector.spans} == {"attempt-bridge"}


def check_documented(traced: Traced) -> None:
    document = (Path(__file__).parents[2] / "docs/observability-otel.md").read_text()
    named = {name for span in traced.collector.spans for name in (*span.attributes, *span.resource)}
    assert [name for name in sorted(named) if f"`{name}`" not in document] == []


@pytest.fixture
def web(
    starts_processes: None, own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Web]]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    started: list[Web] = []

    def run() -> Web:
        started.append(Web(tmp_path / "web", own_server.url))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.wait()


def test_web_exports_over_tls_although_gevent_has_replaced_its_sockets(
    web: Callable[[], Web], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "tls")
    with collector() as got:
        front = TLSFront(authority.issue("localhost", "DNS:localhost"), int(got.url.rpartition(":")[2]))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"https://localhost:{front.port}/v1/traces")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(authority.ca))
        running = web()
        assert running.exchange(post("/webhooks/eu", result(1))).outcome == "published"
        until(lambda: got.named("POST /webhooks/{source}"))
        running.close()
        front.close()
    assert running.process.returncode == 0


def test_a_collector_that_never_answers_delays_no_webhook_and_no_end(
    web: Callable[[], Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as got:
        got.hold.clear()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
        running = web()
        for number in range(20):
            assert running.exchange(post("/webhooks/eu", result(number))).outcome == "published"
        until(lambda: got.begun >= 2)
        assert running.exchange(post("/webhooks/eu", result(99))).outcome == "published"
        running.close()
        assert got.spans == []
    assert running.process.returncode == 0
