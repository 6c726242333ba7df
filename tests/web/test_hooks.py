"""The web application in one process: ids, kept headers, health, metrics, and faults of our own."""

from __future__ import annotations

import json
import random
import socket
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fakeredis
import pytest
import redis
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from bridge.errors import BridgeError, StateUnavailable
from bridge.journal import Entry, EntryResult
from bridge.services import Services, load
from bridge.state import keys
from bridge.web import create_app
from bridge.web.gate import Gate
from bridge.web.hooks import request_id
from bridge.web.server import run
from tests.support.clients import clients_over
from tests.support.partitions import entries
from tests.support.servers import Server
from tests.support.web import API_TOKEN, SECRET, TOKEN, captured_logs, result, services_over, sign, write_config

OPERATOR = {"Authorization": f"Bearer {API_TOKEN}"}


@pytest.fixture
def services(tmp_path: Path, state: redis.Redis) -> Services:
    return services_over(tmp_path, state)


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services, gate=Gate(lambda: None)).test_client()


def send(client: FlaskClient, body: bytes, path: str = "/webhooks/eu", **headers: str) -> TestResponse:
    given = {"X-Classmarker-Hmac-Sha256": sign(body), **headers}
    return client.post(path, data=body, content_type="application/json", headers=given)


@given(now=st.floats(0, 2**47 / 1000), seed=st.integers())
def test_a_request_id_is_a_uuid_of_version_7_that_holds_its_time(now: float, seed: int) -> None:
    result = uuid.UUID(request_id(now, random.Random(seed).randbytes(10)))
    assert (result.version, result.variant) == (7, uuid.RFC_4122)
    assert result.int >> 80 == int(now * 1000)
    assert str(result) == request_id(now, random.Random(seed).randbytes(10))


