"""POSTs to a collector: what the SDK's exporters use of a `requests.Session`, within one deadline.

Not `requests`: in a web process, whose sockets gevent has replaced, urllib3 cannot open TLS. No proxies, no redirects;
only the head of an answer is read.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests

from bridge import __version__, clock
from bridge.net.address_policy import look_up
from bridge.net.http_answer import Answer, AnswerReader

__all__ = ["CollectorSession"]

_CONNECT_SECONDS = 5.0
_CHUNK = 16 * 1024
#: Time-out of a call that is given none, seconds.
_DEFAULT_SECONDS = 10.0
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Answered:
    """The part of a `requests.Response` that the SDK reads."""

    status_code: int
    headers: Mapping[str, str]
    #: The collector's own words, which are not read.
    reason: str = ""
    content: bytes = b""


class CollectorSession(requests.Session):
    """One connection for each call. The SDK sets `verify` and `cert` from its variables before the first."""

    def __init__(self) -> None:
        super().__init__()
        self._context: ssl.SSLContext | None = None
        #: Why the last call failed: a status, or the class of an error.
        self.problem = ""

    def request(self, method: str, url: str, **options: Any) -> Any:  # type: ignore[override]  # what the SDK uses of it
        """Raises `requests.ConnectionError` without an answer; the SDK then repeats the call."""
        seconds = options.get("timeout") or _DEFAULT_SECONDS
        try:
            answer = self._exchange(method, urlsplit(url), options["headers"], options["data"], seconds)
        except (OSError, HTTPException, ValueError) as error:
            self.problem = type(error).__name__
            raise requests.ConnectionError(self.problem) from None
        self.problem = "" if 200 <= answer.status < 300 else f"HTTP {answer.status}"
        return _Answered(answer.status, answer.headers)

    def _exchange(
        self, method: str, url: SplitResult, headers: Mapping[str, str], body: bytes, seconds: float
    ) -> Answer:
        ends = clock.monotonic() + seconds
        with self._connect(url, ends) as connection:
            connection.settimeout(_left(ends))
            connection.sendall(_head(method, url, headers, len(body)) + body)
            reader = AnswerReader(0)
            while True:
                connection.settimeout(_left(ends))
                data = connection.recv(_CHUNK)
                if not data:
                    reader.end()
                if not data or reader.feed(data):
                    return reader.answer()

    def _connect(self, url: SplitResult, ends: float) -> socket.socket:
        host = url.hostname or ""
        error: OSError | None = None
        for family, address in look_up(host, url.port or _PORTS[url.scheme], timeout=_left(ends)):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(min(_CONNECT_SECONDS, _left(ends)))
                connection.connect(address)
                connection.settimeout(_left(ends))
                return self._secured(connection, host) if url.scheme == "https" else connection
            except OSError as problem:
                connection.close()
                error = problem
        raise error or OSError("no address")

    def _secured(self, connection: socket.socket, host: str) -> socket.socket:
        if self._context is None:
            context = ssl.create_default_context(cafile=self.verify if isinstance(self.verify, str) else None)
            if self.cert:
                certificate, key = (self.cert, None) if isinstance(self.cert, str) else self.cert
                context.load_cert_chain(certificate, key)
            self._context = context
        return self._context.wrap_socket(connection, server_hostname=host)


def _left(ends: float) -> float:
    left = ends - clock.monotonic()
    if left <= 0:
        raise TimeoutError("deadline")
    return left


def _head(method: str, url: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    own = {"host": url.netloc.rpartition("@")[2], "content-length": str(length), "connection": "close"}
    own["user-agent"] = f"attempt-bridge/{__version__}"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in {**headers, **own}.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header with a line break")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
