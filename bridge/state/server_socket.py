"""Where the embedded server of a data directory listens: in that directory, or elsewhere if the path is too long."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from bridge.state.data_directory import open_private, write_private

__all__ = ["addresses", "is_embedded", "prepare_socket", "socket_path"]

#: A socket address holds 104 bytes on macOS and 108 on Linux, with the closing zero byte.
_LONGEST_SOCKET_PATH = 103
#: In `data_dir`: names the directory of the socket. Its name cannot be guessed: otherwise others could create it first.
_POINTER = "server.socket-directory"


def socket_path(data_dir: Path) -> Path:
    """The path of the socket; one too long to use if no server has been started yet, or if others could listen."""
    plain = data_dir.resolve() / "server.sock"
    if len(os.fsencode(plain)) <= _LONGEST_SOCKET_PATH:
        return plain
    directory = _recorded(data_dir)
    return plain if directory is None or not _is_private(directory) else directory / "server.sock"


def prepare_socket(data_dir: Path) -> bool:
    """Make the directory that `socket_path` needs; returns whether it was made now."""
    if len(os.fsencode(data_dir.resolve() / "server.sock")) <= _LONGEST_SOCKET_PATH:
        return False
    recorded = _recorded(data_dir)
    if recorded is not None and _is_private(recorded):
        return False
    # Not the TMPDIR of this process, which may be long as well. mkdtemp makes a new directory, or fails.
    made = tempfile.mkdtemp(prefix="attempt-bridge-", dir="/tmp")
    write_private(data_dir / _POINTER, f"{made}\n")
    return True


def addresses(data_dir: Path) -> tuple[str, str]:
    """State and broker address of the embedded server of a data directory, whether or not it runs."""
    socket = quote(str(socket_path(data_dir)))
    return f"unix://{socket}?db=0", f"redis+socket://{socket}?virtual_host=1"


def is_embedded(state_url: str, data_dir: Path) -> bool:
    """Whether this is the state address of the embedded server of a data directory."""
    return state_url == addresses(data_dir)[0]


def _recorded(data_dir: Path) -> Path | None:
    try:
        with os.fdopen(open_private(data_dir / _POINTER, os.O_RDONLY)) as file:
            return Path(file.read().strip())
    except OSError:
        return None


def _is_private(directory: Path) -> bool:
    """Whether it exists, is this user's and closed to others: a reboot empties /tmp, and others may create it again."""
    try:
        result = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(result.st_mode) and result.st_uid == os.geteuid() and not result.st_mode & 0o077
