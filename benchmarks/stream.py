"""Accept latency of webhooks at a fixed rate, without and with idle viewers of the live stream on the same processes.

The viewers' filter matches no event: they get heartbeats alone."""

from __future__ import annotations

import argparse
import hashlib
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from benchmarks.common import free_port, header, program, ratios, rounds, server, spread, table, verdict, wait_for
from benchmarks.load import run
from benchmarks.processes import cpu_seconds, family
from benchmarks.receive import config, webhooks

TOKEN = "token-of-the-benchmark-of-streams"


class _Viewers:
    """Open streams; a thread reads and counts what they get."""

    def __init__(self, port: int, number: int) -> None:
        self._port, self.answered = port, 0
        self._selector, self._ended = selectors.DefaultSelector(), threading.Event()
        self._sockets: set[socket.socket] = set()
        for _ in range(number):
            self._dial()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _dial(self) -> None:
        viewer = socket.create_connection(("127.0.0.1", self._port))
        viewer.sendall(
            b"GET /api/v1/events/stream?filter=attempt:none-such HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        self._sockets.add(viewer)
        self._selector.register(viewer, selectors.EVENT_READ, [])

    def _read(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.2):
                viewer: socket.socket = key.fileobj  # type: ignore[assignment]
                received = viewer.recv(65536)
                if received and (key.data or received.startswith(b"HTTP/1.1 200 ")):
                    self.answered += not key.data
                    key.data.append(True)
                    continue
                # The server notices at its next heartbeat that the viewers of the last round are gone; until then it
                # may refuse more.
                self.answered -= bool(key.data)
                self._selector.unregister(viewer)
                self._sockets.discard(viewer)
                viewer.close()
                self._ended.wait(0.1)
                self._dial()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._selector.close()
        for viewer in self._sockets:
            viewer.close()


@contextmanager
def viewers(port: int, number: int) -> Iterator[None]:
    """So many viewers, all of whom are answered."""
    made = _Viewers(port, number)
    try:
        wait_for(lambda: made.answered == number, 60)
        yield
    finally:
        made.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--viewers", type=int, default=500)
    options.add_argument("--rate", type=float, default=50.0, help="webhooks a second")
    options.add_argument("--seconds", type=float, default=10.0, help="of each round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--workers", type=int, default=2, help="web processes")
    given = options.parse_args()
    header(f"accept latency beside {given.viewers} idle viewers", "gunicorn", "gevent", "redis", "flask")
    first = iter(range(10_000_000, 2_000_000_000, 1_000_000))
    cpu: dict[bool, list[float]] = {False: [], True: []}
    with server() as state:
        path, port = config(Path(tempfile.mkdtemp(prefix="bench-")), state), free_port()
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        with path.open("a") as file:
            file.write(f"access: {{tokens: [{{name: bench, role: viewer, sha256: {digest}}}]}}\n")
        web = program(
            "attempt-bridge", "--config", str(path), "web", "--port", str(port), "--workers", str(given.workers)
        )
        with web as process:
            wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/livez", timeout=1).ok)
            run(port, webhooks(next(first)), connections=20, seconds=1, rate=given.rate)

            def p99(watched: bool) -> float:
                members = family(process.pid)
                before = sum(map(cpu_seconds, members))
                result = run(port, webhooks(next(first)), connections=100, seconds=given.seconds, rate=given.rate)
                if set(result.statuses) != {"200"}:
                    raise SystemExit(f"answers: {result.statuses}")
                cpu[watched].append(1e6 * (sum(map(cpu_seconds, members)) - before) / len(result.latencies))
                return result.percentile(0.99)

            def beside() -> float:
                with viewers(port, given.viewers):
                    # What opening the streams costs is over.
                    time.sleep(min(1.0, given.seconds))
                    return p99(True)

            alone, watched = rounds(given.rounds, lambda: p99(False), beside)
    name = f"{given.viewers} idle viewers"
    table(
        [f"at {given.rate:g}/s, median (all rounds)", "p99 ms", "us of CPU for a webhook"],
        [
            ["without viewers", spread(alone, ".1f"), spread(cpu[False])],
            [name, spread(watched, ".1f"), spread(cpu[True])],
        ],
    )
    verdict(f"p99 with {name} / without", ratios(watched, alone), 1.1, least=False)


if __name__ == "__main__":
    main()
