"""`bridge.durability`: what clients of the state are built, and where replicas cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from bridge.config.durability import Durability
from bridge.errors import ConfigError
from bridge.services import load
from bridge.state.confirming_client import Confirmation, ConfirmingClient
from tests.support.web import write_config


def test_without_it_the_clients_are_redis_py_s_own(tmp_path: Path) -> None:
    services = load(config_path=write_config(tmp_path, "redis://unused.invalid/0", "{replicas: 2, within: 100ms}"))
    assert [type(client) for client in (services.state, services.blocking_client)] == [redis.Redis, redis.Redis]
    assert Durability().confirmation is None


def test_with_it_both_clients_confirm_what_they_write(tmp_path: Path) -> None:
    durability = "{ack: replica, replicas: 2, within: 100ms}"
    services = load(config_path=write_config(tmp_path, "redis://unused.invalid/0", durability))
    for client in (services.state, services.blocking_client):
        assert isinstance(client, ConfirmingClient)
        assert client.confirmation == Confirmation(replicas=2, within=0.1)


def test_the_time_for_replicas_is_within_the_time_of_the_socket(tmp_path: Path) -> None:
    services = load(config_path=write_config(tmp_path, "redis://h/0", "{ack: replica, within: 500ms}"))
    for client in (services.state, services.blocking_client):
        assert client.get_connection_kwargs()["socket_timeout"] > 0.5


def test_the_embedded_server_has_no_replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(
        "bridge: {name: acme, public_url: https://b.example.org, broker: redis://h/1, durability: {ack: replica}}\n"
    )
    with pytest.raises(ConfigError) as raised:
        load(config_path=config)
    assert raised.value.problems == (
        f"{config}: bridge.durability.ack: replica, but the embedded server has no replicas. Remedy: give bridge.state "
        "or ATTEMPT_BRIDGE_STATE, the address of a server with replicas, or write ack: local",
    )
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", "redis://h/0")
    assert isinstance(load(config_path=config).state, ConfirmingClient)
