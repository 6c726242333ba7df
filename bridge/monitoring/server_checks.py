"""The finding of a check, and the checks of a Redis-compatible server: pure functions of its answers.

`bridge/monitoring/doctor.py` reads the answers and makes the other checks.
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
    "full",
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
#: Redis keeps buckets of remembered attempts in the compact encoding up to this setting.
_LISTPACK_ENTRIES = 256


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    #: What was checked.
    name: str
    #: `ok`, `warning` or `failure`.
    status: str
    #: The fact.
    text: str
    #: What to do; empty if the status is `ok`.
    remedy: str = ""
    #: Whether a server could not be reached.
    unreachable: bool = False


def product_version(info: Mapping[str, Any]) -> str:
    """The server's own version; Valkey also states the Redis version that it is compatible with."""
    return str(info.get("valkey_version") or info.get("redis_version"))


def version(info: Mapping[str, Any]) -> Finding:
    """The version check. `info`: the answer to INFO."""
    given = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in given.split(".")[:2] if part.isdigit())
    if numbers >= _OLDEST_VERSION:
        return Finding("version", OK, f"{product_version(info)}, 7.0 or newer")
    return Finding("version", FAILURE, f"{given} is older than 7.0", "install Redis 7.0 or newer, or Valkey")


def eviction(info: Mapping[str, Any]) -> Finding:
    """The check of the eviction policy. `info`: the answer to INFO or INFO memory."""
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Finding("maxmemory-policy", OK, "noeviction")
    return Finding(
        "maxmemory-policy",
        FAILURE,
        f"{policy}: the server would evict events and the record of published attempts",
        "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
    )


def full(info: Mapping[str, Any]) -> Finding:
    """Whether the server refuses writes for lack of memory. `info`: the answer to INFO memory."""
    limit = int(info.get("maxmemory", 0))
    # As the server counts: without the buffers of the append-only file and of the replicas.
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    if not limit or used < limit:
        return Finding("maxmemory", OK, "not reached")
    text = f"reached: {used / 1e6:.1f} MB of {limit / 1e6:.1f} MB used; the server refuses writes"
    return Finding("maxmemory", FAILURE, text, "raise maxmemory, or shorten bridge.retention")


def durability(info: Mapping[str, Any], appendfsync: str | None, *, status: str = WARNING) -> Iterator[Finding]:
    """The checks of persistence. `appendfsync`: None if it could not be read. `status`: of settings that lose data."""
    if not int(info.get("aof_enabled", 0)):
        yield Finding(
            "appendonly",
            status,
            "no: acknowledged data is lost when the server stops",
            "CONFIG SET appendonly yes, and the same in its configuration file",
        )
        return
    yield Finding("appendonly", OK, "yes")
    if info.get("aof_last_write_status", "ok") != "ok":
        yield Finding("append-only file", FAILURE, "the last write failed", "check the server's disk and log")
    if appendfsync == "always":
        yield Finding("appendfsync", OK, "always")
    elif appendfsync is None:
        yield Finding("appendfsync", WARNING, "cannot be read", "allow CONFIG GET for this user, or check it yourself")
    else:
        yield Finding(
            "appendfsync",
            status,
            f"{appendfsync}: a power failure loses the last second of acknowledged data",
            "CONFIG SET appendfsync always, and the same in its configuration file",
        )


def clock_skew(skew: float) -> Finding:
    """The clock check. `skew`: seconds by which the server's clock is ahead of ours."""
    if abs(skew) <= _CLOCK_SKEW_SECONDS:
        return Finding("clock", OK, f"the state server is {skew:+.1f} s off ours")
    return Finding(
        "clock", WARNING, f"the state server is {skew:+.1f} s off ours, limit 2 s", "run NTP on both machines"
    )


def memory(info: Mapping[str, Any]) -> Finding:
    """The memory check. `info`: the answer to INFO."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return Finding("memory", OK, f"{used / 1e6:.1f} MB used, no maxmemory set")
    text = f"{used / 1e6:.1f} MB of {limit / 1e6:.1f} MB used ({used / limit:.0%})"
    if used <= _MEMORY_SHARE * limit:
        return Finding("memory", OK, text)
    return Finding(
        "memory", WARNING, text, "raise maxmemory, or shorten bridge.retention; with a full server, webhooks get 503"
    )


def listpack(entries: str | None) -> Finding:
    """The check of the hash encoding. `entries`: setting `hash-max-listpack-entries`, None if it could not be read."""
    name = "hash-max-listpack-entries"
    if entries is None:
        return Finding(name, WARNING, "cannot be read", "allow CONFIG GET for this user, or check it yourself")
    if int(entries) >= _LISTPACK_ENTRIES:
        return Finding(name, OK, entries)
    return Finding(
        name,
        WARNING,
        f"{entries}: the record of attempts takes several times the memory",
        f"CONFIG SET {name} {_LISTPACK_ENTRIES}, and the same in its configuration file",
    )


def visibility(name: str, oldest: float | None) -> Finding:
    """The check of unacknowledged tasks. `oldest`: age of the oldest in seconds, None if there is none.

    A Redis broker hands a task to another worker after the workers' `visibility_timeout`, even if it still runs.
    """
    if oldest is None:
        return Finding(name, OK, "no unacknowledged task")
    text = f"the oldest unacknowledged task is {max(oldest, 0):.0f} s old"
    if oldest <= _VISIBILITY_SECONDS:
        return Finding(name, OK, text)
    remedy = "set visibility_timeout of every worker on this broker above its longest task, or find the dead worker"
    return Finding(name, WARNING, f"{text}: it will run again, or already does", remedy)
