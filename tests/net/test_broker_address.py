"""What kombu is told about a broker: verified connections, and the sentinels that name it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from bridge.net.broker_address import BrokerAddress, broker_address
from bridge.net.sentinels import SENTINEL_SECONDS


@pytest.fixture
def ca(tmp_path: Path) -> str:
    (tmp_path / "ca.pem").write_text("")
    return str(tmp_path / "ca.pem")


def test_kombu_is_told_to_verify_certificate_and_host_name(ca: str) -> None:
    redis = broker_address(f"rediss://:p@h:6380/1?ssl_ca_certs={ca}&visibility_timeout=9")
    assert redis.url == "rediss://:p@h:6380/1?visibility_timeout=9"
    assert redis.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": ca}
    amqp = broker_address(f"amqps://u:p@localhost//?ssl_ca_certs={ca}")
    assert amqp == BrokerAddress(
        "amqps://u:p@localhost//",
        {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "localhost", "ca_certs": ca},
    )
    assert broker_address("amqps://").ssl["server_hostname"] == "localhost"  # type: ignore[index]
    assert broker_address("amqp://u:p@h//?heartbeat=3") == BrokerAddress("amqp://u:p@h//?heartbeat=3")


def test_kombu_is_told_each_sentinel_the_name_and_two_passwords() -> None:
    address = broker_address("redis+sentinel://ann:p%40%3B@h1:7,[::1]/mymaster/1?sentinel_password=s3")
    assert address.url == "sentinel://ann:p%40%3B@h1:7/1;sentinel://ann:p%40%3B@[::1]:26379/1"
    assert address.ssl is False
    assert address.options["master_name"] == "mymaster"
    told = address.options["sentinel_kwargs"]
    assert (told["username"], told["password"], told["ssl"]) == (None, "s3", False)
    assert told["socket_timeout"] == told["socket_connect_timeout"] == SENTINEL_SECONDS
    assert "p@" not in repr(address)
    assert "s3" not in repr(address)


def test_servers_and_sentinels_are_verified_over_tls(ca: str) -> None:
    address = broker_address(f"rediss+sentinel://h1,h2/m?ssl_ca_certs={ca}")
    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": ca}
    assert address.ssl == verified
    assert address.options["sentinel_kwargs"].items() >= {**verified, "ssl": True}.items()
    assert "ssl" not in address.url
