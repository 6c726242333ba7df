"""HTTP connections with one deadline for a whole call: look-up, connect, TLS, sending, headers, body, trailers.

A peer that sends one byte at a time, or `100 Continue` without end, would keep renewing a time-out per read.
"""

from __future__ import annotations

import socket
import ssl
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

from bridge import clock
from bridge.net.address_policy import look_up, resolve

__all__ = ["Deadline", "PlainConnection", "TLSConnection", "timed_context", "timed_socket"]

CONNECT_SECONDS = 5.0


class Deadline:
    """The latest time at which a call ends. A connection keeps its deadline object; each call restarts it."""

    #: Seconds of `clock.monotonic`.
    at = float("inf")

    def start(self, seconds: float) -> None:
        """Give the call that begins now this many seconds."""
        self.at = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, more than 0. Raises `TimeoutError`."""
        left = self.at - clock.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left


class _Socket(socket.socket):
    """Gives each receive and send only what is left of the deadline."""

    deadline: Deadline

    def recv_into(self, *args: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(self.deadline.left())
        super().sendall(*args)


class _TLSSocket(ssl.SSLSocket):
    """The same for TLS."""

    deadline: Deadline

    def recv_into(self, *args: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().send(*args)


def timed_context(context: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """`context`, or one with urllib3's settings and no CA yet, for a `TLSConnection`."""
    context = create_urllib3_context() if context is None else context
    context.sslsocket_class = _TLSSocket
    return context


class _FinalResponse(HTTPResponse):
    """Skips every interim answer, not only `100 Continue`: what follows one would be read as the next answer."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed leaves it out
            if status >= HTTPStatus.OK:
                return version, status, reason
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise HTTPException("the server switches to another protocol, which was not requested")
            parse_headers(self.fp)


class _Timed:
    """Mixin of the connection classes. `deadline` may be replaced before the first call.

    `allow_private`: None connects to any address; otherwise the address policy decides, which raises `DeliveryFailed`.
    """

    deadline: Deadline
    allow_private: bool | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline = Deadline()
        cast(Any, self).response_class = _FinalResponse

    def addresses(self) -> list[tuple[int, tuple[Any, ...]]]:
        """(family, socket address) of the host, in the order in which they are tried."""
        connection = cast(HTTPConnection, self)
        host, port, left = connection.host, connection.port, self.deadline.left()
        if self.allow_private is None:
            return look_up(host, port, timeout=left)
        return resolve(host, port, allow_private=self.allow_private, timeout=min(CONNECT_SECONDS, left))

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of urllib3's class
        cast(_Socket, cast(HTTPConnection, self).sock).deadline = self.deadline

    def _new_conn(self) -> socket.socket:
        return timed_socket(self.addresses(), self.deadline)


def timed_socket(addresses: list[tuple[int, tuple[Any, ...]]], deadline: Deadline) -> socket.socket:
    """A socket that is connected to the first address that answers and keeps the deadline. Raises `OSError`."""
    error: OSError | None = None
    for family, address in addresses:
        sock = _Socket(family, socket.SOCK_STREAM)
        sock.deadline = deadline
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(min(CONNECT_SECONDS, deadline.left()))
            sock.connect(address)
            # The TLS handshake that follows runs under this time-out as a whole.
            sock.settimeout(deadline.left())
        except OSError as problem:
            sock.close()
            error = problem
        else:
            return sock
    raise error or OSError("no address")


class PlainConnection(_Timed, HTTPConnection):
    """An HTTP connection with a deadline."""


class TLSConnection(_Timed, HTTPSConnection):
    """An HTTPS connection with a deadline. Its context must be a `timed_context`."""
