"""One deadline for a whole call, whatever part of an answer a peer sends a byte at a time."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import requests

from bridge.errors import DeliveryFailed, VendorUnavailable
from bridge.net import timed_connections
from bridge.net.push_client import Answer
from bridge.net.push_connection import receiver_context
from bridge.polling.vendor_http import Calls, vendor_session
from bridge.quota.budgets import POLL, Budgets
from tests.support.dripping import DRIPS, Dripping
from tests.support.polling import Api, make_services, make_vendor
from tests.support.pushing import BlockingClient as Client
from tests.support.tls import Authority

SECONDS = 0.2
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOW = 1_800_000_000.0


Drip = Callable[..., Dripping]


@pytest.fixture
def drip() -> Iterator[Drip]:
    peers: list[Dripping] = []

    def make(*args: object, **kwargs: object) -> Dripping:
        peers.append(Dripping(*args, **kwargs))  # type: ignore[arg-type]
        return peers[-1]

    yield make
    for server in peers:
        server.close()


@pytest.fixture
def call(state: redis.Redis) -> Iterator[Callable[..., tuple[int, object, bytes]]]:
    services = make_services(state, make_vendor(Api(lambda: NOW)), lambda: NOW)
    (source,) = services.config.sources.values()
    with vendor_session() as session:

        def made(url: str, *, seconds: float = SECONDS, ca: Path | None = None) -> tuple[int, object, bytes]:
            session.verify = True if ca is None else str(ca)
            calls = Calls(source, Budgets(state), session, lambda: NOW, spender=POLL, seconds=seconds)
            return calls.request("GET", url)

        yield made


def push(url: str, *, ca: Path | None = None) -> Answer:
    context = None if ca is None else receiver_context(ca)
    client = Client(url, allow_private=True, deadline=SECONDS, context=context)
    try:
        return client.post(b"{}", {})
    finally:
        client.close()


@pytest.mark.parametrize("part", DRIPS)
def test_a_vendor_that_drips_meets_the_deadline(drip: Drip, call: Callable[..., object], part: str) -> None:
    with pytest.raises(VendorUnavailable, match=r"no complete answer within 0\.2 s"):
        call(f"http://127.0.0.1:{drip(*DRIPS[part]).port}/")


@pytest.mark.parametrize("part", DRIPS)
def test_a_receiver_that_drips_meets_the_deadline(drip: Drip, part: str) -> None:
    with pytest.raises(DeliveryFailed) as caught:
        push(f"http://127.0.0.1:{drip(*DRIPS[part]).port}/")
    assert caught.value.reason == "timeout"


@pytest.mark.long
@pytest.mark.parametrize("part", ["100 Continue", "103 Early Hints", "chunks"])
def test_a_flood_without_end_meets_the_deadline_too(drip: Drip, call: Callable[..., object], part: str) -> None:
    url = f"http://127.0.0.1:{drip(*DRIPS[part], interval=0.0).port}/"
    with pytest.raises(VendorUnavailable, match=r"no complete answer within 0\.2 s|larger than"):
        call(url)


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x03\x40\x00"], ids=["silence", "record"])
def test_a_tls_handshake_that_drips_meets_the_deadline(drip: Drip, call: Callable[..., object], hello: bytes) -> None:
    url = f"https://127.0.0.1:{drip(hello, hello and b'x', hello=True).port}/"
    with pytest.raises(VendorUnavailable, match=r"no complete answer within 0\.2 s"):
        call(url)
    with pytest.raises(DeliveryFailed) as caught:
        push(url)
    assert caught.value.reason == "timeout"


@pytest.mark.usefixtures("starts_processes")
def test_the_deadline_holds_over_tls(drip: Drip, call: Callable[..., object], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    serving = authority.issue("localhost", "DNS:localhost")
    good = drip(OK, b"", context=serving)
    assert call(f"https://localhost:{good.port}/", ca=authority.ca, seconds=5.0)[2] == b"ok"  # type: ignore[index]
    for part in ("headers", "100 Continue", "chunk size", "trailers", "body"):
        url = f"https://localhost:{drip(*DRIPS[part], context=serving).port}/"
        with pytest.raises(VendorUnavailable, match=r"no complete answer within 0\.2 s"):
            call(url, ca=authority.ca)
        with pytest.raises(DeliveryFailed) as caught:
            push(url, ca=authority.ca)
        assert caught.value.reason == "timeout"


def test_a_resolver_that_hangs_meets_the_deadline(call: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: object, timeout: float, **__: object) -> list[object]:
        assert timeout <= SECONDS
        raise TimeoutError("name server")

    monkeypatch.setattr(timed_connections, "look_up", hangs)
    with pytest.raises(VendorUnavailable):
        call("http://vendor.example.test/")


def test_interim_answers_are_skipped_and_never_taken_for_the_next_answer(
    drip: Drip, call: Callable[..., object]
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    url = f"http://127.0.0.1:{drip(early + OK, b'').port}/"
    assert call(url, seconds=5.0)[2] == b"ok"  # type: ignore[index]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\nContent-Encoding: gzip\r\n\r\nnot gzip",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 9999999999 OK\r\n\r\n",
        b"HTTP/9 x\r\n\r\n",
        b"\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_an_error_of_the_vendor(
    drip: Drip, call: Callable[..., object], answer: bytes
) -> None:
    with pytest.raises(VendorUnavailable):
        call(f"http://127.0.0.1:{drip(answer, b'', longest=0.1).port}/", seconds=5.0)


@pytest.mark.parametrize("target", [b"/there", b"http://[", b"\xff\xfe", b"http://" + b"x" * 5000])
def test_the_target_of_a_redirect_is_never_looked_at(drip: Drip, call: Callable[..., object], target: bytes) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target
    with pytest.raises(VendorUnavailable, match="HTTP 302; redirects are not followed"):
        call(f"http://127.0.0.1:{drip(answer, b'').port}/", seconds=5.0)


def test_no_more_of_a_redirect_is_read_than_of_another_answer(
    drip: Drip, call: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.polling.vendor_http.MAX_BODY", 90_000)
    answer = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    with pytest.raises(VendorUnavailable, match="larger than 90000 bytes"):
        call(f"http://127.0.0.1:{drip(answer, b'').port}/", seconds=5.0)


def test_a_session_without_a_time_out_has_one(monkeypatch: pytest.MonkeyPatch, drip: Drip) -> None:
    monkeypatch.setattr("bridge.net.timed_session._DEFAULT_SECONDS", SECONDS)
    with vendor_session() as session, pytest.raises(requests.RequestException):
        session.get(f"http://127.0.0.1:{drip(*DRIPS['body'], longest=1000.0).port}/")


def test_every_address_of_a_name_is_tried(
    drip: Drip, call: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = drip(OK, b"")
    results = [(socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET, ("127.0.0.1", good.port))]
    monkeypatch.setattr(timed_connections, "look_up", lambda *_, **__: results)
    assert call("http://vendor.example.test/", seconds=5.0)[2] == b"ok"  # type: ignore[index]
