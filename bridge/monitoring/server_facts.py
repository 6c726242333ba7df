"""What state servers report about themselves, in numbers. `doctor.py` judges them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import redis

from bridge.errors import StateUnavailable
from bridge.monitoring.server_checks import product_version
from bridge.state.cluster.client import ClusterClient
from bridge.state.errors import state_errors

__all__ = ["ServerFacts", "read_server_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """The facts of one server; None: it does not report this one."""

    product: str
    version: str
    #: Seconds since it started.
    uptime: float
    memory_bytes: int
    #: 0: no limit.
    memory_limit_bytes: int
    #: What it does when memory is full, such as `noeviction`.
    policy: str
    append_only: bool
    #: `always`, `everysec` or `no`.
    append_fsync: str | None
    #: Whether the last write of its append-only file succeeded.
    last_write_ok: bool
    clients: int
    #: Seconds by which its clock is ahead of ours.
    clock_offset: float


def read_server_facts(client: redis.Redis, now: Callable[[], float]) -> dict[str, ServerFacts]:
    """The facts of a single server, under "", or of each primary of a cluster that answers, under its host:port.

    Raises `StateUnavailable`.
    """
    if not isinstance(client, ClusterClient):
        return {"": _read(client, now)}
    facts: dict[str, ServerFacts] = {}
    with state_errors():
        addresses = client.map.primaries()
    for host, port in addresses:
        # `doctor` reports which of them are away.
        with suppress(StateUnavailable), state_errors():
            facts[f"{host}:{port}"] = _read(client.reach((host, port)), now)
    return facts


def _read(client: redis.Redis, now: Callable[[], float]) -> ServerFacts:
    with state_errors():
        before = now()
        seconds, microseconds = client.time()
        offset = seconds + microseconds / 1e6 - (before + now()) / 2
        info = cast("Mapping[str, Any]", client.info())
        fsync: str | None = None
        # Its access control may deny CONFIG.
        with suppress(redis.ResponseError):
            fsync = cast("dict[str, str]", client.config_get("appendfsync")).get("appendfsync")
    return ServerFacts(
        product=str(info.get("server_name", "redis")),
        version=product_version(info),
        uptime=float(info.get("uptime_in_seconds", 0)),
        memory_bytes=int(info.get("used_memory", 0)),
        memory_limit_bytes=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "unknown")),
        append_only=bool(int(info.get("aof_enabled", 0))),
        append_fsync=fsync,
        last_write_ok=info.get("aof_last_write_status", "ok") == "ok",
        clients=int(info.get("connected_clients", 0)),
        clock_offset=offset,
    )
