"""The version of the names of keys in the state server, its layout, and the upgrade from the earlier one.

Layout 2 gives all keys that one script touches one hash tag, layout 3 finds partitions by digest (partitions.py). A
process works with both: only a new state has layout 3. It upgrades layout 1 to 2 while no other process runs, and
refuses a newer one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

import redis

from bridge.errors import ConfigError, StateUnavailable
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.lease import Lease

__all__ = [
    "LAYOUT",
    "LAYOUTS",
    "Upgrade",
    "layouts_text",
    "make_current",
    "new_name",
    "processes_of_earlier_version",
    "require_layout",
    "stored_layout",
]

#: The layout that a new state gets, and all that processes of this version work with.
LAYOUT = 3
LAYOUTS = (2, LAYOUT)
_FIELD = "layout"
_PARTS = ("web", "worker", "beat", "dispatch")
#: Seconds; renewed with every page of keys.
_LEASE_SECONDS = 30.0
_PAGE = 500

_NAME = "([a-z0-9][a-z0-9-]{0,62})"
_OF_PARTITION = rf"{_NAME}(?::{{(\d+)}})?"
#: Names of layout 1 -> what they are called now, of (source or subscription, rest or partition).
_RENAMED: tuple[tuple[re.Pattern[str], Callable[[str, str], str]], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (rf"ab:retry:{_OF_PARTITION}", lambda name, p: keys.retry(name, int(p or 0))),
        (rf"ab:dead:{_OF_PARTITION}", lambda name, p: keys.dead(name, int(p or 0))),
        (rf"ab:deliveries:{_OF_PARTITION}", lambda name, p: keys.deliveries(name, int(p or 0))),
        (rf"ab:deliveries:{_OF_PARTITION}:claims", lambda name, p: keys.claims(name, int(p or 0))),
        (rf"ab:deliveries:{_OF_PARTITION}:state", lambda name, p: keys.subscription_state(name, int(p or 0))),
        (rf"ab:deliveries:{_NAME}:(pauses)", lambda name, _: keys.pauses(name)),
        (rf"ab:cursor:{_NAME}()", lambda name, _: keys.cursor_items(name)),
        (rf"ab:cursor:{_NAME}:(history)", lambda name, _: keys.cursor_history(name)),
        (rf"ab:cursor:{_NAME}:(.+)", keys.cursor),
        (rf"ab:budget:{_NAME}()", lambda name, _: keys.budget(name)),
        (rf"ab:budget:{_NAME}:(paused)", lambda name, _: keys.paused(name)),
        (rf"ab:budget:{_NAME}:(learned)", lambda name, _: keys.vendor_limit(name)),
        (rf"ab:clock:{_NAME}()", lambda name, _: keys.source_clock(name)),
        (rf"ab:watch:{_NAME}()", lambda name, _: keys.watch(name)),
        (rf"ab:watch:{_NAME}:(.+)", keys.watch_due),
        (rf"ab:generations:{_NAME}()", lambda name, _: keys.sittings(name)),
        (rf"ab:consent:{_NAME}()", lambda name, _: keys.consent(name)),
        (rf"ab:consent:{_NAME}:(.+)", keys.consented),
        (rf"ab:alarm:{_NAME}()", lambda name, _: keys.alarms(name)),
        (rf"ab:alarm:{_NAME}:(rhythm)", lambda name, _: keys.rhythm(name)),
        (rf"ab:reconciled:{_NAME}()", lambda name, _: keys.reconciliations(name)),
        (rf"ab:reconciled:{_NAME}:(failed)", lambda name, _: keys.failed_reconciliations(name)),
        (rf"ab:stuck:{_NAME}()", lambda name, _: keys.stuck_reading(name)),
        (rf"ab:vendor:{_NAME}:(.+)", keys.vendor_memory),
        (r"ab:(backfills)()", lambda *_: keys.backfills()),
        (r"ab:(backfills):(wishes)", lambda *_: keys.backfill_requests()),
    )
)


def new_name(old: str) -> str | None:
    """What a key of layout 1 is called now; None if it keeps its name."""
    for pattern, name in _RENAMED:
        if found := pattern.fullmatch(old):
            return name(found[1], found[2])
    return None


def stored_layout(client: redis.Redis) -> int | None:
    """The layout of the state, None if it holds no bridge yet. Raises `StateUnavailable`."""
    with state_errors():
        layout, name = cast("list[bytes | None]", client.hmget(keys.BRIDGE, [_FIELD, "name"]))
    if layout is None:
        return None if name is None else 1
    return int(layout)


def require_layout(client: redis.Redis) -> None:
    """For commands beside the server: raises `ConfigError` unless we work with its layout or it holds no bridge yet.

    Raises `StateUnavailable`.
    """
    layout = stored_layout(client)
    if layout is not None and layout < LAYOUTS[0]:
        raise ConfigError(
            f"the state has layout {layout}, this version works with {layouts_text()}. Remedy: `attempt-bridge state "
            "upgrade`, or start the bridge, which upgrades it"
        )
    _refuse_newer(layout)


def processes_of_earlier_version(client: redis.Redis) -> list[str]:
    """Which parts of the bridge run over a state that is to be upgraded. Raises `StateUnavailable`.

    No process of this version starts before the upgrade, so every heartbeat is an earlier version's.
    """
    with state_errors():
        beats = [bool(client.exists(keys.heartbeat(part))) for part in _PARTS]
    return [part for part, beat in zip(_PARTS, beats, strict=True) if beat]


def make_current(client: redis.Redis, token: str) -> None:
    """At the start of a process: give a new state our layout, upgrade one that is too old.

    `token` identifies the process. Raises `ConfigError` for a newer layout, `StateUnavailable`, also while the process
    must wait for others.
    """
    upgrade = Upgrade(client, token)
    if not upgrade.needed():
        return
    if running := processes_of_earlier_version(client):
        raise StateUnavailable(f"it is to be upgraded when {', '.join(running)} of an earlier version has ended")
    if upgrade.run() is None:
        raise StateUnavailable("another process upgrades it")


class Upgrade:
    """The upgrade of a state to layout 2. Each key is renamed in one step, so whoever is killed is continued."""

    def __init__(self, client: redis.Redis, token: str) -> None:
        """`token` identifies the process."""
        self._client = client
        self._lease = Lease(client, "layout", token, seconds=_LEASE_SECONDS)

    def needed(self) -> bool:
        """Whether the state has a layout that is too old for us. A new state gets ours.

        Raises `ConfigError` for a newer layout, `StateUnavailable`.
        """
        layout = stored_layout(self._client)
        _refuse_newer(layout)
        if layout is None:
            with state_errors():
                self._client.hsetnx(keys.BRIDGE, _FIELD, str(LAYOUT))
        return layout is not None and layout < LAYOUTS[0]

    def plan(self) -> Counter[str]:
        """How many keys are to be renamed, by the beginning of their names. Raises `StateUnavailable`."""
        return Counter(":".join(old.split(":")[:2]) for page in self._pages() for old in page)

    def run(self) -> int | None:
        """Rename what has an old name; returns how many, or None if another process is doing it.

        Raises `ConfigError` where both names exist, `StateUnavailable`.
        """
        renamed = 0
        for page in self._pages():
            if not self._lease.hold():
                return None
            for old, new in page.items():
                renamed += self._rename(old, new)
        if not self._lease.hold():
            return None
        with state_errors():
            self._client.hset(keys.BRIDGE, _FIELD, str(LAYOUTS[0]))
        self._lease.release()
        return renamed

    def _pages(self) -> Iterator[dict[str, str]]:
        """Old name -> new name."""
        cursor = 0
        while True:
            with state_errors():
                cursor, found = cast("tuple[int, list[bytes]]", self._client.scan(cursor, match="ab:*", count=_PAGE))
            names = {old: new_name(old) for old in (name.decode(errors="surrogateescape") for name in found)}
            if page := {old: new for old, new in names.items() if new is not None}:
                yield page
            if not cursor:
                return

    def _rename(self, old: str, new: str) -> bool:
        """False if somebody has renamed it already."""
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


def layouts_text() -> str:
    """The layouts that processes of this version work with, for people."""
    return f"layouts {' and '.join(map(str, LAYOUTS))}"


def _refuse_newer(layout: int | None) -> None:
    if layout is not None and layout > LAYOUT:
        raise ConfigError(
            f"the state has layout {layout}, this version works with {layouts_text()}. Remedy: install the version of "
            "the bridge that wrote it, or a newer one"
        )
