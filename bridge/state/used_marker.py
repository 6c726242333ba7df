"""What a data directory has held: a file next to the append-only file, which may be lost, emptied or cut.

A server that has forgotten published attempts would publish them again. The marker has the last entry of each journal,
which only grows, even when entries are trimmed. The server answers once an entry is on disk, so an append-only file
that ends before the marker was cut, or is an older copy.
"""

from __future__ import annotations

import re
from pathlib import Path

import redis

from bridge.errors import BridgeError
from bridge.state import keys
from bridge.state.data_directory import write_private

__all__ = ["forget_use", "is_cut", "lost_data", "record_use", "was_used"]

_NAME = "server.used"
_HEAD = "A bridge has stored its data in this directory. The last entry of each journal:"
_LINE = re.compile(r"(\d{1,9}) (\d{1,20})-(\d{1,20})")


def was_used(data_dir: Path) -> bool:
    return (data_dir / _NAME).exists()


def record_use(data_dir: Path, client: redis.Redis) -> None:
    """Record how far its server is, if it holds a bridge. Raises `redis.RedisError`, `OSError`."""
    if not client.exists(keys.BRIDGE):
        return
    partitions = int(client.hget(keys.BRIDGE, "partitions") or 1)
    ends = [(partition, _end(client, partition)) for partition in range(partitions)]
    text = "\n".join([_HEAD, *(f"{partition} {end[0]}-{end[1]}" for partition, end in ends), ""])
    if text == _read(data_dir):
        return
    # Replaced as a whole or not at all: on a full disk the old one stays.
    beside = data_dir / f"{_NAME}.new"
    write_private(beside, text)
    beside.replace(data_dir / _NAME)


def is_cut(data_dir: Path, client: redis.Redis) -> bool:
    """Whether the server has less than was recorded. Raises `redis.RedisError`, `OSError`."""
    lines = map(_LINE.fullmatch, _read(data_dir).splitlines())
    return any(_end(client, int(line[1])) < (int(line[2]), int(line[3])) for line in lines if line)


def forget_use(data_dir: Path) -> None:
    (data_dir / _NAME).unlink(missing_ok=True)


def lost_data(data_dir: Path, what: str = "empty or missing, but this bridge has stored data") -> BridgeError:
    return BridgeError(
        f"{data_dir / 'appendonlydir'}: {what}. Remedy: restore it from a backup, or give `up --accept-empty`: "
        "everything that is polled again is then published again",
        reason="data_lost",
    )


def _read(data_dir: Path) -> str:
    """The marker; one of an earlier version, which has no entries, counts as none here."""
    try:
        return (data_dir / _NAME).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _end(client: redis.Redis, partition: int) -> tuple[int, int]:
    journal = keys.journal(partition)
    if not client.exists(journal):
        return 0, 0
    last = client.xinfo_stream(journal)["last-generated-id"]
    milliseconds, _, number = (last.decode() if isinstance(last, bytes) else str(last)).partition("-")
    return int(milliseconds), int(number)
