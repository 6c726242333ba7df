"""The layout of the state server, which is the version of its key names; `upgrade.py` raises it.

Layout 2 gives all keys that one script touches one hash tag, layout 3 finds partitions by digest (partitions.py). A
process works with both: a new or repartitioned state has layout 3. It upgrades layout 1 to 2 while no
other process runs, and refuses a newer one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

import redis

from bridge.errors import ConfigError
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = [
    "FIELD",
    "LAYOUT",
    "LAYOUTS",
    "layouts_text",
    "new_name",
    "refuse_newer",
    "require_layout",
    "stored_layout",
]

#: The layout that a new state gets, and all layouts that processes of this version work with.
LAYOUT = 3
LAYOUTS = (2, LAYOUT)
#: Its field in `keys.BRIDGE`.
FIELD = "layout"

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
        if match := pattern.fullmatch(old):
            return name(match[1], match[2])
    return None


def stored_layout(client: redis.Redis) -> int | None:
    """The layout of the state, None if it holds no bridge yet. Raises `StateUnavailable`."""
    with state_errors():
        layout, name = cast("list[bytes | None]", client.hmget(keys.BRIDGE, [FIELD, "name"]))
    if layout is None:
        return None if name is None else 1
    return int(layout)


def require_layout(client: redis.Redis) -> None:
    """For commands that run next to the processes: raises `ConfigError` unless this version works with the state's
    layout, or the state holds no bridge yet.

    Raises `StateUnavailable`.
    """
    layout = stored_layout(client)
    if layout is not None and layout < LAYOUTS[0]:
        raise ConfigError(
            f"the state has layout {layout}, this version works with {layouts_text()}. Remedy: `attempt-bridge state "
            "upgrade`, or start the bridge, which upgrades it"
        )
    refuse_newer(layout)


def layouts_text() -> str:
    """The layouts that processes of this version work with, for people."""
    return f"layouts {' and '.join(map(str, LAYOUTS))}"


def refuse_newer(layout: int | None) -> None:
    """Raise `ConfigError` for a layout that a newer version has made."""
    if layout is not None and layout > LAYOUT:
        raise ConfigError(
            f"the state has layout {layout}, this version works with {layouts_text()}. Remedy: install the version of "
            "the bridge that wrote it, or a newer one"
        )
