"""Benchmarks run with tiny numbers and print their table and their target. No figure is judged."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import pytest

from benchmarks import load
from tests.support.forked import Forked

ROOT = Path(__file__).parents[1]
TINY = {
    "poll": ["--pages", "2", "--rounds", "1"],
    "pointer": ["--webhooks", "2", "--pause", "0.1"],
    "idle": ["--seconds", "1", "--settle", "0"],
    "api": ["--events", "600", "--dead-letters", "60", "--small", "300", "--rounds", "2"],
    "ui": ["--events", "300", "--dead-letters", "40", "--rounds", "2"],
    "publish_once": ["--events", "200", "--rounds", "1"],
    "memory": ["--attempts", "2000"],
    "settled": ["--deliveries", "200"],
    "flaky": ["--events", "60"],
    "replay": ["--dead-letters", "50", "--rounds", "1", "--seconds", "1"],
    "stream": ["--viewers", "5", "--seconds", "1", "--rounds", "1", "--workers", "1"],
    "push": ["--only", "backlog", "--backlog", "200", "--away", "0.5"],
    "dispatch": ["--events", "100", "--rounds", "1"],
    "sql": ["--events", "100", "--rounds", "1"],
    "amqp": ["--events", "100", "--rounds", "1"],
    "telemetry": ["--events", "100", "--rounds", "1"],
    "receive": ["--seconds", "0.5", "--rounds", "1", "--connections", "4", "--workers", "1", "--rates", "20"],
    "broker_nodes": ["--rounds", "1", "--seconds", "5", "--only", "both in one"],
    "failover": ["--runs", "1", "--setups", "cluster", "--senders", "2", "--workers", "1"],
    "durability": ["--seconds", "0.5", "--rounds", "1", "--connections", "16"],
    "latency": ["--seconds", "1", "--rates", "20", "--workers", "1"],
    "backfill": ["--seconds", "1", "--rounds", "1", "--webhooks", "20", "--workers", "1", "--pages", "0"],
}
#: Those that start processes of a bridge and take longest are run on demand: BENCHMARKS=1 scripts/test
#: tests/test_benchmarks.py
APART = (
    "amqp",
    "broker_nodes",
    "pointer",
    "idle",
    "latency",
    "durability",
    "failover",
    "backfill",
    "receive",
    "replay",
    "stream",
    "push",
    "flaky",
    "telemetry",
)
ON_DEMAND = pytest.mark.skipif(not os.environ.get("BENCHMARKS"), reason="starts a bridge: BENCHMARKS=1 runs it")
#: What the others import.
SHARED = {
    "__init__",
    "bare_flask",
    "common",
    "counting_receiver",
    "http_requests",
    "latency_worker",
    "listing_vendor",
    "load",
    "processes",
}


def test_every_benchmark_is_run_here() -> None:
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == set(TINY) | SHARED


@pytest.mark.parametrize("name", [pytest.param(name, marks=ON_DEMAND if name in APART else ()) for name in TINY])
@pytest.mark.usefixtures("starts_processes")
def test_a_benchmark_prints_versions_a_table_and_how_far_its_target_is_off(name: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    out, errors = tmp_path / "out", tmp_path / "errors"
    with out.open("wb") as stdout, errors.open("wb") as stderr:
        arguments = ["-m", f"benchmarks.{name}", *TINY[name]]
        done = Forked(arguments, stdout=stdout, stderr=stderr, cwd=ROOT, env={**os.environ, "PATH": path})
        assert done.wait(100) == 0, errors.read_text()[-2000:]
    said = out.read_text()
    assert "versions  Python" in said
    assert f"scripts/bench {name}" in said
    assert ", target " in said


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def _server(answers: int) -> Iterator[int]:
    """A server that hangs up, without a word, on a connection that got so many answers; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    for _ in range(answers):
                        if connection.recv(65536):
                            connection.sendall(ANSWER)
                    connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_load_generator_dials_again_where_a_server_ends_a_kept_connection() -> None:
    with _server(answers=2) as port:
        outcome = load.run(port, repeat(load.post("/", [], b"{}")), connections=1, seconds=0.2)
    assert set(outcome.statuses) == {"200"}
    assert len(outcome.latencies) > 2


def test_the_load_generator_ends_where_a_server_never_answers() -> None:
    with _server(answers=0) as port, pytest.raises(SystemExit, match="closed a connection"):
        load.run(port, repeat(load.post("/", [], b"{}")), connections=1, seconds=0.2)
