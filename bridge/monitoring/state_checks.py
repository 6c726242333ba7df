"""Whether a state server is safe to use and holds this bridge's state: asked before the first write of a process."""

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
    """Store name and partitions at the first start; later starts must use the same, or attempts would be lost track of.

    Raises `ConfigError` if they differ, `StateUnavailable`.
    """
    with state_errors():
        client.hsetnx(keys.BRIDGE, "name", bridge.name)
        client.hsetnx(keys.BRIDGE, "partitions", str(bridge.partitions))
        finding = identity(bridge, cast("dict[bytes, bytes]", client.hgetall(keys.BRIDGE)))
    if finding.status == FAILURE:
        raise ConfigError(f"{finding.text}. Remedy: {finding.remedy}")


def identity(bridge: BridgeConfig, stored: Mapping[bytes, bytes]) -> Finding:
    """Whether the state belongs to this bridge. `stored`: what `keys.BRIDGE` holds."""
    fixed = {name.decode(): value.decode() for name, value in stored.items()}
    if not fixed:
        return Finding("partitions", OK, f"{bridge.partitions}, permanent from the first start on")
    for member, given in (("partitions", str(bridge.partitions)), ("name", bridge.name)):
        if fixed.get(member, given) != given:
            return Finding(
                member,
                FAILURE,
                f"bridge.{member} is {given}, but this state was created with {fixed[member]}",
                f"set bridge.{member}: {fixed[member]}, or use another state server",
            )
    return Finding("partitions", OK, str(bridge.partitions))


def layout(stored: int | None) -> Finding:
    """Whether we work with the layout of the state. `stored`: None if it holds no bridge yet."""
    if stored is None or stored in LAYOUTS:
        return Finding("layout", OK, f"{stored or LAYOUT}; this version works with {layouts_text()}")
    text = f"{stored}; this version works with {layouts_text()}"
    if stored < LAYOUT:
        return Finding("layout", FAILURE, text, "attempt-bridge state upgrade, or start the bridge, which upgrades it")
    return Finding("layout", FAILURE, text, "install the version that wrote it, or a newer one")


def versions(running: Sequence[Running]) -> Finding:
    """Whether all processes are of the version that asks."""
    if all(each.version == __version__ for each in running):
        return Finding("versions", OK, __version__)
    text = f"{versions_text(running)}; this is {__version__}"
    return Finding("versions", WARNING, text, "end the update: replace the processes of the other versions")
