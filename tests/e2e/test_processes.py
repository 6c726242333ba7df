"""The parts as processes of their own: they wait for the state server, refuse one that would lose data, and stop."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import requests
import yaml
from kombu import Connection

from bridge import cli
from bridge.runtime import healthcheck, processes
from bridge.state import keys
from bridge.state.layout import LAYOUT
from bridge.state.running import RunningProcesses
from tests.support.child_processes import ROOT, Child
from tests.support.commands import Start, Started
from tests.support.dispatch import publish, scheduled
from tests.support.servers import Server
from tests.support.web import captured_logs, sign


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


def variables_ignored(part: Started) -> bool:
    said = part.err.read_text()
    return "environment_ignored" in said and all(name in said for name in LIBRARY_SETTINGS)


@pytest.fixture
def with_library_settings(config: Path, own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not win over the configuration, which may name one of them all the same.

    For parts that are started by their command line (`code`): some of them are read while libraries are imported.
    """
    for name, value in LIBRARY_SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PICKLE_PROTOCOL", own_server.broker_url)
    config.write_text(config.read_text().replace(own_server.broker_url, "${PICKLE_PROTOCOL}"))


@pytest.mark.usefixtures("with_library_settings")
def test_worker_beat_and_dispatch_wait_for_the_state_server_and_the_first_of_them_fixes_name_partitions_and_layout(
    config: Path, own_server: Server, start: Start
) -> None:
    own_server.kill9()
    started = {part: start("--config", str(config), part, code=ROOT) for part in ("worker", "beat", "dispatch")}
    for name, part in started.items():
        waiting = f"{name}: waiting for the state server: "
        part.wait_for(lambda part=part, waiting=waiting: waiting in part.err.read_text())  # type: ignore[misc]
    own_server.start()
    with own_server.client() as client:
        for name, part in started.items():
            part.wait_for(lambda name=name: client.exists(keys.heartbeat(name)) == 1)  # type: ignore[misc]
            part.wait_for(lambda part=part: variables_ignored(part))  # type: ignore[misc]
        broker = Connection(own_server.broker_url).as_uri().encode()
        for name in ("worker", "beat"):
            started[name].wait_for(lambda name=name: client.get(keys.broker_in_use(name)) == broker)  # type: ignore[misc]
        fixed = {b"name": b"acme", b"partitions": b"1", b"layout": str(LAYOUT).encode()}
        assert client.hgetall(keys.BRIDGE) == fixed
    started["dispatch"].wait_for(lambda: "dispatch_started" in started["dispatch"].err.read_text())
    assert [part.ends(signal.SIGTERM) for part in started.values()] == [0, 0, 0]


@pytest.mark.usefixtures("with_library_settings")
def test_web_answers_503_before_there_is_a_state_server_and_takes_it_only_when_it_is_safe(
    config: Path, own_server: Server, start: Start
) -> None:
    own_server.kill9()
    port = processes.usable_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    started = start("--config", str(config), "web", "--port", str(port), "--workers", "1", code=ROOT)

    def post() -> requests.Response:
        body = b'{"payload_type": "single_user_test_results_link", "payload_status": "verify"}'
        headers = {"Content-Type": "application/json", "X-Classmarker-Hmac-Sha256": sign(body, "phrase")}
        return requests.post(f"{url}/webhooks/eu", body, headers=headers, timeout=10)

    def ready() -> tuple[int, str]:
        bearer = {"Authorization": "Bearer token"}
        answer = requests.get(f"{url}/readyz", headers=bearer, timeout=10)
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
    assert variables_ignored(started)
    assert started.ends(signal.SIGTERM) == 0


def would_forget(client: redis.Redis, config: Path, environment: pytest.MonkeyPatch) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")


def has_other_partitions(client: redis.Redis, config: Path, environment: pytest.MonkeyPatch) -> None:
    client.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": "4"})


def has_unsupported_telemetry(client: redis.Redis, config: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    environment.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")


def names_no_token(config: Path) -> None:
    document = yaml.safe_load(config.read_text())
    del document["access"]
    config.write_text(yaml.safe_dump(document))


def has_no_token_in_its_file(client: redis.Redis, config: Path, environment: pytest.MonkeyPatch) -> None:
    names_no_token(config)
    (config.parent / "data").mkdir()
    (config.parent / "data" / "api-token.sha256").write_text("no hash")


def web_in_this_process(config: Path, port: int = 0) -> int:
    """The exit code of a start that is refused."""
    before = os.umask(0o077)
    try:
        with captured_logs():
            return cli.run(("--config", str(config), "web", "--port", str(port), "--workers", "1"))
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("broken", "code", "problem"),
    [
        (would_forget, 78, "Remedy: "),
        (has_other_partitions, 78, "Remedy: set bridge.partitions: 4"),
        (has_unsupported_telemetry, 78, 'OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not supported. Remedy: http/protobuf'),
        (has_no_token_in_its_file, 1, "holds no SHA-256 in 64 hex digits. Remedy: delete it"),
    ],
)
def test_a_start_is_refused_with_one_line(
    broken: Callable[[redis.Redis, Path, pytest.MonkeyPatch], None],
    code: int,
    problem: str,
    config: Path,
    own_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All parts begin with the same function, see the tests above."""
    with own_server.client() as client:
        broken(client, config, monkeypatch)
    assert web_in_this_process(config) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


def test_web_makes_no_token_of_its_own(config: Path, own_server: Server) -> None:
    names_no_token(config)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # It has looked for tokens before it listens.
        assert web_in_this_process(config, taken.getsockname()[1]) == 1
    assert not list(config.parent.rglob("api-token*"))


@pytest.mark.usefixtures("starts_processes")
def test_the_health_check_of_a_container_goes_by_the_heartbeat(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", own_server.url)
    program = [sys.executable, "-m", "bridge.runtime.healthcheck", "beat"]
    assert subprocess.run(program, capture_output=True, check=False).returncode == 1
    assert healthcheck.main("beat") == 1
    with own_server.client() as client:
        client.set(keys.heartbeat("beat"), "1800000000", ex=30)
    assert healthcheck.main("beat") == 0
    own_server.kill9()
    assert healthcheck.main("beat") == 1


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
