"""A receiver over HTTP that remembers what it takes. `/NAME/SHARE/MS` answers each request after a random time of up to
MS milliseconds, and fails that share of them, 0 to 1, with 503.

GET /report answers JSON: name -> `taken` [[event id, UNIX seconds]...] in order, and `failed` [event id...].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from benchmarks.common import free_port, program, wait_for
from benchmarks.http_requests import Requests, serve

_DRAW = Random(1)
_REPORT: dict[str, dict[str, list[Any]]] = {}


class Receiver(Requests):
    def take(self, head: str) -> None:
        method, path, _ = head.split(" ", 2)
        if method == "GET":
            body = json.dumps(_REPORT).encode()
            self.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        _, name, share, most = path.split("/")
        event_id = head.lower().partition("webhook-id: ")[2].split("\r\n", 1)[0]
        seconds = float(most) / 1000 * _DRAW.random()
        asyncio.get_running_loop().call_later(
            seconds, lambda: self.write(_answer(name, event_id, _DRAW.random() < float(share)))
        )


def _answer(name: str, event_id: str, fails: bool) -> bytes:
    seen = _REPORT.setdefault(name, {"taken": [], "failed": []})
    if fails:
        seen["failed"].append(event_id)
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    seen["taken"].append((event_id, time.time()))
    return b"HTTP/1.1 204 No Content\r\n\r\n"


@contextmanager
def counting_receiver() -> Iterator[int]:
    """The receiver in a process of its own; gives its port."""
    port = free_port()
    with program(sys.executable, "-m", "benchmarks.counting_receiver", str(port)):
        wait_for(lambda: report(port) is not None)
        yield port


def report(port: int) -> dict[str, dict[str, list[Any]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/report", timeout=60) as answer:
        moments: dict[str, dict[str, list[Any]]] = json.load(answer)
    return moments


if __name__ == "__main__":
    asyncio.run(serve(Receiver, int(sys.argv[1])))
