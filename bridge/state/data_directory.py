"""The directory of the embedded server's data: safe from other users, and used by one process at a time.

Whoever can write in a directory above a file can replace the file, so owner and mode of every component count.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import BridgeError, ConfigError, clip

__all__ = ["UMASK", "hold_directory", "make_private", "open_private", "tighten", "try_lock", "write_private"]

#: Every file that a process of the bridge creates is for this user only.
UMASK = 0o077
#: What the bridge and its server write in `data_dir`; other files there are not ours to change.
_OURS = ("api-token.*", "appendonlydir", "appendonlydir/*", "lock", "metrics", "server.*", "temp-*")
_REMEDY = "Remedy: give another bridge.data_dir, or change owner and mode (volumes: docs/operations.md)"


@contextmanager
def hold_directory(data_dir: Path) -> Iterator[bool]:
    """Be the only `up` or `demo` of a data directory; yields whether the last one was killed.

    Meanwhile the process creates files for this user only. The kernel releases the lock when this process ends,
    however it ends. Raises `BridgeError`, which names the process that has it, `ConfigError` for an unsafe directory.
    """
    umask = os.umask(UMASK)
    try:
        make_private(data_dir)
        tighten(data_dir)
        with os.fdopen(open_private(data_dir / "lock", os.O_RDWR | os.O_CREAT), "r+") as file:
            content = file.read().strip()
            if not try_lock(file.fileno()):
                raise BridgeError(
                    f"{data_dir}: in use by process {content or 'unknown'}. Remedy: stop that one, or give another "
                    "bridge.data_dir",
                    reason="data_dir_in_use",
                )
            file.seek(0)
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield bool(content)
            file.truncate(0)
    finally:
        os.umask(umask)


def try_lock(descriptor: int) -> bool:
    """Whether this open file could be locked; the lock ends with its last descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_private(directory: Path) -> None:
    """Create a directory for this user only. One that exists must be this user's, and nobody else may write to it.

    Raises `ConfigError` for it, or for a directory above it that other users could change.
    """
    # Check both: neither a symbolic link nor its target may be replaceable.
    for path in {directory.absolute(), directory.resolve()}:
        for above in reversed(path.parents):
            _require(above, own=False)
    try:
        for path in reversed([directory, *directory.parents]):
            if not path.exists():
                path.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be created ({clip(error.strerror)}). {_REMEDY}") from error
    if not directory.is_dir():
        raise ConfigError(f"{directory}: cannot be created (not a directory). {_REMEDY}")
    _require(directory.resolve(), own=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"{directory}: is read-only. {_REMEDY}")


def tighten(data_dir: Path) -> None:
    """Take other users' rights from what the bridge wrote there before, such as with an earlier version.

    Raises `ConfigError` for a symbolic link, or for a file of another user, in place of one of its own files.
    """
    for pattern in _OURS:
        for path in data_dir.glob(pattern):
            result = os.lstat(path)
            if stat.S_ISLNK(result.st_mode) or result.st_uid != os.geteuid():
                what = "is a symbolic link" if stat.S_ISLNK(result.st_mode) else f"belongs to user {result.st_uid}"
                raise ConfigError(f"{path}: {what}. Remedy: check who put it there, and remove it")
            if result.st_mode & 0o077:
                path.chmod(stat.S_IMODE(result.st_mode) & 0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a file of this user (or root's) for this user only; returns its descriptor.

    Raises `ConfigError` for a symbolic link, something that is not a file, or a file that others own or may write;
    `OSError` like `os.open`.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise ConfigError(f"{path}: is a symbolic link. Remedy: replace it by the file itself") from error
        raise
    result = os.fstat(descriptor)
    problem = _problem(result, own=False)
    if not stat.S_ISREG(result.st_mode):
        problem = "is not a file"
    if problem is not None:
        os.close(descriptor)
        raise ConfigError(f"{path}: {problem}. Remedy: check who put it there, and remove it")
    return descriptor


def write_private(path: Path, text: str) -> None:
    """Write a file for this user only. Raises the errors of `open_private`."""
    with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w") as file:
        file.write(text)


def _require(path: Path, *, own: bool) -> None:
    try:
        result = os.lstat(path)
    except OSError:
        return  # made later, or reported when it is used
    if problem := _problem(result, own=own):
        raise ConfigError(f"{path}: {problem}. {_REMEDY}")


def _problem(status: os.stat_result, *, own: bool) -> str | None:
    """Why other users could change this file or directory, or replace what is in it; None if they cannot."""
    user = os.geteuid()
    if status.st_uid != user and (own or status.st_uid != 0):
        return f"belongs to user {status.st_uid}, not to {user}"
    if stat.S_ISLNK(status.st_mode):
        return None  # a link has no mode of its own
    # In a sticky directory, such as /tmp, users cannot replace what belongs to others.
    sticky = bool(status.st_mode & stat.S_ISVTX) and not own
    others = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid))
    if others and not sticky:
        return f"other users may write to it (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def _is_own_group(number: int) -> bool:
    """Whether a group has only this user: many distributions give each user one, and a umask that lets it write."""
    try:
        name, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}
