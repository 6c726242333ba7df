"""A server that answers a byte at a time, each part of an answer in turn: `DRIPS`."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, repeat

__all__ = ["DRIPS", "Dripping"]

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
#: What drips -> what is sent at once, then what is sent again and again.
DRIPS = {
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "header": (_OK + b"X-Long: ", b"y"),
    "headers": (_OK, b"X: y\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103 Early Hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "headers of 100 Continue": (b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n"),
    "body": (_OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "body without length": (_OK + b"\r\n", b"x"),
    "chunk size": (_CHUNKED, b"0"),
    "chunk extension": (_CHUNKED + b"1;x=", b"y"),
    "chunk": (_CHUNKED + b"fffff\r\n", b"x"),
    "chunks": (_CHUNKED, b"1\r\nx\r\n"),
    "trailer": (_CHUNKED + b"1\r\nx\r\n0\r\nX-Long: ", b"y"),
    "trailers": (_CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n"),
    "body of a redirect": (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "body of a refusal": (b"HTTP/1.1 503 No\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "packed body": (_OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\0\0\0\xff\xff"),
    "nothing": (b"", b""),
}


class Dripping:
    """Listens on a free port of 127.0.0.1 and answers every request with `first`, then `again` without end.

    `interval`: seconds between two bytes. After `longest` seconds it closes the connection, so that a client without a
    deadline fails otherwise than one with a deadline. `hello`: answer without waiting for a request.
    """

    def __init__(
        self,
        first: bytes,
        again: bytes,
        *,
        interval: float = 0.02,
        longest: float = 4.0,
        context: ssl.SSLContext | None = None,
        hello: bool = False,
    ) -> None:
        self._first, self._again, self._interval, self._longest = first, again, interval, longest
        self._context, self._hello = context, hello
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed by the test
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            connection = plain if self._context is None else self._context.wrap_socket(plain, server_side=True)
            with connection:
                if not self._hello and not connection.recv(65536):
                    return
                connection.sendall(self._first)
                for piece in self._pieces():
                    if self._closing.wait(self._interval):
                        return
                    connection.sendall(piece)

    def _pieces(self) -> Iterable[bytes]:
        if not self._interval:
            return repeat(self._again * 100, 100_000)
        pieces = [bytes([value]) for value in self._again] or [b""]
        rounds = int(self._longest / self._interval / len(pieces)) + 1
        return chain.from_iterable(repeat(pieces, rounds))
