"""A PostgreSQL server of the distribution, for the session; each test has a schema of its own in it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support.servers import need_program
from tests.support.waiting import until

#: Quick, and as safe as a test needs: it survives `kill -9` of its processes.
_SETTINGS = ("fsync=off", "shared_buffers=16MB", "max_connections=20", "autovacuum=off", "log_min_messages=fatal")


def need_postgresql(program: str) -> str:
    """The path of a program of PostgreSQL; Debian has them in a folder of each version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(found[-1]) if found else need_program(program, package="postgresql")


class PostgreSQLServer:
    """A server in a temporary directory; `restart`, `kill9` and `start` are the faults. Its superuser is `postgres`."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: it flushes to the disk, as a server in production."""
        self._settings = ("shared_buffers=128MB",) if durable else _SETTINGS
        initdb, self._program = need_postgresql("initdb"), need_postgresql("postgres")
        self.directory = Path(tempfile.mkdtemp(prefix="postgresql-"))
        # Neither program runs as root.
        self._as: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(self.directory, "postgres", "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        options = [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
            f"{self.directory}/data",
        ]
        subprocess.run([initdb, *options], check=True, capture_output=True, cwd="/", **self._as)
        self.process: subprocess.Popen[bytes]
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = [part for setting in self._settings for part in ("-c", setting)]
        addresses = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-k", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._program, "-D", f"{self.directory}/data", *addresses, *settings],
                stdout=log,
                stderr=log,
                cwd="/",
                **self._as,
            )
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End the server at once, its sessions too."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def kill9(self) -> None:
        """End the server without a chance to write anything; its other processes end by themselves."""
        self.process.kill()
        self.process.wait(30)
        until(lambda: not self._is_listening())

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=5, **options)

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.directory)


@contextmanager
def running_postgresql(*, durable: bool = False) -> Iterator[PostgreSQLServer]:
    server = PostgreSQLServer(durable=durable)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database in a server of its own."""
    with running_postgresql() as server:
        yield server.url
