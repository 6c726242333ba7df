"""One connection to a receiver: to an address that passed the check, TLS sessions resumed, one exchange at a time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

from bridge.net.http_answer import Answer, AnswerReader

__all__ = ["Connection", "ReceiverContext", "connect", "receiver_context"]

#: Seconds for one address of a receiver that has several.
_CONNECT_SECONDS = 5.0


class ReceiverContext(ssl.SSLContext):
    """The TLS settings for one receiver. Further connections to the same host name resume the session of the last one.

    A resumed session is not verified again, so it must never serve another host name.
    """

    def __init__(self, _protocol: int) -> None:
        """`_protocol`: taken by `ssl.SSLContext.__new__`."""
        super().__init__()
        self._sessions: dict[str | None, ssl.SSLSession] = {}

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Used by asyncio for each connection."""
        session = self._sessions.get(options.get("server_hostname"))
        return super().wrap_bio(*args, **{**options, "session": session})

    def remember(self, connection: ssl.SSLObject) -> None:
        """Resume the session of this connection from now on; TLS 1.3 servers send it with their first answer."""
        if connection.session is not None:
            self._sessions[connection.server_hostname] = connection.session


def receiver_context(ca: Path | None = None) -> ReceiverContext:
    """TLS 1.2 or later, certificate and host name verified by the system's CAs, or by those in the file `ca`."""
    context = ReceiverContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca)
    return context


async def connect(
    addresses: Sequence[tuple[int, tuple[Any, ...]]], host: str, context: ReceiverContext | None
) -> Connection:
    """Connect to the first address that answers; its certificate must be for `host`. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    error: OSError | None = None
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_CONNECT_SECONDS):
                await loop.sock_connect(sock, address)
        except OSError as problem:
            sock.close()
            error = problem
        except BaseException:
            sock.close()
            raise
        else:
            name = host if context else None
            _, connection = await loop.create_connection(
                lambda: Connection(context), sock=sock, ssl=context, server_hostname=name
            )
            return connection
    raise error or OSError("no address")


class Connection(asyncio.Protocol):
    """Sends a request and reads its answer; any unrequested byte ends it."""

    def __init__(self, context: ReceiverContext | None) -> None:
        self._context = context
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._answered: asyncio.Future[tuple[Answer, bool]] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, limit: int) -> tuple[Answer, bool]:
        """(answer with at most `limit` bytes of its body, whether the connection may be kept).

        Raises `ConnectionError` if it was closed without an answer, other `OSError` and `HTTPException`.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("closed")
        self._reader, self._answered = AnswerReader(limit), asyncio.get_running_loop().create_future()
        try:
            self._transport.write(request)
            return await self._answered
        finally:
            self._reader = self._answered = None

    def close(self) -> None:
        """Close without waiting for the peer."""
        if self._transport is not None:
            self._transport.abort()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self._answered is None or self._answered.done():
            self.close()
            return
        try:
            if self._reader.feed(data):
                self._complete()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        if self._reader is None or self._answered is None or self._answered.done():
            return
        if error is not None:
            self._fail(error)
            return
        try:
            self._reader.end()
        except (ConnectionError, HTTPException) as problem:
            self._fail(problem)
        else:
            self._complete()

    def _complete(self) -> None:
        if self._reader is None or self._answered is None or self._transport is None:
            return
        if self._context is not None:
            self._context.remember(self._transport.get_extra_info("ssl_object"))
        # After an early answer, the rest of this request would be sent before the next one.
        kept = self._reader.reusable and self.usable and self._transport.get_write_buffer_size() == 0
        self._answered.set_result((self._reader.answer(), kept))

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
