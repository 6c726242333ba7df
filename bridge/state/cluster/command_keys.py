"""Which key of a command determines where it runs on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot

__all__ = ["encoded", "first_key", "slot_of"]

#: The first words of commands that name no key: any node can answer, or each answers for itself.
_WITHOUT = frozenset(
    [
        "ACL",
        "ASKING",
        "BGREWRITEAOF",
        "BGSAVE",
        "CLIENT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "DBSIZE",
        "DEBUG",
        "ECHO",
        "FLUSHALL",
        "FLUSHDB",
        "HELLO",
        "INFO",
        "KEYS",
        "LASTSAVE",
        "LATENCY",
        "MODULE",
        "PING",
        "PUBLISH",
        "RANDOMKEY",
        "ROLE",
        "SCAN",
        "SCRIPT",
        "SLOWLOG",
        "TIME",
        "UNWATCH",
        "WAIT",
        "WAITAOF",
    ]
)


def first_key(command: Sequence[Any]) -> bytes | None:
    """The first key of a command as redis-py gives it, its name in `command[0]`; None if it has none."""
    name = str(command[0]).upper()
    if name.partition(" ")[0] in _WITHOUT:
        return None
    if name in ("EVAL", "EVALSHA"):
        return encoded(command[3]) if int(command[2]) else None
    if name in ("XREAD", "XREADGROUP"):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
        return words[words.index(b"STREAMS") + 1]
    if name == "OBJECT":
        return encoded(command[2])
    return encoded(command[1]) if len(command) > 1 else None


def slot_of(key: bytes) -> int:
    """The hash slot of a key."""
    return int(key_slot(key))


def encoded(key: Any) -> bytes:
    """A key as it is sent to the server."""
    return key if isinstance(key, bytes) else str(key).encode()
