"""The parts as processes of their own: they wait for the state server, refuse one that would lose data, and stop."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import yaml
from kombu import Connection

from bridge.runtime import processes
from bridge.state import keys
from bridge.state.layout import LAYOUT
from bridge.state.running import RunningProcesses
from tests.support.child_processes import Child
from tests.support.commands import Start
from tests.support.dispatch import publish, scheduled
from tests.support.servers import Server
from tests.support.web import sign


@pytest.fixture
def config(tmp_path: Path, own_server: Server) -> Path:
    credentials = {"api_key": "key", "api_secret": "secret", "webhook_secret": ["phrase"]}
    source = {"vendor": "classmarker", "credentials": credentials, "poll": {"enabled": False}}
    servers = {"state": own_server.url, "broker": own_server.broker_url}
    file = tmp_path / "bridge.yaml"
    access = {"tokens": [{"name": "ops", "role": "viewer", "sha256": hashlib.sha256(b"token").hexdigest()}]}
    bridge = {"name": "acme", **servers}
    file.write_text(yaml.safe_dump({"demo": True, "bridge": bridge, "sources": {"eu": source}, "access": access}))
    return file


@pytest.mark.parametrize("part", ["worker", "beat", "dispatch"])
def test_a_part_waits_for_the_state_server_and_ends_on_sigterm(
    part: str, config: Path, own_server: Server, start: Start
) -> None:
    own_server.kill9()
    started = start("--config", str(config), part)
    started.wait_for(lambda: f"{part}: waiting for the state server: " in started.err.read_text())
    own_server.start()
    with own_server.client() as client:
        started.wait_for(lambda: client.exists(keys.heartbeat(part)) == 1)
    assert started.ends(signal.SIGTERM) == 0


def test_a_server_that_would_forget_attempts_is_refused(config: Path, own_server: Server, start: Start) -> None:
    """All parts begin with the same function, see the test above."""
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    started = start("--config", str(config), "web")
    assert started.ends() == 78
    assert "Remedy: " in started.err.read_text()


@pytest.mark.parametrize("part", ["dispatch", "up"])
def test_another_number_of_partitions_than_at_the_first_start_is_refused(
    part: str, config: Path, own_server: Server, start: Start
) -> None:
    with own_server.client() as client:
        client.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": "4"})
    started = start("--config", str(config), part, *(("--port", "0") if part == "up" else ()))
    assert started.ends() == 78
    assert "Remedy: set bridge.partitions: 4" in started.err.read_text()


def test_the_first_part_to_start_fixes_name_partitions_and_layout(
    config: Path, own_server: Server, start: Start
) -> None:
    started = start("--config", str(config), "dispatch")
    fixed = {b"name": b"acme", b"partitions": b"1", b"layout": str(LAYOUT).encode()}
    with own_server.client() as client:
        started.wait_for(lambda: client.hgetall(keys.BRIDGE) == fixed)
    started.wait_for(lambda: "dispatch_started" in started.err.read_text())
    assert started.ends(signal.SIGTERM) == 0


def test_web_answers_503_before_there_is_a_state_server_and_takes_it_only_when_it_is_safe(
    config: Path, own_server: Server, start: Start
) -> None:
    own_server.kill9()
    port = processes.usable_port("127.0.0.1", 0)
    started = start("--config", str(config), "web", "--port", str(port), "--workers", "1")

    def post() -> requests.Response:
        body = b'{"payload_type": "single_user_test_results_link", "payload_status": "verify"}'
        headers = {"Content-Type": "application/json", "X-Classmarker-Hmac-Sha256": sign(body, "phrase")}
        return requests.post(f"http://127.0.0.1:{port}/webhooks/eu", body, headers=headers, timeout=10)

    def ready() -> tuple[int, str]:
        bearer = {"Authorization": "Bearer token"}
        answer = requests.get(f"http://127.0.0.1:{port}/readyz", headers=bearer, timeout=10)
        return answer.status_code, answer.text

    started.wait_for(lambda: '"web_listening"' in started.err.read_text())
    answer = post()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")

    own_server.args += ["--maxmemory-policy", "allkeys-lru"]
    own_server.start()
    started.wait_for(lambda: "noeviction" in ready()[1])
    assert (ready()[0], post().status_code) == (503, 503)
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        started.wait_for(lambda: ready()[0] == 200)
        assert post().json()["outcome"] == "test"
        # Now it is in the register, which it could not write when it started.
        started.wait_for(lambda: [each.name for each in RunningProcesses(client).read(time.time())] == ["web"])
        assert client.hget(keys.BRIDGE, "name") == b"acme"
    assert started.ends(signal.SIGTERM) == 0


def test_web_without_any_token_answers_401_with_the_remedy_and_takes_webhooks_all_the_same(
    config: Path, start: Start
) -> None:
    document = yaml.safe_load(config.read_text())
    del document["access"]
    config.write_text(yaml.safe_dump(document))
    port = processes.usable_port("127.0.0.1", 0)
    started = start("--config", str(config), "web", "--port", str(port), "--workers", "1")
    started.wait_for(lambda: '"web_listening"' in started.err.read_text())
    for path in ("/api/v1/watches", "/metrics"):
        answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "add its entry to access.tokens" in answer.json()["detail"]
    forged = requests.post(f"http://127.0.0.1:{port}/webhooks/eu", json={}, timeout=10)
    assert (forged.status_code, "access.tokens" in forged.text) == (401, False)
    assert not list(config.parent.rglob("api-token*"))


def test_a_token_file_that_is_none_stops_web_with_one_line(config: Path, start: Start) -> None:
    document = yaml.safe_load(config.read_text())
    del document["access"]
    config.write_text(yaml.safe_dump(document))
    (config.parent / "data").mkdir()
    (config.parent / "data" / "api-token.sha256").write_text("no hash")
    started = start("--config", str(config), "web", "--port", "0", "--workers", "1")
    assert started.ends() == 1
    lines = started.err.read_text().splitlines()
    assert [line for line in lines if "holds no SHA-256 in 64 hex digits. Remedy: delete it" in line] == lines != []


@pytest.mark.usefixtures("starts_processes")
def test_the_health_check_of_a_container_goes_by_the_heartbeat(own_server: Server) -> None:
    def check() -> int:
        environment = {"ATTEMPT_BRIDGE_STATE": own_server.url}
        return subprocess.run([sys.executable, "-m", "bridge.runtime.healthcheck", "beat"], env=environment).returncode

    assert check() == 1
    with own_server.client() as client:
        client.set(keys.heartbeat("beat"), "1800000000", ex=30)
    assert check() == 0
    own_server.kill9()
    assert check() == 1


def test_up_with_a_configured_state_starts_no_server_of_its_own(config: Path, own_server: Server, start: Start) -> None:
    started = start("--config", str(config), "up", "--port", "0")
    started.ready()
    assert not list(config.parent.rglob("server.conf"))
    assert started.ends(signal.SIGINT) == 130


#: What Celery, kombu, gunicorn and Flask would read by themselves: each of them would change or end a part.
LIBRARY_SETTINGS = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_READ_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:1/0",
    "CELERY_CONFIG_MODULE": "no_such_module",
    "CELERY_LOADER": "no.such.Loader",
    "CELERY_RESULT_BACKEND": "no-such-backend://",
    "DJANGO_SETTINGS_MODULE": "no_such_module",
    "PICKLE_PROTOCOL": "none",
    "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:1 --workers 7",
    "GUNICORN_FD": "99",
    "WEB_CONCURRENCY": "many",
    "PORT": "1",
    "LISTEN_FDS": "1",
    "GEVENT_LOOP": "no-such-loop",
    "PROMETHEUS_MULTIPROC_DIR": "/nowhere",
    "prometheus_multiproc_dir": "/nowhere",
}


def test_variables_of_libraries_do_not_win_over_the_configuration(
    config: Path, own_server: Server, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LIBRARY_SETTINGS.items():
        monkeypatch.setenv(name, value)
    started = {name: start("--config", str(config), name) for name in ("worker", "beat", "dispatch")}
    port = processes.usable_port("127.0.0.1", 0)
    started["web"] = start("--config", str(config), "web", "--port", str(port), "--workers", "1")
    with own_server.client() as client:
        for name, part in started.items():
            part.wait_for(lambda name=name: client.exists(keys.heartbeat(name)) == 1)  # type: ignore[misc]
            part.wait_for(lambda item=part: "environment_ignored" in item.err.read_text())  # type: ignore[misc]
            assert all(f"{name}" in part.err.read_text() for name in LIBRARY_SETTINGS)
        for name in ("worker", "beat"):
            assert client.get(keys.broker_in_use(name)) == Connection(own_server.broker_url).as_uri().encode()
    assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200
    assert [part.ends(signal.SIGTERM) for part in started.values()] == [0, 0, 0, 0]


def test_bridge_yaml_may_name_such_a_variable_all_the_same(
    config: Path, own_server: Server, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load(config.read_text())
    document["bridge"]["broker"] = "${CELERY_BROKER_URL}"
    config.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("CELERY_BROKER_URL", own_server.broker_url)
    worker = start("--config", str(config), "worker")
    with own_server.client() as client:
        worker.wait_for(lambda: client.exists(keys.heartbeat("worker")) == 1)
        assert client.get(keys.broker_in_use("worker")) == Connection(own_server.broker_url).as_uri().encode()
    assert worker.ends(signal.SIGTERM) == 0


#: A stock worker of another service: it forgets to confirm the first copy, as if it had been killed after its pop.
GRADEBOOK = """
import json, os
from celery import Celery
app = Celery("gradebook", broker=os.environ["BROKER"])
app.conf.task_ignore_result, app.conf.worker_redirect_stdouts = True, False
seen = []

