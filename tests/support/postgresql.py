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
    paths = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(paths[-1]) if paths else need_program(program, package="postgresql")


class PostgreSQLServer:
    """A server in a temporary directory; `restart`, `kill9` and `start` are the faults. Its superuser is `postgres`."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: it flushes to the disk, as a server in production."""
        self._settings = ("shared_buffers=128MB",) if durable else _SETTINGS
        initdb, self._program = need_postgresql("initdb"), need_postgresql("postgres")
        self.directory = Path(tempfile.mkdtemp(prefix="postgresql-"))
        # Neither program runs as root.
        self.user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        if self.user:
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
        subprocess.run([initdb, *options], check=True, capture_output=True, cwd="/", **self.user)
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
                **self.user,
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


@contextmanager
def running_pgbouncer(server: PostgreSQLServer) -> Iterator[str]:
    """The address of a pooler in transaction mode with two sessions at the server, whichever client comes."""
    program = need_program("pgbouncer")
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        directory = Path(name)
        (directory / "users").write_text('"postgres" ""\n')
        settings = directory / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {directory}/users\n"
            "pool_mode = transaction\ndefault_pool_size = 2\n"
        )
        if server.user:
            directory.chmod(0o755)
        process = subprocess.Popen(
            [program, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **server.user
        )
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            until(lambda: process.poll() is not None or _can_connect(url))
            assert process.poll() is None
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _can_connect(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
