"""What a doctor's finding is, and the judgements about a Redis-compatible server: pure functions of what it says.

Reading and everything else that is examined is in `bridge/monitoring/doctor.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "FAILURE",
    "OK",
    "WARNING",
    "Finding",
    "clock_skew",
    "durability",
    "eviction",
    "listpack",
    "memory",
    "product_version",
    "version",
    "visibility",
]

OK, WARNING, FAILURE = "ok", "warning", "failure"

_OLDEST_VERSION = (7, 0)
#: Celery's default `visibility_timeout` is an hour; the bridge's own worker uses 300 s and has no task that long.
_VISIBILITY_SECONDS = 300.0
_CLOCK_SKEW_SECONDS = 2.0
_MEMORY_SHARE = 0.7
#: Buckets of remembered attempts stay in the compact encoding up to here.
_LISTPACK_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and what came out. `remedy` is empty when all is well."""

    name: str
    status: str
    text: str
    remedy: str = ""
    unreachable: bool = False


def product_version(info: Mapping[str, Any]) -> str:
    """The version as the server itself counts: Valkey also gives the Redis version it is compatible with."""
    return str(info.get("valkey_version") or info.get("redis_version"))


def version(info: Mapping[str, Any]) -> Finding:
    """`info` is the answer to INFO."""
    given = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in given.split(".")[:2] if part.isdigit())
    if numbers >= _OLDEST_VERSION:
        return Finding("version", OK, f"{product_version(info)}, 7.0 or newer")
    return Finding("version", FAILURE, f"{given} is older than 7.0", "install Redis 7.0 or newer, or Valkey")


def eviction(info: Mapping[str, Any]) -> Finding:
    """`info` is the answer to INFO, or to INFO memory."""
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Finding("maxmemory-policy", OK, "noeviction")
    return Finding(
        "maxmemory-policy",
        FAILURE,
        f"{policy}: the server would throw away events and the memory of what was published",
        "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
    )


def durability(info: Mapping[str, Any], appendfsync: str | None) -> Iterator[Finding]:
    """`appendfsync` None: it could not be read."""
    if not int(info.get("aof_enabled", 0)):
        yield Finding(
            "appendonly",
            WARNING,
            "no: what was acknowledged is lost when the server stops",
            "CONFIG SET appendonly yes, and the same in its configuration file",
        )
        return
    yield Finding("appendonly", OK, "yes")
    if info.get("aof_last_write_status", "ok") != "ok":
        yield Finding("append-only file", FAILURE, "its last write failed", "look at the server's disk and log")
    if appendfsync == "always":
        yield Finding("appendfsync", OK, "always")
    elif appendfsync is None:
        yield Finding("appendfsync", WARNING, "cannot be read", "allow CONFIG GET to this user, or check it by hand")
    else:
        yield Finding(
            "appendfsync",
            WARNING,
            f"{appendfsync}: a power cut loses what was acknowledged in the last second",
            "CONFIG SET appendfsync always, and the same in its configuration file",
        )


def clock_skew(skew: float) -> Finding:
    """`skew`: seconds that the server's clock is ahead of ours."""
    if abs(skew) <= _CLOCK_SKEW_SECONDS:
        return Finding("clock", OK, f"the state server's is {skew:+.1f} s from ours")
    return Finding(
        "clock", WARNING, f"the state server's is {skew:+.1f} s from ours, 2 s are allowed", "run NTP on both machines"
    )


def memory(info: Mapping[str, Any]) -> Finding:
    """`info` is the answer to INFO."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return Finding("memory", OK, f"{used / 1e6:.1f} MB used, no maxmemory set")
    text = f"{used / 1e6:.1f} MB of {limit / 1e6:.1f} MB used ({used / limit:.0%})"
    if used <= _MEMORY_SHARE * limit:
        return Finding("memory", OK, text)
    return Finding("memory", WARNING, text, "raise maxmemory, or shorten bridge.retention; a full server answers 503")


def listpack(entries: str | None) -> Finding:
    """`entries` is the setting `hash-max-listpack-entries`; None: it could not be read."""
    name = "hash-max-listpack-entries"
    if entries is None:
        return Finding(name, WARNING, "cannot be read", "allow CONFIG GET to this user, or check it by hand")
    if int(entries) >= _LISTPACK_ENTRIES:
        return Finding(name, OK, entries)
    return Finding(
        name,
        WARNING,
        f"{entries}: remembered attempts take several times the memory",
        f"CONFIG SET {name} {_LISTPACK_ENTRIES}, and the same in its configuration file",
    )


def visibility(name: str, oldest: float | None) -> Finding:
    """`oldest`: seconds since the oldest task was handed to a worker that has not acknowledged it; None: there is none.

    A Redis broker gives a task to another worker after its workers' `visibility_timeout`, also while it still runs.
    """
    if oldest is None:
        return Finding(name, OK, "no task waits for its acknowledgement")
    text = f"the oldest unacknowledged task is {max(oldest, 0):.0f} s old"
    if oldest <= _VISIBILITY_SECONDS:
        return Finding(name, OK, text)
    remedy = "set visibility_timeout of every worker on this broker above its longest task, or look for a dead worker"
    return Finding(name, WARNING, f"{text}: it will run again, or does already", remedy)
