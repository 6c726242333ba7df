"""The simplest HTTP server of the benchmarks: requests are told apart, and otherwise not understood."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

__all__ = ["Requests", "serve"]


class Requests(asyncio.Protocol):
    """One connection; each complete request is taken by its head."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while True:
            head, separator, rest = self.data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if not separator or len(rest) < length:
                return
            self.data = rest[length:]
            self.take(head.decode())

    @abstractmethod
    def take(self, head: str) -> None:
        """Answer a request, now or later."""

    def write(self, answer: bytes) -> None:
        self.transport.write(answer)  # type: ignore[attr-defined]


async def serve(protocol: type[Requests], port: int) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    await (await loop.create_server(protocol, "127.0.0.1", port, backlog=2048)).serve_forever()
