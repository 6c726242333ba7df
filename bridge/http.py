"""Outbound HTTP to addresses that operators configure: checks where it connects, keeps one deadline, follows nothing.

What is sent and what an answer means is decided by the caller; calls to vendors' APIs are in the vendors' clients.

The address rule and the measurements behind it: of 29 special addresses `ipaddress.is_global` of Python 3.11 lets 12
pass, so IPv6 is judged by what is allowed (2000::/3 without its special blocks), not by what is forbidden.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from queue import Empty, LifoQueue
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from bridge import clock
from bridge.errors import DeliveryFailed, clip

__all__ = ["ANSWER_BYTES", "DEADLINE_SECONDS", "Answer", "Client", "check_url", "is_allowed", "resolve"]

#: Total time of one call: resolve, connect, TLS, send, headers and body of the answer.
DEADLINE_SECONDS = 15.0
CONNECT_SECONDS = 5.0
#: No more of an answer is read.
ANSWER_BYTES = 16_384
_RESOLVE_SECONDS = 3.0
_IDLE_CONNECTIONS = 4

_V4_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24")))
_V6_GLOBAL = ip_network("2000::/3")
_V6_SPECIAL = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
#: What `allow_private` adds. Link-local (cloud metadata), multicast, reserved and translated addresses stay forbidden.
_PRIVATE = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128"),
    )
)

Resolver = Callable[..., "list[tuple[Any, ...]]"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with lower-case names, at most `ANSWER_BYTES` of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_allowed(address: str, *, allow_private: bool = False) -> bool:
    """Whether we may connect to an IP address (text, without zone)."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if allow_private and any(ip in block for block in _PRIVATE):
        return True
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in block for block in _V4_SPECIAL)
    return ip in _V6_GLOBAL and not any(ip in block for block in _V6_SPECIAL)


