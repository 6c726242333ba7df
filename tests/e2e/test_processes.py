"""The parts as processes of their own: they wait for the state server, refuse one that would lose data, and stop."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bridge import keys
from tests.conftest import Server
from tests.e2e.conftest import Start

pytestmark = [pytest.mark.process, pytest.mark.server]


@pytest.fixture
def config(tmp_path: Path, own_server: Server) -> Path:
    credentials = {"api_key": "key", "api_secret": "secret", "webhook_secret": ["phrase"]}
    source = {"vendor": "classmarker", "credentials": credentials, "poll": {"enabled": False}}
    servers = {"state": own_server.url, "broker": own_server.broker_url}
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump({"demo": True, "bridge": {"name": "acme", **servers}, "sources": {"eu": source}}))
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


@pytest.mark.parametrize("part", ["web", "worker", "beat", "dispatch"])
def test_a_server_that_would_forget_attempts_is_refused(
    part: str, config: Path, own_server: Server, start: Start
) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    started = start("--config", str(config), part)
    assert started.ends() == 78
    assert "Remedy: " in started.err.read_text()


def test_the_health_check_of_a_container_goes_by_the_heartbeat(own_server: Server) -> None:
    def check() -> int:
        environment = {"ATTEMPT_BRIDGE_STATE": own_server.url}
        return subprocess.run([sys.executable, "-m", "bridge.alive", "beat"], env=environment).returncode

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