def test_request_ids_sort_by_time() -> None:
    ids = [request_id(1.7e9 + number / 1000, random.Random(number).randbytes(10)) for number in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000


def test_the_time_of_receipt_comes_from_the_clock_of_the_services(services: Services, state: redis.Redis) -> None:
    moment = 1_767_270_000.25
    client = create_app(replace(services, now=lambda: moment), gate=Gate(lambda: None)).test_client()
    answer = send(client, result(1)).get_json()
    assert uuid.UUID(answer["request_id"]).int >> 80 == moment * 1000
    ((_, entry),) = entries(state)
    assert json.loads(entry[b"event"])["recordedtime"] == "2026-01-01T12:20:00.250Z"


def test_only_harmless_headers_are_stored(client: FlaskClient, state: redis.Redis) -> None:
    answer = send(
        client,
        result(1),
        **{
            "User-Agent": "Vendor/1.0",
            "Authorization": "Bearer CANARY",
            "Cookie": "CANARY",
            "X-Auth-Token": "CANARY",
            "X-Api-Key": "CANARY",
            "X-Event": "e" * 500,
            "Referer": "https://x.example.test/CANARY",
        },
    )
    assert answer.status_code == 200
    ((_, kept),) = entries(state, keys.requests)
    headers = json.loads(kept[b"headers"])
    assert headers.keys() == {"content-type", "content-length", "user-agent", "x-event", "x-classmarker-hmac-sha256"}
    assert headers["x-event"] == "e" * 200


class Broken:
    """A journal that raises `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def publish_batch(self, entries: Sequence[Entry], *, now: float) -> list[EntryResult]:
        raise self.error


@pytest.mark.parametrize(
    "error", [ValueError("CANARY"), KeyError("CANARY"), RecursionError(), StateUnavailable("full")]
)
def test_any_failure_asks_the_vendor_to_send_again(services: Services, error: Exception) -> None:
    services = replace(services, make_journal=lambda *_, **__: Broken(error))
    with captured_logs("info") as output:
        answer = send(create_app(services, gate=Gate(lambda: None)).test_client(), result(1))
    printed = output.getvalue()
    assert (answer.status_code, answer.data) == (503, b"{}")
    assert int(answer.headers["Retry-After"]) > 0
    assert "CANARY" not in printed
    if not isinstance(error, StateUnavailable):
        # Not even the quarantine can be noted: the first line says why, the last one what the vendor was told.
        line = json.loads(printed.splitlines()[-1])
        assert (line["event"], line["level"], line["error_type"]) == ("webhook_failed", "error", type(error).__name__)
        assert line["source"] == "eu"


def test_a_closed_gate_refuses_before_the_body_is_read(services: Services, state: redis.Redis) -> None:
    gate = Gate(lambda: None)
    client = create_app(services, gate=gate).test_client()
    error = StateUnavailable("state server")
    error.__cause__ = redis.TimeoutError("Timeout")
    gate.report(error)
    assert send(client, result(1)).status_code == 503
    assert state.keys("*") == []
    gate.probe()
    assert send(client, result(1)).get_json()["outcome"] == "published"


def test_an_unanswered_call_closes_the_gate(services: Services) -> None:
    error = StateUnavailable("state server")
    error.__cause__ = redis.TimeoutError("Timeout")
    services = replace(services, make_journal=lambda *_, **__: Broken(error))
    gate = Gate(lambda: None)
    assert send(create_app(services, gate=gate).test_client(), result(1)).status_code == 503
    assert gate.failure == "TimeoutError: Timeout"


def test_a_bad_signature_is_refused_even_if_it_cannot_be_stored(services: Services) -> None:
    away = fakeredis.FakeServer(version=(7, 0))
    away.connected = False
    services = replace(services, clients=clients_over(fakeredis.FakeRedis(server=away)))
    client = create_app(services, gate=Gate(lambda: None)).test_client()
    assert send(client, result(1), **{"X-Classmarker-Hmac-Sha256": "AAAA"}).status_code == 401


def test_livez_depends_on_nothing(client: FlaskClient) -> None:
    assert (client.get("/livez").data, client.get("/livez?verbose").data) == (
        b"ok\n",
        b"[+]ping ok\nlivez check passed\n",
    )


def test_readyz_names_the_problem(services: Services) -> None:
    gate = Gate(lambda: None)
    client = create_app(services, gate=gate).test_client()
    error = StateUnavailable("state server")
    error.__cause__ = redis.TimeoutError("Timeout")
    gate.report(error)
    answer = client.get("/readyz", headers=OPERATOR)
    assert answer.status_code == 503
    assert answer.data == b"[-]state failed: TimeoutError: Timeout\nreadyz check failed\n"


def test_without_a_token_only_readiness_is_shown(services: Services) -> None:
    gate = Gate(lambda: None)
    client = create_app(services, gate=gate).test_client()
    error = StateUnavailable("state server")
    error.__cause__ = redis.ConnectionError("Error 111 connecting to CANARY.internal:6379")
    gate.report(error)
    for path in ("/readyz", "/readyz?verbose"):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 503
            assert answer.text.startswith("[-]state failed: reason hidden. Remedy: send a token")
            assert not any(name in answer.text for name in ("CANARY", "eu", "closed"))


def test_a_bridge_without_sources_is_ready(tmp_path: Path, server: Server) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(
        f'bridge: {{name: acme, public_url: "https://bridge.example.test", state: "{server.url}", '
        f'broker: "{server.broker_url}"}}\n'
    )
    client = create_app(load(config_path=config), gate=Gate(lambda: None)).test_client()
    assert client.get("/readyz").data == b"ok\n"


def test_readyz_asks_the_real_server(tmp_path: Path, server: Server) -> None:
    services = load(config_path=write_config(tmp_path, server.url))
    client = create_app(services, gate=Gate(lambda: None)).test_client()
    assert client.get("/readyz").data == b"ok\n"
    assert client.get("/readyz?verbose").data.startswith(b"[+]state ok\n[-]web missing: no heartbeat.")


def test_readyz_lists_missing_processes_and_its_status_concerns_webhooks_alone(
    services: Services, client: FlaskClient, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.web.state_client", lambda *_, **__: state)
    client = create_app(services, gate=Gate(lambda: None)).test_client()
    for part, age in (("web", 1), ("worker", 2), ("beat", 3)):
        state.set(keys.heartbeat(part), repr(services.now() - age))
    answer = client.get("/readyz?verbose")
    assert answer.status_code == 200
    assert answer.get_data(as_text=True).splitlines() == [
        "[+]state ok",
        "[+]web ok: heartbeat 1 s ago",
        "[+]beat ok: heartbeat 3 s ago",
        "[+]worker ok: heartbeat 2 s ago",
        "[-]dispatch missing: no heartbeat. Remedy: check its log, or start it with attempt-bridge dispatch",
        "readyz check passed",
    ]


def test_the_schema_is_served_where_the_event_says(client: FlaskClient, state: redis.Redis) -> None:
    send(client, result(1))
    ((_, entry),) = entries(state)
    address = json.loads(entry[b"event"])["dataschema"]
    answer = client.get(address.removeprefix("https://bridge.example.test"))
    assert answer.status_code == 200
    assert answer.content_type == "application/schema+json"
    assert answer.get_json(force=True)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_requests_are_counted_by_source_and_outcome(client: FlaskClient) -> None:
    def count(source: str, outcome: str) -> float:
        line = f'bridge_webhook_requests_total{{outcome="{outcome}",source="{source}"}} '
        other = f'bridge_webhook_requests_total{{source="{source}",outcome="{outcome}"}} '
        lines = client.get("/metrics", headers=OPERATOR).text.splitlines()
        results = [row for row in lines if row.startswith((line, other))]
        return float(results[0].rpartition(" ")[2]) if results else 0.0

    before = {pair: count(*pair) for pair in [("eu", "published"), ("eu", "bad_signature"), ("", "unknown_source")]}
    send(client, result(1))
    send(client, result(1), **{"X-Classmarker-Hmac-Sha256": "AAAA"})
    send(client, result(1), "/webhooks/CANARY")
    assert {pair: count(*pair) - was for pair, was in before.items()} == dict.fromkeys(before, 1.0)
    numbers = client.get("/metrics", headers=OPERATOR).text
    assert 'bridge_webhook_request_duration_seconds_bucket{le="0.005",vendor="classmarker"}' in numbers
    assert "CANARY" not in numbers


def test_an_unknown_address_gets_json_without_an_echo(client: FlaskClient) -> None:
    answer = client.get("/CANARY?CANARY")
    assert (answer.status_code, answer.get_json()["title"], answer.get_json()["problems"]) == (404, "Not Found", [])
    assert "CANARY" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_an_address_in_use_is_one_clear_line(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BridgeError) as caught:
            run(services, "127.0.0.1", port)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use. Remedy: choose another port with --port"
    )


def test_an_unknown_host_is_one_clear_line(services: Services) -> None:
    with pytest.raises(BridgeError, match=r"^cannot listen on nowhere\.invalid:0: .+ Remedy: "):
        run(services, "nowhere.invalid", 0)


@pytest.mark.parametrize(("phrase", "number"), [(SECRET, 1), ("the-phrase-before", 2)])
def test_the_number_of_the_secret_that_a_webhook_matched_is_stored(
    client: FlaskClient, services: Services, phrase: str, number: int
) -> None:
    body = result(1)
    answer = send(client, body, **{"X-Classmarker-Hmac-Sha256": sign(body, phrase)})
    (stored,) = services.requests.look_up(answer.json["request_id"])
    assert stored.secret == number


def test_the_number_of_the_token_in_the_address_is_stored_where_the_vendor_signs_nothing(services: Services) -> None:
    source = services.config.sources["closed"]
    webhook = replace(source.webhook, token_sha256=("0" * 64, *source.webhook.token_sha256))
    config = replace(services.config, sources={"closed": replace(source, webhook=webhook)})
    vendor = replace(services.vendors["classmarker"], verify=None)
    unsigned = replace(services, config=config, vendors={**services.vendors, "classmarker": vendor})
    client = create_app(unsigned, gate=Gate(lambda: None)).test_client()
    answer = send(client, result(1), f"/webhooks/closed/{TOKEN}")
    (stored,) = services.requests.look_up(answer.json["request_id"])
    assert stored.secret == 2
