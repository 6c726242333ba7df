"""Shared by tests of receiving: the web server as real processes, signed webhooks, raw bytes on a socket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import io
import json
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import redis

from bridge.monitoring import logs
from bridge.services import Services, load
from tests.support.clients import clients_over
from tests.support.forked import Forked
from tests.support.loggers import logging_of_its_own
from tests.support.partitions import entries
from tests.support.waiting import until

__all__ = [
    "API_TOKEN",
    "SECRET",
    "TOKEN",
    "Answer",
    "Web",
    "captured_logs",
    "journal_attempts",
    "post",
    "result",
    "services_over",
    "sign",
    "write_config",
]

ROOT = Path(__file__).parents[2]
SECRET = "invented-phrase-of-the-tests"
TOKEN = "CANARY-an-unguessable-last-segment-of-the-address"
#: Of an operator, for the API and the metrics.
API_TOKEN = "CANARY-of-an-operator"
_CREDENTIALS = f"{{api_key: k, api_secret: s, webhook_secret: [{SECRET}, the-phrase-before]}}"
_PROGRAM = """
import sys
from pathlib import Path
from bridge import services
from bridge.monitoring import logs
from bridge.web.server import run
config, level, body_seconds, workers = sys.argv[1:]
loaded = services.load(config_path=Path(config))
logs.configure(level, "json")
run(loaded, "127.0.0.1", 0, int(workers), body_seconds=float(body_seconds))
"""


class Answer(NamedTuple):
    """An answer; `headers` with lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def outcome(self) -> str:
        return str(json.loads(self.body)["outcome"])


class Web:
    """The web server in its own processes, with the state server at `state`; its output is in `log`."""

    def __init__(
        self,
        directory: Path,
        state: str,
        *,
        body_seconds: float = 10,
        workers: int = 1,
        level: str = "info",
        durability: str = "{ack: local}",
        partitions: int = 1,
    ) -> None:
        #: Seconds for one answer.
        self.timeout = 30.0
        directory.mkdir(parents=True, exist_ok=True)
        config = write_config(directory, state, durability, partitions)
        self.log = directory / "web.log"
        program = directory / "web.py"
        program.write_text(_PROGRAM)
        with self.log.open("wb") as log:
            arguments = [str(program), str(config), level, str(body_seconds), str(workers)]
            self.process = Forked(arguments, cwd=ROOT, stdout=log, stderr=log)
        until(lambda: self._found_port() and self.get("/livez").status == 200)

    def _found_port(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the web server ended: {self.log.read_text()}")
        lines = [line for line in self.log.read_text().splitlines() if '"web_listening"' in line]
        self.port = json.loads(lines[0])["port"] if lines else 0
        return bool(lines)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def exchange(self, raw: bytes, *, half_close: bool = False) -> Answer:
        """Send these bytes and read one answer. `half_close`: close the sending side afterwards."""
        with self.connect() as connection:
            connection.sendall(raw)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_answer(connection)

    def get(self, path: str, **headers: str) -> Answer:
        """`headers`: by their very names, but with `-` for a single `_` and `_` for a double one."""
        lines = "".join(
            f"{name.replace('__', chr(0)).replace('_', '-').replace(chr(0), '_')}: {value}\r\n"
            for name, value in {"Host": "bridge", **headers}.items()
        )
        return self.exchange(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())

    def is_ready(self) -> bool:
        """Whether it says that it takes webhooks."""
        return self.get("/readyz").status == 200

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def write_config(directory: Path, state: str, durability: str = "{ack: local}", partitions: int = 1) -> Path:
    """A bridge with the sources `eu`, `closed` (wants `TOKEN`), `paused` and `deaf` (polled only)."""
    source = f"{{vendor: classmarker, credentials: {_CREDENTIALS}"
    path, broker = directory / "bridge.yaml", "redis://unused.invalid/9"
    path.write_text(f"""demo: true
bridge: {{name: acme, public_url: "https://bridge.example.test", state: "{state}", broker: "{broker}", data_dir: .,
  durability: {durability}, partitions: {partitions}}}
sources:
  eu: {source}}}
  closed: {source}, webhook: {{token: {TOKEN}}}}}
  paused: {source}, paused: true}}
  deaf: {source}, webhook: {{enabled: false}}}}
access: {{tokens: [{{name: ops, role: operator, sha256: {hashlib.sha256(API_TOKEN.encode()).hexdigest()}}}]}}
""")
    return path


def services_over(directory: Path, state: redis.Redis) -> Services:
    """Services of `write_config` over this client of a state server."""
    return replace(load(config_path=write_config(directory, "redis://unused.invalid/0")), clients=clients_over(state))


def read_answer(connection: socket.socket, method: str = "POST") -> Answer:
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    body = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def sign(body: bytes, secret: str = SECRET) -> str:
    """The signature as the vendor documents it, without the adapter's code."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def post(path: str, body: bytes, **changes: str | None) -> bytes:
    """A whole signed webhook. `changes`: headers by name with `_` for `-`; None leaves one out."""
    headers: dict[str, str | None] = {
        "Host": "bridge",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Classmarker-Hmac-Sha256": sign(body),
    }
    headers.update({name.replace("_", "-").title(): value for name, value in changes.items()})
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def result(number: int, **changes: Any) -> bytes:
    """A link result of ClassMarker. `changes`: members of its `result`."""
    facts = {
        "link_result_id": number,
        "first": "Sam",
        "last": "Reyes",
        "email": "sam@example.test",
        "percentage": 70.0,
        "points_scored": 21.0,
        "points_available": 30.0,
        "requires_grading": "No",
        "time_started": 1767264000,
        "time_finished": 1767266994,
        "duration": "00:49:54",
        "percentage_passmark": 65,
        "passed": True,
        "view_results_url": "",
    }
    return json.dumps(
        {
            "payload_type": "single_user_test_results_link",
            "payload_status": "live",
            "test": {"test_id": 1173082, "test_name": "Fire warden refresher"},
            "link": {"link_id": 402217, "link_name": "Site B", "link_url_id": "q"},
            "result": {**facts, **changes},
        }
    ).encode()


def exchange_together(web: Web, numbers: Sequence[int]) -> list[Answer]:
    """Post results with these numbers at once, each on a connection of its own; the answers in their order."""
    answers: dict[int, Answer] = {}

    def exchange(number: int) -> None:
        answers[number] = web.exchange(post("/webhooks/eu", result(number)))

    threads = [threading.Thread(target=exchange, args=[number]) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in numbers]


def journal_attempts(client: redis.Redis) -> list[str]:
    """The attempts of all events in the journal, in order."""
    return [fields[b"attempt"].decode() for _, fields in entries(client)]


@contextmanager
def captured_logs(level: str = "debug", fmt: str = "json") -> Iterator[io.StringIO]:
    """The log lines of this process; afterwards logging is as it was."""
    stream = io.StringIO()
    with logging_of_its_own():
        logs.configure(level, fmt, stream=stream)
        yield stream
