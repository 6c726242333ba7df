"""Real servers of a test's own: the state server, an HTTP server, programs of the distribution."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from werkzeug.serving import make_server

from bridge.state.embedded_server import server_binary

#: Somebody else may take a free port before it is used.
_TRIES = 5


class Server:
    """A server process of its own with the durable configuration; `stop`, `cont`, `kill9`, `start` are the faults."""

    def __init__(self, directory: Path, *extra: str, binary: str | None = None, has_bus: bool = False) -> None:
        """`has_bus`: for a cluster, on the port `bus`; otherwise its port is 10,000 higher, which may be none."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.log = (directory / "log").open("ab")
        self._emptying: redis.Redis | None = None
        program = binary or str(server_binary())
        for tries_left in reversed(range(_TRIES)):
            self.port, self.bus = _free_ports(2)
            bus = ("--cluster-port", str(self.bus)) if has_bus else ()
            self.args = self._arguments(program, (*bus, *extra))
            try:
                self.start()
            except RuntimeError:
                if tries_left and "Address already in use" in (directory / "log").read_text(errors="replace"):
                    continue
                self.log.close()
                raise
            break

    def _arguments(self, binary: str, extra: tuple[str, ...]) -> list[str]:
        return [
            binary,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"),
            *extra,
        ]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def broker_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/1"

    def client(self, **options: object) -> redis.Redis:
        return redis.Redis.from_url(self.url, **options)  # type: ignore[arg-type]

    def replication(self, **options: object) -> dict[str, Any]:
        """What it says of its replication; nothing when its role has just changed, which cuts its connections."""
        try:
            with self.client(socket_timeout=5, **options) as client:
                return cast("dict[str, Any]", client.info("replication"))
        except redis.ConnectionError:
            return {}

    def empty(self) -> None:
        """Forget everything, over a connection that is kept: there is a call for each test."""
        if self._emptying is None:
            self._emptying = self.client(single_connection_client=True)
        self._emptying.flushall()

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
        if self._emptying is not None:
            self._emptying.close()
        self.log.close()


def _free_ports(number: int) -> list[int]:
    with ExitStack() as free:
        return [free.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of an HTTP server that runs this WSGI app."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def need_program(name: str, *, package: str | None = None) -> str:
    """The path of a distribution program; without it the test is skipped on a laptop and fails in CI."""
    result = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if result is None:
        message = f"{name} is not installed; apt-get install {package or name}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return result
