"""Whether a state server is safe to use and holds this bridge's state, checked before a process first writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import redis

from bridge import __version__
from bridge.config.model import BridgeConfig
from bridge.errors import ConfigError
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding, eviction, version
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.layout import LAYOUT, LAYOUTS, layouts_text
from bridge.state.repartition import STOPPED
from bridge.state.running import Running, versions_text

__all__ = ["identity", "layout", "require_safe_state", "require_same_bridge", "versions"]


def require_safe_state(client: redis.Redis) -> None:
    """Check the state server before the first write of a process.

    Raises `ConfigError` for a server that would lose data or lacks commands, `StateUnavailable` if it does not answer.
    """
    with state_errors():
        info = client.info()
    failures = [finding for finding in (version(info), eviction(info)) if finding.status == FAILURE]
    if failures:
        raise ConfigError(*(f"state server: {each.name}: {each.text}. Remedy: {each.remedy}" for each in failures))


def require_same_bridge(client: redis.Redis, bridge: BridgeConfig) -> None:
    """Store name and partitions at the first start. Later starts must serve all partitions that the state has, or
    the bridge would lose track of attempts; partitions that have become empty are given up.

    Raises `ConfigError` if they differ, `StateUnavailable`.
    """
    with state_errors():
        client.hsetnx(keys.BRIDGE, "name", bridge.name)
        client.hsetnx(keys.BRIDGE, "partitions", str(bridge.partitions))
        _give_up_empty_partitions(client, bridge.partitions)
        finding = identity(bridge, cast("dict[bytes, bytes]", client.hgetall(keys.BRIDGE)))
    if finding.status == FAILURE:
        raise ConfigError(f"{finding.text}. Remedy: {finding.remedy}")


def _give_up_empty_partitions(client: redis.Redis, served: int) -> None:
    """Give up partitions once attempts are spread over fewer and everything in the others has expired."""
    fields = ("partitions", "width", "from_partitions")
    spread, width, moving = cast("list[bytes | None]", client.hmget(keys.BRIDGE, fields))
    if width is None or moving is not None or not int(spread or 1) <= served < int(width):
        return
    names = [name.decode() for name in cast("set[bytes]", client.smembers(keys.subscriptions()))]
    for partition in range(served, int(width)):
        held = [keys.journal(partition), keys.requests(partition), keys.quarantine(partition)]
        held += [name_of(name, partition) for name in names for name_of in (keys.retry, keys.dead, keys.deliveries)]
        pipe = client.pipeline(transaction=False)
        for key in held:
            pipe.type(key)
        kinds = zip(held, pipe.execute(), strict=True)
        if any(kind != b"none" and (kind != b"stream" or client.xlen(key)) for key, kind in kinds):
            return
    client.hset(keys.BRIDGE, "width", served)


def identity(bridge: BridgeConfig, stored: Mapping[bytes, bytes]) -> Finding:
    """Whether the state belongs to this bridge. `stored`: what `keys.BRIDGE` holds."""
    fixed = {name.decode(): value.decode() for name, value in stored.items()}
    if not fixed:
        return Finding("partitions", OK, f"{bridge.partitions}, fixed at the first start")
    if fixed.get("name", bridge.name) != bridge.name:
        return Finding(
            "name",
            FAILURE,
            f"bridge.name is {bridge.name}, but this state was created with {fixed['name']}",
            f"set bridge.name: {fixed['name']}, or use another state server",
        )
    spread = int(fixed.get("partitions", bridge.partitions))
    width = int(fixed.get("width", spread))
    if bridge.partitions < width:
        return Finding(
            "partitions",
            FAILURE,
            f"bridge.partitions is {bridge.partitions}, but this state has {width}",
            f"set bridge.partitions: {width}, or use another state server",
        )
    if bridge.partitions > width:
        return Finding(
            "partitions",
            WARNING,
            f"attempts are spread over {spread} of {bridge.partitions}",
            f"attempt-bridge partitions repartition {bridge.partitions}, or set bridge.partitions: {width}",
        )
    if fixed.get("move") == STOPPED:
        before = fixed.get("from_partitions")
        text = f"the change from {before} to {spread} is stopped, and no attempt is forgotten until it is done"
        return Finding("partitions", WARNING, text, "attempt-bridge partitions resume")
    return Finding("partitions", OK, str(spread) if spread == width else f"{spread}, and events in {width}")


def layout(stored: int | None) -> Finding:
    """Whether this version works with the layout of the state. `stored`: None if it holds no bridge yet."""
    if stored is None or stored in LAYOUTS:
        return Finding("layout", OK, f"{stored or LAYOUT}; this version works with {layouts_text()}")
    text = f"{stored}; this version works with {layouts_text()}"
    if stored < LAYOUT:
        return Finding("layout", FAILURE, text, "attempt-bridge state upgrade, or start the bridge, which upgrades it")
    return Finding("layout", FAILURE, text, "install the version that wrote it, or a newer one")


def versions(running: Sequence[Running]) -> Finding:
    """Whether all processes are of the version that checks."""
    if all(each.version == __version__ for each in running):
        return Finding("versions", OK, __version__)
    text = f"{versions_text(running)}; this is {__version__}"
    return Finding("versions", WARNING, text, "finish the update: replace the processes of the other versions")
