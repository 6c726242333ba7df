"""The directory of the embedded server's data: who may use it, and who uses it now."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import BridgeError, ConfigError, clip

__all__ = ["hold_directory", "make_private", "try_lock"]


@contextmanager
def hold_directory(data_dir: Path) -> Iterator[bool]:
    """Be the only `up` or `demo` of a data directory; yields whether the last one was killed.

    The kernel releases the lock when this process ends, however it ends. Raises `BridgeError` that names the process
    that has it.
    """
    make_private(data_dir)
    lock = data_dir / "lock"
    with lock.open("a+") as file:
        if not try_lock(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BridgeError(
                f"{data_dir}: in use by process {holder}. Remedy: stop that one, or give another bridge.data_dir",
                reason="data_dir_in_use",
            )
        file.seek(0)
        was_killed = bool(file.read().strip())
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield was_killed
        file.truncate(0)


def try_lock(descriptor: int) -> bool:
    """Whether this open file could be locked; the lock ends with its last descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_private(directory: Path) -> None:
    """Create a directory for this user alone; one that exists must be writable and not a stranger's."""
    remedy = "Remedy: give another bridge.data_dir"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be created ({clip(error)}). {remedy}") from error
    owner = directory.stat().st_uid
    # Root may work in anybody's directory; anybody else only in an own one, or a stranger could swap the socket.
    if os.getuid() not in (0, owner) or not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"{directory}: belongs to user {owner} or is read-only. {remedy}")