@app.task(name="gradebook.attempt_completed")
def attempt_completed(event):
    seen.append(event["id"])
    if len(seen) > 1:
        app.send_task("bridge.receipt", args=["gradebook", event["id"]], queue="attempt-bridge.receipts")
    print(json.dumps({"received": event["id"]}), flush=True)
"""


def test_an_event_is_sent_again_until_its_receipt_comes_through_the_queue_of_receipts(
    config: Path, own_server: Server, start: Start, tmp_path: Path
) -> None:
    document = yaml.safe_load(config.read_text())
    gradebook = {"transport": "celery", "task": "gradebook.attempt_completed", "queue": "gradebook"}
    document["subscriptions"] = {"gradebook": {**gradebook, "receipts": {"required": True, "within": "1s"}}}
    config.write_text(yaml.safe_dump(document))
    (tmp_path / "gradebook.py").write_text(GRADEBOOK)
    worker = ("-m", "celery", "-A", "gradebook", "worker", "-P", "solo", "-Q", "gradebook", "-l", "ERROR")
    with own_server.client() as client:
        (only,) = publish(client, 1)
        dispatch = start("--config", str(config), "dispatch")
        receiver = Child.python(*worker, cwd=tmp_path, BROKER=own_server.broker_url)
        try:
            assert [line["received"] for line in receiver.received(2)] == [only, only]
            # No worker runs: dispatch itself reads receipts. Nothing awaits one afterwards.
            counters = keys.subscription_state("gradebook")
            dispatch.wait_for(lambda: client.hget(counters, "receipts") == b"1")
            assert scheduled(client, "gradebook") == []
        finally:
            receiver.end()
    assert dispatch.ends(signal.SIGTERM) == 0


def test_telemetry_that_cannot_be_exported_is_refused_at_the_start(
    config: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts begin with the same function, see the first test."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    started = start("--config", str(config), "dispatch")
    assert started.ends() == 78
    (line,) = started.err.read_text().splitlines()
    assert 'environment: OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not supported. Remedy: http/protobuf' in line
