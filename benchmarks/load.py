"""A load generator for prepared HTTP/1.1 requests over keep-alive connections: closed loop, or open loop at a rate."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What one run measured."""

    #: How long it took.
    seconds: float = 0.0
    #: Seconds from when a request was due (open loop) or sent (closed loop) to the last byte of the response.
    latencies: list[float] = field(default_factory=list)
    #: Status line -> number of responses.
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency, in milliseconds, below which this share of the requests stayed."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _HungUp(Exception):
    """The server closed an idle connection after its keep-alive timeout; the client reconnects once."""


class _Connection:
    def __init__(self, port: int) -> None:
        self.port = port
        self.request, self.since, self.again = b"", 0.0, False
        self.dial()

    def dial(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def send(self, request: bytes, since: float, *, again: bool = False) -> None:
        self.request, self.since, self.again = request, since, again
        try:
            self.socket.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            return  # `receive` detects it

    def receive(self) -> str | None:
        """The status line once the whole response has arrived, else None."""
        try:
            received = self.socket.recv(65536)
        except ConnectionResetError:
            received = b""
        if not received and not self.buffer and not self.again:
            raise _HungUp
        if not received:
            raise SystemExit(f"the server closed a connection; last bytes: {self.buffer[-200:]!r}")
        self.buffer += received
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        lowered = head.lower()
        length = int(lowered.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return None
        self.buffer, self.again = b"", False
        return head[9:12].decode()


def post(path: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """The bytes of a complete request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def run(
    port: int, requests: Iterator[bytes], *, connections: int, seconds: float, rate: float | None = None
) -> Outcome:
    """Send for `seconds`. With `rate` (a second) a request that finds no free connection waits, and the wait counts."""
    everyone = [_Connection(port) for _ in range(connections)]
    try:
        return _send(everyone, requests, seconds, rate)
    finally:
        for connection in everyone:
            connection.socket.close()


def _send(everyone: Sequence[_Connection], requests: Iterator[bytes], seconds: float, rate: float | None) -> Outcome:
    # Not epoll: its timeouts are whole milliseconds, so an open loop would send late and count that as latency.
    outcome, selector = Outcome(), selectors.SelectSelector()
    free = list(everyone)
    for connection in everyone:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    started = time.perf_counter()
    sent, ends = 0, started + seconds
    while True:
        now = time.perf_counter()
        while free and now < ends:
            due = now if rate is None else started + sent / rate
            if due > now:
                break
            free.pop().send(next(requests), due)
            sent += 1
        if now >= ends and len(free) == len(everyone):
            break
        due = started + sent / rate if rate is not None and free else ends
        for key, _ in selector.select(max(0.0, due - time.perf_counter()) if now < ends else 5.0):
            connection = key.data
            try:
                status = connection.receive()
            except _HungUp:
                _dial_again(selector, connection)
                if connection not in free:
                    # The server closed it as we sent. The time until the second try counts.
                    connection.send(connection.request, connection.since, again=True)
                continue
            if status is not None:
                outcome.latencies.append(time.perf_counter() - connection.since)
                outcome.statuses[status] += 1
                free.append(connection)
    outcome.seconds = time.perf_counter() - started
    return outcome


def _dial_again(selector: selectors.BaseSelector, connection: _Connection) -> None:
    selector.unregister(connection.socket)
    connection.socket.close()
    connection.dial()
    selector.register(connection.socket, selectors.EVENT_READ, connection)
