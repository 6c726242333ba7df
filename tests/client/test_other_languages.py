"""The receivers in Node and PHP verify what the bridge signs, handle each event once and keep the newest grade."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attempt_bridge_client import create_tables_sql
from attempt_bridge_client.samples import Samples
from bridge.net.standard_webhooks import (
    Signer,
    SigningSecret,
    new_ed25519_secret,
    new_hmac_secret,
    public_key_of,
)
from tests.support.servers import need_program
from tests.support.waiting import until

EXAMPLES = Path(__file__).parents[2] / "client/examples"
GRADED, REGRADED, VOIDED = (
    Samples().attempt("thought-industries", what) for what in ("completed", "revised", "voided")
)
HMAC, PRIVATE, FOREIGN = new_hmac_secret(b"a" * 32), new_ed25519_secret(b"b" * 32), new_hmac_secret(b"c" * 32)
SECRETS = f"{HMAC} {public_key_of(PRIVATE)}"
#: Every grade that is written is kept in `history`, as in the file of the receiver in Node.
TABLES = """
CREATE TABLE grades (attempt text PRIMARY KEY, passed boolean);
CREATE TABLE history (passed boolean);
CREATE TRIGGER first AFTER INSERT ON grades BEGIN INSERT INTO history VALUES (new.passed); END;
CREATE TRIGGER later AFTER UPDATE ON grades BEGIN INSERT INTO history VALUES (new.passed); END;
"""


@dataclass
class Receiver:
    """`start` starts it (again); `grades`: what it has written, oldest first."""

    port: int
    start: Callable[[], None]
    grades: Callable[[], list[Any]]

    def send(self, event: dict[str, Any], *secrets: str, late: float = 0, changed: bytes = b"", **headers: str) -> int:
        body = json.dumps(event).encode()
        signer = Signer([SigningSecret(secret) for secret in secrets or (HMAC,)])
        signed = signer.headers(event["id"], body, time.time() - late)
        given = {**signed, **{f"webhook-{name}": value for name, value in headers.items()}}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", body + changed, given)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code


@pytest.fixture(params=["node", "php"])
def receiver(request: pytest.FixtureRequest, starts_processes: None, tmp_path: Path) -> Iterator[Receiver]:
    program = need_program(request.param, package={"node": "nodejs", "php": "php-cli"}[request.param])
    if request.param == "php" and b"pdo_sqlite" not in subprocess.run([program, "-m"], capture_output=True).stdout:
        need_program("php-sqlite3")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file, database = tmp_path / "grades.jsonl", tmp_path / "grades.sqlite3"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(create_tables_sql())
        connection.executescript(TABLES)
    command = {
        "node": [program, str(EXAMPLES / "node/receiver.mjs")],
        "php": [program, "-S", f"127.0.0.1:{port}", str(EXAMPLES / "php/receiver.php")],
    }[request.param]
    environment = {"PORT": str(port), "FILE": str(file), "DATABASE": f"sqlite:{database}", "SECRETS": SECRETS}
    processes: list[subprocess.Popen[bytes]] = []

    def stop() -> None:
        for process in processes:
            process.kill()
            process.wait()

    def start() -> None:
        stop()
        with (tmp_path / "log").open("ab") as log:
            processes.append(subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log))
        until(lambda: socket.create_connection(("127.0.0.1", port)), seconds=20).close()

    def grades() -> list[Any]:
        if request.param == "node":
            return [json.loads(line)["passed"] for line in file.read_text().splitlines()]
        with closing(sqlite3.connect(database)) as connection:
            return [None if row is None else bool(row) for (row,) in connection.execute("SELECT passed FROM history")]

    start()
    yield Receiver(port, start, grades)
    stop()


def test_it_takes_what_is_signed_and_keeps_the_newest_grade_once(receiver: Receiver) -> None:
    assert receiver.send(GRADED) == receiver.send(GRADED) == 204
    assert receiver.grades() == [True]
    assert receiver.send(VOIDED, FOREIGN, PRIVATE) == 204
    assert receiver.grades() == [True, None]
    receiver.start()
    assert receiver.send(REGRADED, PRIVATE) == receiver.send(VOIDED) == 204
    assert receiver.send(Samples().notice("bridge.test")) == 204
    assert receiver.grades() == [True, None]


def test_it_refuses_what_is_not_signed_for_it(receiver: Receiver) -> None:
    assert receiver.send(GRADED, FOREIGN) == 401
    assert receiver.send(GRADED, changed=b" ") == 401
    assert receiver.send(GRADED, late=310) == receiver.send(GRADED, late=-310) == 401
    for headers in ({"signature": "v1"}, {"signature": "v1a,AAAA v1,AAAA"}, {"timestamp": "soon"}, {"id": "another"}):
        assert receiver.send(GRADED, **headers) == 401
    assert receiver.send(GRADED) == 204
    assert receiver.grades() == [True]
