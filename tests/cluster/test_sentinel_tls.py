"""A primary behind Sentinel over TLS: sentinels and servers are verified before anything is sent to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from kombu import Connection

from bridge.net.broker_address import broker_address
from bridge.state.client import state_client
from tests.support.sentinel import MASTER, Sentinel
from tests.support.servers import Server
from tests.support.tls import Authority, TLSFront
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("starts_processes")


@dataclass
class Encrypted:
    """A sentinel and a server, each behind TLS; the sentinel itself speaks to the server without."""

    sentinel: TLSFront
    server: TLSFront
    ca: Path

    def address(self, database: int, *, ca: Path | None = None) -> str:
        return f"rediss+sentinel://127.0.0.1:{self.sentinel.port}/{MASTER}/{database}?ssl_ca_certs={ca or self.ca}"


@pytest.fixture
def encrypted(starts_servers: None, tmp_path: Path) -> Iterator[Encrypted]:
    authority = Authority(tmp_path / "ca")
    context = authority.issue("right", "IP:127.0.0.1")
    server = Server(tmp_path / "server")
    front = TLSFront(context, server.port, also_plain=True)
    sentinel = Sentinel(tmp_path / "sentinel", f"sentinel monitor {MASTER} 127.0.0.1 {front.port} 1")
    with sentinel.client() as client:
        until(lambda: client.sentinel_masters()[MASTER]["flags"] == "master")
    in_front = TLSFront(context, sentinel.port)
    yield Encrypted(in_front, front, authority.ca)
    for each in (in_front, front, sentinel, server):
        each.close()


def test_state_and_broker_are_reached_over_tls(encrypted: Encrypted) -> None:
    with state_client(encrypted.address(0)) as client:
        assert client.set("CANARY-key", "1")
    broker = broker_address(encrypted.address(1))
    with Connection(broker.url, ssl=broker.ssl, transport_options=broker.options) as connection:
        connection.SimpleQueue("CANARY-queue").put("x")
    assert b"MASTERS" in encrypted.sentinel.told
    assert b"CANARY-key" in encrypted.server.told
    assert b"CANARY-queue" in encrypted.server.told


def test_a_certificate_of_somebody_else_is_refused_before_anything_is_sent(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other").ca
    with (
        state_client(encrypted.address(0, ca=other)) as client,
        pytest.raises(redis.ConnectionError, match="no sentinel"),
    ):
        client.set("CANARY-key", "1")
    broker = broker_address(encrypted.address(1, ca=other))
    with (
        Connection(broker.url, ssl=broker.ssl, transport_options=broker.options) as connection,
        pytest.raises(redis.ConnectionError),
    ):
        connection.connect().create_channel(connection)
    assert encrypted.sentinel.told == encrypted.server.told == b""
    assert encrypted.sentinel.refused >= 2
