"""A PostgreSQL server of the distribution, on a socket of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support.servers import need_program
from tests.support.waiting import until

__all__ = ["postgresql"]


@contextmanager
def postgresql() -> Iterator[str]:
    """The connection string of an empty database; skipped or failed where PostgreSQL is not installed."""
    # Debian keeps the server off the PATH, one folder for each version.
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    programs = (found[-1] if found else Path(need_program("initdb", package="postgresql"))).parent
    # It refuses to run as root. A socket's path must be short, and its folder open to that user.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if user:
        shutil.chown(folder, user)
    data, conninfo = str(folder / "data"), f"host={folder} user=test dbname=postgres"
    try:
        initdb = [programs / "initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, user=user, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        settings = ("listen_addresses=", f"unix_socket_directories={folder}", "fsync=off")
        command = [programs / "postgres", "-D", data, *(part for each in settings for part in ("-c", each))]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd=folder)
        try:
            until(lambda: _answers(conninfo) or server.poll() is not None)
            assert server.poll() is None, (folder / "log").read_text()
            yield conninfo
        finally:
            server.send_signal(signal.SIGQUIT)  # at once, but its shared memory is given back
            server.wait()
    finally:
        shutil.rmtree(folder)


def _answers(conninfo: str) -> bool:
    try:
        psycopg.connect(conninfo).close()
    except psycopg.OperationalError:
        return False
    return True
