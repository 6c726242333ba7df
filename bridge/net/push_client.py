"""Outbound HTTP to addresses that operators configure: checks where it connects, keeps one deadline, follows nothing.

Which addresses are allowed is in `bridge/net/address_policy.py`; what is sent and what an answer means is the caller's.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from queue import Empty, Full, LifoQueue
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from bridge import clock
from bridge.errors import DeliveryFailed, clip
from bridge.net.address_policy import check_url, resolve
from bridge.net.timed_connections import PlainConnection, TLSConnection, timed_context

__all__ = ["ANSWER_BYTES", "DEADLINE_SECONDS", "Answer", "Client"]

#: Total time of one call: resolve, connect, TLS, send, headers and body of the answer.
DEADLINE_SECONDS = 15.0
#: No more of an answer is read.
ANSWER_BYTES = 16_384
_IDLE_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with lower-case names, at most `ANSWER_BYTES` of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Pinned:
    """Mixin of the connection classes: connects to addresses that passed the check, names stay as they were."""

    allow_private = False

    def addresses(self) -> list[tuple[int, tuple[Any, ...]]]:
        connection = cast(HTTPConnection, self)
        return resolve(connection.host, connection.port, allow_private=self.allow_private)


class _PlainConnection(_Pinned, PlainConnection):
    pass


class _TLSConnection(_Pinned, TLSConnection):
    pass


_Connection = _PlainConnection | _TLSConnection


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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
        self._idle: LifoQueue[_Connection] = LifoQueue(_IDLE_CONNECTIONS)
        self._context: ssl.SSLContext | None = None
        if self._parts.scheme == "https":
            self._context = timed_context(context or _tls_context())

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send once; any status is an answer.

        Raises `DeliveryFailed` with reason dns, forbidden_address, timeout, tls or network.
        """
        deadline = clock.monotonic() + self._deadline
        try:
            connection = self._idle_connection()
            if connection is not None:
                with suppress(ConnectionError):
                    return self._attempt(connection, deadline, body, headers)
                # The receiver closed the kept connection at this very moment; a new one tells whether it is up.
            return self._attempt(self._new_connection(), deadline, body, headers)
        except (OSError, HTTPError, HTTPException, ValueError) as error:
            raise _failure(error, self._deadline) from error

    def close(self) -> None:
        """Close the idle connections."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def _idle_connection(self) -> _Connection | None:
        while True:
            try:
                connection = self._idle.get_nowait()
            except Empty:
                return None
            if connection.is_connected:
                return connection
            connection.close()

    def _new_connection(self) -> _Connection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._context is None:
            made: _Connection = _PlainConnection(host, port)
        else:
            made = _TLSConnection(host, port, ssl_context=self._context)
        made.allow_private = self._allow_private
        return made

    def _attempt(self, connection: _Connection, deadline: float, body: bytes, headers: Mapping[str, str]) -> Answer:
        keep = False
        try:
            answer, keep = self._exchange(connection, deadline, body, headers)
        finally:
            if not keep:
                connection.close()
        try:
            if keep:
                self._idle.put_nowait(connection)
        except Full:
            connection.close()
        return answer

    def _exchange(
        self, connection: _Connection, deadline: float, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Answer, bool]:
        connection.deadline.at = deadline
        if connection.sock is None:
            connection.connect()
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
