"""Raises the layout of the state once every running process can work with it, and checks it when a process starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import cast

import redis

from bridge.errors import ConfigError, StateUnavailable
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.layout import FIELD, LAYOUT, LAYOUTS, new_name, refuse_newer, stored_layout
from bridge.state.lease import Lease
from bridge.state.nodes import require_whole
from bridge.state.running import Running, RunningProcesses

__all__ = ["Unready", "Upgrade", "make_current", "register", "unready"]

_PARTS = ("web", "worker", "beat", "dispatch")
_LEASE = "layout"
#: Renewed with every page of keys.
_LEASE_SECONDS = 30.0
_PAGE = 500


def unready(client: redis.Redis, layout: int, now: float) -> list[str]:
    """The running processes that cannot work with a layout, as `web:host:4711 (0.1.0, layout 2)`.

    `now`: UNIX seconds. Raises `StateUnavailable`.
    """
    stored = stored_layout(client)
    with state_errors():
        running = RunningProcesses(client).read(now)
        beats = [bool(client.exists(keys.heartbeat(part))) for part in _PARTS]
    registered = [_described(each, stored) for each in running if layout not in (each.layouts or (stored,))]
    # Earlier versions are not in the register: only their part's heartbeat shows them.
    named = {each.name for each in running}
    silent = [part for part, beats_now in zip(_PARTS, beats, strict=True) if beats_now and part not in named]
    return registered + [f"{part} (an earlier version)" for part in silent]


def _described(each: Running, stored: int | None) -> str:
    layouts = " and ".join(map(str, each.layouts or (stored,)))
    return f"{each.process} ({each.version or 'an earlier version'}, layout {layouts})"


def make_current(client: redis.Redis, token: str, now: float) -> None:
    """Before a process starts: give a new state our layout, upgrade one that is too old.

    `token` identifies the process. `now`: UNIX seconds. Raises `ConfigError` for a newer layout, `StateUnavailable`,
    also while the process must wait for others.
    """
    with state_errors():
        require_whole(client)
    upgrade = Upgrade(client, token)
    if not upgrade.needed():
        return
    try:
        if upgrade.run(now) is None:
            raise StateUnavailable("another process is upgrading it")
    except Unready as error:
        raise StateUnavailable(f"it will be upgraded when these have ended: {error}") from None


def register(client: redis.Redis, process: str, digest: str, now: float) -> None:
    """Put a starting process into the register, after `make_current`. `digest`: of its configuration.

    Raises `StateUnavailable` if an upgrade has begun meanwhile, `ConfigError` if it has made a newer layout.
    """
    processes = RunningProcesses(client)
    with state_errors():
        processes.report(process, digest, now, now)
        # An upgrade takes its lease before it reads the register: either it sees this process, or this sees the lease.
        upgrades = bool(client.exists(keys.lease(_LEASE)))
    layout = stored_layout(client)
    if upgrades or layout not in (None, *LAYOUTS):
        with state_errors():
            processes.leave(process)
        refuse_newer(layout)
        raise StateUnavailable("another process is upgrading it")


class Unready(Exception):
    """Running processes, named in the message, cannot work with the layout."""


class Upgrade:
    """The upgrade of a state to layout 2. Each key is renamed in one step, so another process can
    continue if this one is killed.
    """

    def __init__(self, client: redis.Redis, token: str) -> None:
        """`token` identifies the process."""
        self._client = client
        self._lease = Lease(client, _LEASE, token, seconds=_LEASE_SECONDS)

    def needed(self) -> bool:
        """Whether the state has a layout that is too old for us. A new state gets ours.

        Raises `ConfigError` for a newer layout, `StateUnavailable`.
        """
        layout = stored_layout(self._client)
        refuse_newer(layout)
        if layout is None:
            with state_errors():
                self._client.hsetnx(keys.BRIDGE, FIELD, str(LAYOUT))
        return layout is not None and layout < LAYOUTS[0]

    def plan(self) -> Counter[str]:
        """How many keys must be renamed, by the beginning of their names. Raises `StateUnavailable`."""
        return Counter(":".join(old.split(":")[:2]) for page in self._pages() for old in page)

    def run(self, now: float) -> int | None:
        """Rename what has an old name; returns how many, or None if another process is doing it. `now`: UNIX seconds.

        Raises `Unready` while a process runs that cannot work with the new layout, `ConfigError` where both names
        exist, `StateUnavailable`.
        """
        if not self._lease.hold():
            return None
        if waits_for := unready(self._client, LAYOUTS[0], now):
            self._lease.release()
            raise Unready(", ".join(waits_for))
        renamed = 0
        for page in self._pages():
            if not self._lease.hold():
                return None
            for old, new in page.items():
                renamed += self._rename(old, new)
        if not self._lease.hold():
            return None
        with state_errors():
            self._client.hset(keys.BRIDGE, FIELD, str(LAYOUTS[0]))
        self._lease.release()
        return renamed

    def _pages(self) -> Iterator[dict[str, str]]:
        """Old name -> new name."""
        cursor = 0
        while True:
            with state_errors():
                cursor, stored = cast("tuple[int, list[bytes]]", self._client.scan(cursor, match="ab:*", count=_PAGE))
            names = {old: new_name(old) for old in (name.decode(errors="surrogateescape") for name in stored)}
            if page := {old: new for old, new in names.items() if new is not None}:
                yield page
            if not cursor:
                return

    def _rename(self, old: str, new: str) -> bool:
        """Rename one key; False if another process has renamed it already."""
        before, after = (name.encode(errors="surrogateescape") for name in (old, new))
        with state_errors():
            try:
                if self._client.renamenx(before, after):
                    return True
            except redis.ResponseError as error:
                if "no such key" in str(error).lower():
                    return False
                raise
        raise ConfigError(
            f"the state has both {old} and {new}: a process of an earlier version has written since the upgrade began. "
            f"Remedy: stop it, move what it wrote from {old} to {new} or delete it, and start again"
        )
