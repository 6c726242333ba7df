"""What an address says about TLS: what is refused, how it is described."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from bridge.net.tls import address_problem, describe, tls_problem


@pytest.fixture
def ca(tmp_path: Path) -> str:
    (tmp_path / "ca.pem").write_text("")
    return str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    "address",
    [
        "redis://h:6379/0",
        "unix:///run/s?db=1",
        "amqp://a//;amqp://b//",
        "rediss://h?ssl_ca_certs=CA",
        "rediss://h?ssl_cert_reqs=required&ssl_check_hostname=True",
        "amqps://h//?ssl_ca_certs=CA&ssl_certfile=CA&ssl_keyfile=CA&heartbeat=3",
    ],
)
def test_what_verifies_is_allowed(address: str, ca: str) -> None:
    assert address_problem(address.replace("CA", ca)) is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ssl_cert_reqs=none", "ssl_cert_reqs would turn off"),
        ("ssl_cert_reqs=optional", "ssl_cert_reqs would turn off"),
        ("ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs would turn off"),
        ("ssl_cert_reqs=", "ssl_cert_reqs would turn off"),
        ("ssl_cert_reqs=required&ssl_cert_reqs=none", "ssl_cert_reqs would turn off"),
        ("ssl_check_hostname=false", "ssl_check_hostname would turn off"),
        ("ssl_check_hostname=0", "ssl_check_hostname would turn off"),
        ("ssl_exclude_verify_flags=VERIFY_X509_STRICT", "is not supported"),
        ("ssl_ciphers=NULL", "is not supported"),
        ("SSL_CERT_REQS=none", "is not supported"),
        ("ssl=1", "is not supported"),
        ("ssl_ca_certs=", "is not a readable file"),
        ("ssl_ca_certs=ca.pem", "is not a readable file"),
        ("ssl_ca_certs=/nowhere/ca.pem", "is not a readable file"),
    ],
)
@pytest.mark.parametrize("scheme", ["rediss", "amqps"])
def test_what_turns_verification_off_or_is_not_understood_is_refused(scheme: str, query: str, words: str) -> None:
    problem = address_problem(f"{scheme}://u:p@h/1?{query}")
    assert problem is not None
    assert words in problem
    assert "\n" not in problem


@pytest.mark.parametrize("scheme", ["redis", "amqp", "sentinel", "redis+socket", "unix"])
@pytest.mark.parametrize("query", ["ssl_cert_reqs=none", "ssl=1", "ssl_ca_certs=/x"])
def test_an_address_without_tls_takes_no_word_about_it(scheme: str, query: str) -> None:
    """kombu would take each of them for TLS without verification."""
    assert "belongs to rediss://" in str(address_problem(f"{scheme}://h/1?{query}"))


@pytest.mark.parametrize("address", ["amqp://a//;amqps://b//", "rediss://a/1;rediss://b/1", "amqps://a;amqps://b"])
def test_several_servers_over_tls_are_refused(address: str) -> None:
    assert "several servers" in str(address_problem(address))


def test_a_connection_is_described_in_a_few_words(ca: str) -> None:
    assert describe("rediss://h/0").endswith("verified, trusted: the CAs of this system")
    assert describe(f"amqps://h//?ssl_ca_certs={ca}").endswith(ca)
    assert describe("redis://h/0") == describe("amqp://h") == "not encrypted"
    assert describe("unix:///run/s") == "not encrypted, a socket of this machine"


def test_only_trouble_in_tls_is_taken_for_it() -> None:
    assert tls_problem(None) is None
    assert tls_problem(ConnectionRefusedError("x")) is None
    assert tls_problem(ssl.SSLEOFError(8, "the server went away")) is None
    inner = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    outer = OSError("outer")
    outer.__cause__ = inner
    assert "check that this port speaks TLS" in str(tls_problem(outer))
