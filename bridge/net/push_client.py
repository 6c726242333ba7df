"""Outbound HTTP to addresses that operators configure: checks where it connects, keeps one deadline, follows nothing.

Which addresses are allowed is in `bridge/net/address_policy.py`; what is sent and what an answer means is the caller's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, urlsplit

from bridge import clock
from bridge.errors import DeliveryFailed, clip
from bridge.net.address_policy import check_url, resolve
from bridge.net.http_answer import Answer
from bridge.net.push_connection import Connection, ReceiverContext, connect, receiver_context
from bridge.net.push_loop import in_thread

__all__ = ["ANSWER_BYTES", "DEADLINE_SECONDS", "Answer", "Client"]

#: Total time of one call: resolve, connect, TLS, send, headers and body of the answer.
DEADLINE_SECONDS = 15.0
#: At most this much of an answer is read.
ANSWER_BYTES = 16_384
#: A kept connection that was not used for this long is closed.
_IDLE_SECONDS = 60.0


class Client:
    """POSTs to one address over kept connections, any number at once. For one event loop; not thread-safe.

    Environment proxies, redirects, cookies, `.netrc` and content encodings play no part.
    """

    def __init__(
        self, url: str, *, allow_private: bool = False, context: ReceiverContext | None = None, deadline: float = 0.0
    ) -> None:
        """`deadline`: seconds in total for one call, else `DEADLINE_SECONDS`. Raises `DeliveryFailed`."""
        problem = check_url(url, allow_private=allow_private)
        if problem is not None:
            raise DeliveryFailed(f"url {problem}", reason="bad_url")
        self._parts: SplitResult = urlsplit(url)
        self._allow_private = allow_private
        self._deadline = deadline or DEADLINE_SECONDS
        #: Connection, and when it was used last; the last used one is at the right.
        self._idle: deque[tuple[Connection, float]] = deque()
        self._closing: asyncio.TimerHandle | None = None
        self._context = (context or receiver_context()) if self._parts.scheme == "https" else None
        self._resolving: asyncio.Future[list[tuple[int, tuple[Any, ...]]]] | None = None
        target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        self._head = f"POST {target} HTTP/1.1\r\nhost: {self._host_header()}\r\nuser-agent: attempt-bridge\r\n"

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send once; any status is an answer.

        Raises `DeliveryFailed` with reason dns, forbidden_address, timeout, tls or network.
        """
        try:
            request = self._request(body, headers)
            async with asyncio.timeout(self._deadline):
                connection = self._idle_connection()
                if connection is not None:
                    try:
                        return await self._exchange(connection, request)
                    except ConnectionError:
                        # The receiver closed the connection at this very moment; a new one shows whether it is up.
                        pass
                return await self._exchange(await self._connect(), request)
        except (OSError, HTTPException, ValueError) as error:
            raise _failure(error, self._deadline) from error

    def close(self) -> None:
        """Close the kept connections."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        while self._idle:
            self._idle.pop()[0].close()

    def _host_header(self) -> str:
        host = self._parts.hostname or ""
        with suppress(UnicodeError):  # it will not resolve either
            host = host.encode("idna").decode()
        host = f"[{host}]" if ":" in host else host
        default = {"https": 443, "http": 80}[self._parts.scheme]
        return host if self._parts.port in (None, default) else f"{host}:{self._parts.port}"

    def _request(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
            raise ValueError("a header holds a line break")
        head = f"{self._head}{lines}accept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode("latin-1") + body

    async def _connect(self) -> Connection:
        host, port = self._parts.hostname or "", self._parts.port or (443 if self._context else 80)
        if self._resolving is None:
            # Calls that connect at the same time share one look-up.
            self._resolving = in_thread(lambda: resolve(host, port, allow_private=self._allow_private))
            self._resolving.add_done_callback(self._resolved)
        return await connect(await asyncio.shield(self._resolving), host, self._context)

    def _resolved(self, look_up: asyncio.Future[Any]) -> None:
        self._resolving = None
        if not look_up.cancelled():
            look_up.exception()  # seen, even if every call that waited for it has met its deadline

    async def _exchange(self, connection: Connection, request: bytes) -> Answer:
        kept = False
        try:
            answer, kept = await connection.exchange(request, ANSWER_BYTES)
        finally:
            if not kept:
                connection.close()
        if kept:
            self._keep(connection)
        return answer

    def _idle_connection(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        self._idle.append((connection, clock.monotonic()))
        if self._closing is None:
            self._closing = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._close_unused)

    def _close_unused(self) -> None:
        self._closing = None
        oldest = clock.monotonic() - _IDLE_SECONDS / 2
        while self._idle and self._idle[0][1] < oldest:
            self._idle.popleft()[0].close()
        if self._idle:
            self._closing = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._close_unused)


def _failure(error: Exception, seconds: float) -> DeliveryFailed:
    if isinstance(error, TimeoutError):
        return DeliveryFailed(f"no complete answer within {seconds:g} s; make the receiver faster", reason="timeout")
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return DeliveryFailed(f"TLS: {clip(error)}; check the receiver's certificate", reason="tls")
    return DeliveryFailed(f"{type(error).__name__}: {clip(error)}; check that the receiver is up", reason="network")
