"""Senders that stall: they cost a greenlet each, delay nobody, and are cut off."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import Web, post, read_answer, result

pytestmark = pytest.mark.usefixtures("starts_processes")

BODIES, HEADERS = 500, 1000


@pytest.fixture
def web(server: Server, tmp_path: Path) -> Iterator[Web]:
    web = Web(tmp_path, server.url, body_seconds=8)
    yield web
    web.close()


def test_half_sent_requests_delay_nobody_and_are_cut_off(web: Web) -> None:
    request = post("/webhooks/eu", result(1))
    head = request[: request.index(b"\r\n\r\n") + 4]
    with ExitStack() as held:

        def stalled(sent: bytes) -> socket.socket:
            connection = held.enter_context(web.connect())
            connection.sendall(sent)
            return connection

        bodies = [stalled(head + b"{") for _ in range(BODIES)]
        headers = [stalled(head[:40]) for _ in range(HEADERS)]
        assert web.exchange(request).outcome == "published"
        assert web.get("/readyz").status == 200
        # The good ones were answered while all of these still hung.
        assert _readable(bodies + headers) == []
        for connection in bodies:
            assert read_answer(connection).status == 408
        for connection in headers:
            assert connection.recv(1) == b""
    assert web.exchange(request).outcome == "duplicate"


def test_a_stalled_answer_does_not_keep_the_server_from_stopping(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(b"POST /webhooks/eu HTTP/1.1\r\n")
        web.process.terminate()
        until(lambda: web.process.poll() is not None)
    assert web.process.returncode == 0


def _readable(connections: list[socket.socket]) -> list[int]:
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return [number for number, _ in poll.poll(0)]