def check_url(url: str, *, allow_private: bool = False) -> str | None:
    """What is wrong with a configured address, or None. Names are only resolved when connecting."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError as error:
        return f"{clip(error)}; give https://host/path"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "is not an address of the form https://host/path"
    if parts.scheme == "http" and not allow_private:
        return "is not encrypted; use https, or `allow_private: true` inside your own network"
    if parts.username is not None or parts.password is not None:
        return "carries a user name or password; requests are signed instead"
    if parts.fragment:
        return "has a fragment (#...), which is never sent; remove it"
    if port is not None and port != 443 and port < 1024 and not allow_private:
        return f"port {port} is neither 443 nor above 1023; use another or `allow_private: true`"
    return _check_host(parts.hostname, allow_private)


def _check_host(host: str, allow_private: bool) -> str | None:
    try:
        literal = ip_address(host)
    except ValueError:
        # `127.1`, `0x7f000001`, `2130706433`, `0177.0.0.1` and full-width digits are addresses to getaddrinfo.
        if _encoded_address(host):
            return f'host "{clip(host)}" is an encoded IP address; write it as a.b.c.d'
        return None
    if not is_allowed(str(literal), allow_private=allow_private):
        return f"address {literal} is not public; use another, or `allow_private: true` for your own network"
    return None


def _encoded_address(host: str) -> bool:
    try:
        socket.inet_aton(host.encode("idna").decode())
    except (OSError, UnicodeError):
        return False
    return True


def resolve(
    host: str,
    port: int,
    *,
    allow_private: bool = False,
    timeout: float = _RESOLVE_SECONDS,
    resolver: Resolver = socket.getaddrinfo,
) -> list[tuple[int, tuple[Any, ...]]]:
    """(family, socket address) of a host, in the resolver's order; every one must be allowed.

    Raises `DeliveryFailed` when the name does not resolve within `timeout` seconds or one answer is forbidden.
    """
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(resolver(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    # getaddrinfo has no timeout; a daemon thread may hang on without holding anybody up.
    asking = threading.Thread(target=ask, daemon=True, name="resolve")
    asking.start()
    asking.join(timeout)
    if not found:
        raise DeliveryFailed(f"{host} did not resolve within {timeout:g} s; check the name server", reason="dns")
    if isinstance(found[0], Exception) or not found[0]:
        raise DeliveryFailed(f"{host} does not resolve: {clip(found[0])}; check `url`", reason="dns")
    addresses = [(entry[0], entry[4]) for entry in found[0]]
    for _, address in addresses:
        # Not only the first: a name that also answers with an internal address is refused as a whole.
        if not is_allowed(str(address[0]).split("%")[0], allow_private=allow_private):
            raise DeliveryFailed(
                f"{host} resolves to {address[0]}, which is not public; use another `url`, or `allow_private: true`",
                reason="forbidden_address",
            )
    return addresses


def _remaining(deadline: float) -> float:
    left = deadline - clock.monotonic()
    if left <= 0:
        raise TimeoutError("deadline")
    return left


class _Socket(socket.socket):
    """Gives each receive and send only what is left until `deadline`: a dripping peer cannot renew the time-out."""

    deadline = float("inf")

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_remaining(self.deadline))
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(_remaining(self.deadline))
        super().sendall(*args)


class _TLSSocket(ssl.SSLSocket):
    """The same for TLS."""

    deadline = float("inf")

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_remaining(self.deadline))
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.settimeout(_remaining(self.deadline))
        return super().send(*args)


class _Pinned:
    """Mixin of the connection classes: connects to addresses that passed the check, names stay as they were."""

    allow_private = False
    deadline = float("inf")

    def _new_conn(self) -> socket.socket:
        connection = cast(HTTPConnection, self)
        errors = []
        for family, address in resolve(connection.host, connection.port, allow_private=self.allow_private):
            sock = _Socket(family, socket.SOCK_STREAM)
            sock.deadline = self.deadline
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(min(CONNECT_SECONDS, _remaining(self.deadline)))
                sock.connect(address)
                # The TLS handshake that follows runs under this time-out as a whole.
                sock.settimeout(_remaining(self.deadline))
            except OSError as error:
                sock.close()
                errors.append(error)
            else:
                return sock
        raise errors[-1]


class _PlainConnection(_Pinned, HTTPConnection):
    pass


class _TLSConnection(_Pinned, HTTPSConnection):
    pass


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TLSSocket
    return context


class Client:
    """POSTs to one address, from any number of threads, over a few kept connections.

    Environment proxies, redirects, cookies, `.netrc` and content encodings play no part.
    """

    def __init__(
        self, url: str, *, allow_private: bool = False, context: ssl.SSLContext | None = None, deadline: float = 0.0
    ) -> None:
        """`deadline`: seconds in total for one call, `DEADLINE_SECONDS` unless told. Raises `DeliveryFailed`."""
        problem = check_url(url, allow_private=allow_private)
        if problem is not None:
            raise DeliveryFailed(f"url {problem}", reason="bad_url")
        self._parts: SplitResult = urlsplit(url)
        self._allow_private = allow_private
        self._deadline = deadline or DEADLINE_SECONDS
        self._idle: LifoQueue[HTTPConnection] = LifoQueue(_IDLE_CONNECTIONS)
        self._context: ssl.SSLContext | None = None
        if self._parts.scheme == "https":
            self._context = context or _tls_context()
            self._context.sslsocket_class = _TLSSocket

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send once; any status is an answer.

        Raises `DeliveryFailed` with reason dns, forbidden_address, timeout, tls or network.
        """
        connection = self._connection()
        deadline = clock.monotonic() + self._deadline
        try:
            answer, keep = self._exchange(connection, deadline, body, headers)
        except (OSError, HTTPError, ValueError) as error:
            connection.close()
            raise _failure(error, self._deadline) from error
        except BaseException:
            connection.close()
            raise
        if keep and not self._idle.full():
            self._idle.put_nowait(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def _connection(self) -> HTTPConnection:
        while True:
            try:
                connection = self._idle.get_nowait()
            except Empty:
                break
            if connection.is_connected:
                return connection
            connection.close()
        host, port = self._parts.hostname or "", self._parts.port
        if self._context is None:
            made: _PlainConnection | _TLSConnection = _PlainConnection(host, port)
        else:
            made = _TLSConnection(host, port, ssl_context=self._context)
        made.allow_private = self._allow_private
        return made

    def _exchange(
        self, connection: HTTPConnection, deadline: float, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Answer, bool]:
        cast(_Pinned, connection).deadline = deadline
        if connection.sock is None:
            connection.connect()
        cast(_Socket, connection.sock).deadline = deadline
        target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        connection.request(
            "POST",
            target,
            body=body,
            headers={"user-agent": "attempt-bridge", **headers, "accept-encoding": "identity"},
            preload_content=False,
            decode_content=False,
        )
        answer = connection.getresponse()
        text = answer.read(ANSWER_BYTES, decode_content=False)
        # What is left of a longer body would be taken for the next answer.
        keep = not answer.read(1, decode_content=False) and answer.headers.get("connection", "").lower() != "close"
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, names, text), keep


def _failure(error: Exception, seconds: float) -> DeliveryFailed:
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return DeliveryFailed(f"no complete answer within {seconds:g} s; make the receiver faster", reason="timeout")
    if isinstance(error, ssl.SSLError):
        return DeliveryFailed(f"TLS: {clip(error)}; check the receiver's certificate", reason="tls")
    return DeliveryFailed(f"{type(error).__name__}: {clip(error)}; check that the receiver is up", reason="network")
