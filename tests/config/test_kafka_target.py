"""Subscriptions of transport `kafka` in bridge.yaml: which servers, topics and settings are accepted, what is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import loader
from bridge.config.description import describe
from bridge.config.kafka_target import KafkaSasl, KafkaTls
from bridge.config.model import Config
from bridge.errors import ConfigError

Read = Callable[..., Config]
SASL = "sasl: {mechanism: PLAIN, user: bridge, password: '${PW}'}"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_members(members: str) -> Config:
        file = tmp_path / "bridge.yaml"
        (tmp_path / "ca.pem").write_text("")
        file.write_text(
            "bridge: {name: acme, public_url: 'https://bridge.example.org'}\n"
            f"subscriptions: {{one: {{transport: kafka, {members.replace('HERE', str(tmp_path))}}}}}\n"
        )
        return loader.read(file, vendors={}, environment={"PW": "hunter2hunter2hunter2"})

    return from_members


def test_tls_is_on_and_the_password_is_masked(read: Read, tmp_path: Path) -> None:
    config = read(f"servers: ['k1.example.org:9093', '[::1]:9093'], topic: a.b_c-1, {SASL}")
    target = config.subscriptions["one"]
    assert (target.servers, target.topic) == (("k1.example.org:9093", "[::1]:9093"), "a.b_c-1")
    assert target.tls == KafkaTls(enabled=True)
    assert target.sasl == KafkaSasl(mechanism="PLAIN", user="bridge", password="hunter2hunter2hunter2")
    shown = describe(config)["subscriptions"]["one"]
    assert (shown["servers"], shown["sasl"]["password"]) == (["k1.example.org:9093", "[::1]:9093"], "****ter2")
    assert "hunter2" not in json.dumps(shown) + repr(target)
    target = read("servers: 'localhost:9092', topic: t, tls: {ca: HERE/ca.pem}").subscriptions["one"]
    assert (target.servers, target.tls.ca, target.sasl) == (("localhost:9092",), f"{tmp_path}/ca.pem", None)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("topic: t", "servers: missing: transport kafka needs it"),
        ("servers: 'k:9092'", "topic: missing: transport kafka needs it"),
        ("servers: [], topic: t", "servers: has 0 servers. Remedy: name 1 to 20"),
        ("servers: 'kafka://k:9092', topic: t", 'servers: "kafka://k:9092" is not a server; write it like'),
        ("servers: ['k:9092', 'k'], topic: t", 'servers[1]: "k" is not a server'),
        ("servers: 'k:70000', topic: t", "is not a server"),
        ("servers: 'a:1,b:2', topic: t", "is not a server"),
        ("servers: 'k:9092', topic: 'a b'", "is not a valid name; use 1 to 249 of"),
        ("servers: 'k:9092', topic: ..", "is not a valid name; use 1 to 249 of"),
        (
            "servers: 'k:9092', topic: t, sasl: {mechanism: PLAIN, user: u, password: hunter2}",
            "sasl.password: a secret must not be in this file",
        ),
        (
            "servers: 'k:9092', topic: t, sasl: {mechanism: GSSAPI, user: u, password: '${PW}'}",
            'mechanism: "GSSAPI" is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512',
        ),
        (f"servers: 'k:9092', topic: t, tls: {{enabled: false}}, {SASL}", "tls.enabled: would send the password unenc"),
        ("servers: 'k:9092', topic: t, tls: {ca: ca.pem}", "tls.ca: is not a readable file. Remedy: give its absolute"),
        ("servers: 'k:9092', topic: t, tls: {enabled: false, ca: HERE/ca.pem}", "tls.ca: belongs to TLS"),
        ("servers: 'k:9092', topic: t, tls: {key: HERE/ca.pem}", "tls.key: needs the other half. Remedy: add certific"),
        ("servers: 'k:9092', topic: t, queue: q", "queue: belongs to transport celery or kombu, not to kafka"),
    ],
)
def test_what_is_wrong_is_one_line_without_a_password(read: Read, members: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(members)
    (problem,) = caught.value.problems
    assert said in problem
    assert "hunter2" not in problem


def test_a_password_may_go_unencrypted_within_this_machine_and_by_scram(read: Read) -> None:
    plain = f"topic: t, tls: {{enabled: false}}, {SASL}"
    assert read(f"servers: '127.0.0.1:9092', {plain}").subscriptions["one"].sasl
    assert read(f"servers: 'k:9092', {plain.replace('PLAIN', 'SCRAM-SHA-512')}").subscriptions["one"].sasl
