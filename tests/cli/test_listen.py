"""`events tail` and `listen`: the same beside the server and with `--url`; signed, reconnecting, stale."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from standardwebhooks.webhooks import Webhook

from bridge import cli
from bridge.cli import following
from bridge.cli.api_client import CallFailed
from bridge.cli.exit_codes import UNAVAILABLE, USAGE
from bridge.cli.server_events import Message
from bridge.services import Services
from tests.support.http_bridge import served
from tests.support.published import publish, submission
from tests.support.watches_api import TOKENS, access_of, build

SECRET = "whsec_" + base64.b64encode(b"an invented secret of the tests.").decode()


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr("bridge.web.live._BLOCK_SECONDS", 0.05)
    services = build(state, tmp_path, access=access_of(TOKENS))
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    return services


class _Scripted:
    """An API whose connections give these messages, or fail."""

    def __init__(self, *connections: list[Message | CallFailed]) -> None:
        self.connections = list(connections)
        self.asked: list[str | None] = []

    def follow(self, path: str, query: Any, *, last: str | None = None) -> Iterator[Message]:
        self.asked.append(last)
        for step in self.connections.pop(0):
            if isinstance(step, CallFailed):
                raise step
            yield step


def test_following_continues_behind_the_last_id_says_why_and_waits_longer_each_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(following, "time", SimpleNamespace(sleep=waits.append))
    silent, refused = CallFailed("nothing for 45 s", UNAVAILABLE), CallFailed("no", USAGE)
    bridge = _Scripted(
        [Message("", "1-0", None), Message("a.b", "2-0", {"n": 1}), silent],
        [silent],
        [
            Message("bridge.gap", "5-0", {"after": "2-0", "until": "5-0"}),
            Message("bridge.dropped", "", {"reason": "x"}),
        ],
        [refused],
    )
    rows = following.follow(bridge, {})  # type: ignore[arg-type]
    received = [next(rows)]
    with pytest.raises(CallFailed, match="no"):
        next(rows)
    assert (received, bridge.asked, waits) == ([{"n": 1}], [None, "2-0", "2-0", "5-0"], [1.0, 2.0, 1.0])
    assert capsys.readouterr().err.splitlines() == [
        "stale: nothing for 45 s; reconnecting in 1 s",
        "stale: nothing for 45 s; reconnecting in 2 s",
        "warning: events between 2-0 and 5-0 are not shown. Remedy: attempt-bridge events list --since",
        "stale: x; reconnecting in 1 s",
    ]


def test_a_first_connection_that_fails_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CallFailed):
        next(following.follow(_Scripted([CallFailed("away", UNAVAILABLE)]), {}))  # type: ignore[arg-type]


class _Enough(Exception):
    """Ends a command that has no end."""


@pytest.mark.parametrize("is_remote", [False, True])
def test_tail_and_listen_show_and_post_what_is_published(
    services: Services, is_remote: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    publish(services, submission(1), submission(2))
    received: list[tuple[bytes, dict[str, str]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((body, dict(self.headers.items())))
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    def once(api: Any, query: Any) -> Iterator[Any]:
        rows = plain(api, query)
        yield next(rows)
        rows.close()  # type: ignore[attr-defined]

    plain = following.follow
    for module in ("events", "listen"):
        monkeypatch.setattr(f"bridge.cli.{module}.follow", once)
    monkeypatch.setattr("bridge.cli.listen.environment", lambda: {"HOOK": SECRET, "BAD": "x"})
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{receiver.server_port}/"
    try:
        with served(services) as url:
            where = ("--url", url, "--token", TOKENS["operator"]) if is_remote else ()
            wanted = ("--filter", "passed:true", "--since", "1h")
            assert cli.run((*where, "events", "tail", "-o", "jsonl", *wanted)) == 0
            assert json.loads(capfd.readouterr().out)["data"]["attempt"]["id"] == "link:2"
            line = (*where, "listen", "--forward-to", address)
            assert cli.run((*line, "--secret-env", "HOOK", *wanted)) == 0
            shown = capfd.readouterr().out.split("  ")
            assert (shown[1:4], shown[4].endswith("ms\n")) == (["attempt.completed", "link:2", "202"], True)
            assert cli.run((*line, "--secret-env", "BAD")) == USAGE
            assert cli.run((*where, "events", "tail", "--source", "zz")) == USAGE
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
    ((body, headers),) = received
    Webhook(SECRET).verify(body.decode(), {name.lower(): value for name, value in headers.items()})


def test_a_bridge_that_falls_silent_is_stale(
    services: Services, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bridge.cli.server_events.STALE_SECONDS", 0.2)
    monkeypatch.setattr(following, "time", SimpleNamespace(sleep=lambda _: (_ for _ in ()).throw(_Enough())))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: heartbeat\nid: 1-0\n\n"
                )
                connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        cli.run(("--url", url, "--token", "t", "events", "tail"))
        thread.join()
    assert f"stale: nothing from {url} for 45 s; reconnecting in 1 s" in capfd.readouterr().err


def test_tail_shows_tries_with_their_own_columns(
    services: Services, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"at": "2027-01-15T08:00:00.000Z", "outcome": "failed", "subscription": "crm", "event_id": "e1", "tries": 2}
    row |= {"status": 500, "seconds": 0.25, "reason": "receiver_error"}
    asked = []

    def follow(_: object, query: dict[str, object]) -> Iterator[dict[str, object]]:
        asked.append(query["topics"])
        yield row

    monkeypatch.setattr("bridge.cli.events.follow", follow)
    assert cli.run(("events", "tail", "--topics", "deliveries")) == 0
    assert cli.run(("events", "tail", "--topics", "deliveries", "-o", "jsonl")) == 0
    line, document = capfd.readouterr().out.splitlines()
    assert line == "2027-01-15T08:00:00.000Z  failed  crm  e1  2  500  0.25  receiver_error"
    assert (json.loads(document), asked) == (row, ["deliveries", "deliveries"])
