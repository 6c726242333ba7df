"""The live stream of a running web server: connections that break, and a server that stops."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Server
from tests.support.web import API_TOKEN, Web, post, result


@pytest.fixture
def web(own_server: Server, starts_processes: None, tmp_path: Path) -> Iterator[Web]:
    running = Web(tmp_path / "web", own_server.url)
    yield running
    if running.process.poll() is None:
        running.close()


class _Stream:
    def __init__(self, web: Web, last: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
        headers = {"Authorization": f"Bearer {API_TOKEN}"} | ({"Last-Event-ID": last} if last else {})
        self._connection.connect()
        self._socket = self._connection.sock
        self._connection.request("GET", "/api/v1/events/stream", headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        self.last = last

    def next(self) -> dict[str, str]:
        """The next message; empty at the end of the stream."""
        fields: dict[str, str] = {}
        while line := self._answer.readline().decode():
            name, _, value = line.strip().partition(": ")
            if line == "\n":
                break
            fields[name] = value
        self.last = fields.get("id", self.last)
        return fields

    def attempts(self, number: int) -> list[str]:
        attempts: list[str] = []
        while len(attempts) < number:
            if "data" in (message := self.next()):
                attempts.append(json.loads(message["data"])["attempt"])
        return attempts

    def break_off(self) -> None:
        """Close the connection without reading what has come."""
        self._answer.close()
        self._connection.close()
        self._socket.close()


@pytest.mark.long
def test_over_broken_connections_and_a_stop_of_the_server_every_event_comes_once(
    web: Web, own_server: Server, tmp_path: Path
) -> None:
    numbers = iter(range(1000, 2000))

    def receive(count: int) -> list[str]:
        sent = []
        for _ in range(count):
            sent.append(next(numbers))
            assert web.exchange(post("/webhooks/eu", result(sent[-1]))).status == 200
        return [f"link:{number}" for number in sent]

    stream = _Stream(web)
    stream.next()
    sent, streamed = receive(3), stream.attempts(2)
    stream.break_off()
    sent += receive(2)
    stream = _Stream(web, stream.last)
    streamed += stream.attempts(3)
    sent += receive(1)
    streamed += stream.attempts(1)
    # A stop ends the stream with a reason, and the server does not wait for its viewer.
    web.process.send_signal(signal.SIGTERM)
    while (message := stream.next()).get("event") != "bridge.dropped":
        assert message
    assert stream.next() == {}
    stream.break_off()
    assert web.process.wait(20) == 0
    web = Web(tmp_path / "again", own_server.url)
    sent += receive(2)
    stream = _Stream(web, stream.last)
    streamed += stream.attempts(2)
    stream.break_off()
    web.close()
    assert [attempt.rpartition(":")[2] for attempt in streamed] == [attempt.rpartition(":")[2] for attempt in sent]
