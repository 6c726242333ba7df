"""Outbound HTTP: where it may connect, and that no receiver can hold it up, fill it up or lead it elsewhere."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import subprocess
import threading
import time
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.errors import DeliveryFailed
from bridge.net import push_client
from bridge.net.address_policy import check_url, is_allowed, resolve
from bridge.net.push_client import ANSWER_BYTES
from bridge.net.push_connection import receiver_context
from tests.support.pushing import BlockingClient as Client
from tests.support.servers import need_program

SPECIAL = [
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"),
    *("192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001:20::1", "2001:db8::1", "2002:a9fe:a9fe::", "3fff::1"),
    *("5f00::1", "fc00::1", "fe80::1", "fec0::1", "ff02::1", "2001::1"),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2001:4860:4860::8888"]
ENCODED = ["127.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1", "①②⑦.⓪.⓪.①", "0"]


@pytest.mark.parametrize("address", SPECIAL)
def test_a_special_address_is_refused(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_allowed(address)
    assert is_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", ["10.1.2.3", "192.168.1.1", "127.0.0.1", "::1", "fd00::1", "100.64.0.1"])
def test_private_addresses_can_be_allowed(address: str) -> None:
    assert is_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "64:ff9b::a9fe:a9fe"])
def test_metadata_and_multicast_addresses_are_never_allowed(address: str) -> None:
    assert not is_allowed(address, allow_private=True)


@pytest.mark.parametrize("host", ENCODED)
def test_an_encoded_address_is_refused_when_it_is_configured(host: str) -> None:
    assert "encoded" in (check_url(f"https://{host}/") or "")


@pytest.mark.parametrize("host", ENCODED)
def test_an_encoded_address_is_refused_when_connecting_too(host: str) -> None:
    with pytest.raises(DeliveryFailed):
        resolve(host, 443)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://hooks.example.test/x?y=1", None),
        ("https://hooks.example.test:8443/", None),
        ("https://1.1.1.1/", None),
        ("http://hooks.example.test/", "not encrypted"),
        ("https://user:pw@hooks.example.test/", "user name"),
        ("https://hooks.example.test:22/", "port 22"),
        ("https://hooks.example.test:99999/", "not a valid address"),
        ("https://10.0.0.1/", "not public"),
        ("https://[::1]/", "not public"),
        ("ftp://hooks.example.test/", "form"),
        ("https:///path", "form"),
        ("https://hooks.example.test/#part", "fragment"),
    ],
)
def test_a_configured_address_is_checked(url: str, problem: str | None) -> None:
    result = check_url(url)
    assert (result is None) if problem is None else (problem in (result or ""))


def test_private_addresses_need_no_encryption() -> None:
    assert check_url("http://127.0.0.1:80/", allow_private=True) is None


def answers(*addresses: str) -> Callable[..., list]:
    def resolver(host: str, port: int, **_: object) -> list:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolver


def test_one_internal_address_among_public_ones_refuses_the_whole_name() -> None:
    assert resolve("h.example.test", 443, resolver=answers("1.1.1.1", "8.8.8.8"))
    for order in (("1.1.1.1", "10.0.0.1"), ("10.0.0.1", "1.1.1.1")):
        with pytest.raises(DeliveryFailed, match="not public") as caught:
            resolve("h.example.test", 443, resolver=answers(*order))
        assert caught.value.reason == "forbidden_address"


def test_a_resolver_that_fails_or_hangs_fails_closed() -> None:
    released = threading.Event()

    def broken(*_: object, **__: object) -> list:
        raise socket.gaierror("no such name")

    def hangs(*_: object, **__: object) -> list:
        released.wait(30)
        return []

    for resolver in (broken, hangs, lambda *_, **__: []):
        with pytest.raises(DeliveryFailed) as caught:
            resolve("h.example.test", 443, resolver=resolver, timeout=0.2)
        assert caught.value.reason == "dns"
    released.set()


class Peer:
    """A server that sends raw bytes as `script` says; it counts connections and keeps the requests."""

    def __init__(self, script: Callable[[socket.socket, bytes], None], context: ssl.SSLContext | None = None) -> None:
        self.script, self.context = script, context
        self.requests: list[bytes] = []
        self.connections = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                while request := self._request(connection):
                    self.requests.append(request)
                    self.script(connection, request)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(script: Callable[[socket.socket, bytes], None], context: ssl.SSLContext | None = None) -> Peer:
        peers.append(Peer(script, context))
        return peers[-1]

    yield make
    for server in peers:
        server.close()


def says(text: bytes) -> Callable[[socket.socket, bytes], None]:
    return lambda connection, _: connection.sendall(text)


def drips(text: bytes) -> Callable[[socket.socket, bytes], None]:
    def script(connection: socket.socket, _: bytes) -> None:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    return script


NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def post(server: Peer, **options: object) -> push_client.Answer:
    client = Client(server.url, allow_private=True, **options)  # type: ignore[arg-type]
    try:
        return client.post(b'{"a":1}', {"content-type": "application/json", "x-mine": "1"})
    finally:
        client.close()


def test_the_body_and_the_headers_arrive_as_they_were_given(peer: Callable[..., Peer]) -> None:
    server = peer(says(b"HTTP/1.1 200 OK\r\nX-Answer: yes\r\nContent-Length: 2\r\n\r\nok"))
    answer = post(server)
    assert (answer.status, answer.headers["x-answer"], answer.body) == (200, "yes", b"ok")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /hook http/1.1"
    assert f"host: 127.0.0.1:{server.port}".encode() in lines
    assert b"accept-encoding: identity" in lines
    assert b"x-mine: 1" in lines
    assert body == b'{"a":1}'


def test_a_connection_is_kept_for_the_next_request(peer: Callable[..., Peer]) -> None:
    server = peer(says(NO_CONTENT))
    client = Client(server.url, allow_private=True)
    for _ in range(3):
        assert client.post(b"{}", {}).status == 204
    assert (server.connections, len(server.requests)) == (1, 3)
    client.close()


def test_a_connection_that_the_receiver_closed_is_replaced(peer: Callable[..., Peer]) -> None:
    def once(connection: socket.socket, _: bytes) -> None:
        connection.sendall(NO_CONTENT)
        connection.shutdown(socket.SHUT_RDWR)

    server = peer(once)
    client = Client(server.url, allow_private=True)
    for _ in range(3):
        assert client.post(b"{}", {}).status == 204
    assert server.connections == 3
    client.close()


def test_a_redirect_is_an_answer_and_is_not_followed(peer: Callable[..., Peer]) -> None:
    other = peer(says(NO_CONTENT))
    server = peer(says(f"HTTP/1.1 302 Found\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n".encode()))
    assert post(server).status == 302
    assert other.connections == 0


@pytest.mark.parametrize(
    "script",
    [
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500),
        drips(b"HTTP/1.1 200 OK\r\n" + b"X-Long: y\r\n" * 50),
        lambda connection, _: connection.recv(1),
    ],
    ids=["body", "headers", "silence"],
)
def test_a_receiver_that_drips_or_says_nothing_meets_the_deadline(peer: Callable[..., Peer], script) -> None:
    server = peer(script)
    with pytest.raises(DeliveryFailed) as caught:
        post(server, deadline=1.0)
    # Without a deadline the first two would succeed in the end, the third would hang.
    assert caught.value.reason == "timeout"


def test_at_most_16_kilobytes_of_an_answer_are_read(peer: Callable[..., Peer]) -> None:
    sent = threading.Event()

    def script(connection: socket.socket, _: bytes) -> None:
        body = b"y" * 30_000_000
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.sendall(body)
        sent.set()

    answer = post(peer(script))
    assert len(answer.body) == ANSWER_BYTES
    assert not sent.is_set()


def test_a_compressed_answer_is_not_inflated(peer: Callable[..., Peer]) -> None:
    packed = gzip.compress(b"z" * 30_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert post(peer(says(head + packed))).body == packed[:ANSWER_BYTES]


def test_proxies_of_the_environment_are_not_used(peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = peer(says(NO_CONTENT)), peer(says(NO_CONTENT))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    assert post(server).status == 204
    assert proxy.connections == 0


def test_nobody_listening_is_a_failure_of_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}/", allow_private=True)
    with pytest.raises(DeliveryFailed) as caught:
        client.post(b"{}", {})
    assert caught.value.reason == "network"


def test_no_socket_is_opened_to_a_forbidden_address(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", lambda self, _, address: opened.append(address))
    for address in SPECIAL:
        host = f"[{address}]" if ":" in address else address
        with pytest.raises(DeliveryFailed):
            Client(f"https://{host}/").post(b"{}", {})
    with pytest.raises(DeliveryFailed, match="not public"):
        Client("https://localhost/").post(b"{}", {})
    assert opened == []


@pytest.fixture
def localhost(starts_processes: None, tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """The settings of a server whose certificate is for `localhost`, and that certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = [need_program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    make += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(make, check=True, capture_output=True)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    return serving, certificate


def test_the_certificate_is_checked_against_the_name_and_the_deadline_holds_over_tls(
    peer: Callable[..., Peer], localhost: tuple[ssl.SSLContext, Path]
) -> None:
    serving, certificate = localhost
    names: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: names.append(name)
    server = peer(says(NO_CONTENT), serving)
    url = f"https://localhost:{server.port}/"
    trusting = receiver_context(certificate)

    client = Client(url, allow_private=True, context=trusting)
    assert [client.post(b"{}", {}).status for _ in range(2)] == [204, 204]
    assert (names, server.connections) == (["localhost"], 1)
    client.close()

    # What is resumed is not verified again: a session serves the host name that it was made for.
    for stranger in (Client(url, allow_private=True), Client(server.url, allow_private=True, context=trusting)):
        with pytest.raises(DeliveryFailed) as caught:
            stranger.post(b"{}", {})
        assert caught.value.reason == "tls"

    slow = peer(drips(b"HTTP/1.1 200 OK\r\n" + b"X-Long: y\r\n" * 50), serving)
    client = Client(f"https://localhost:{slow.port}/", allow_private=True, context=trusting, deadline=1.0)
    with pytest.raises(DeliveryFailed) as caught:
        client.post(b"{}", {})
    assert caught.value.reason == "timeout"


def test_further_connections_to_a_receiver_resume_its_tls_session(
    peer: Callable[..., Peer], localhost: tuple[ssl.SSLContext, Path]
) -> None:
    serving, certificate = localhost

    def once(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    server = peer(once, serving)
    client = Client(f"https://localhost:{server.port}/", allow_private=True, context=receiver_context(certificate))
    for _ in range(4):
        assert client.post(b"{}", {}).status == 204
    client.close()
    assert server.connections == 4
    assert serving.session_stats()["hits"] == 3
