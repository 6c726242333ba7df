"""What an erasure promises: when the removed bytes leave disk and memory. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.config.model import Retention
from bridge.erasure.jobs import Found

__all__ = ["EMBEDDED", "EXTERNAL", "report_of"]

#: Who runs the state server: the bridge itself, or somebody else.
EMBEDDED, EXTERNAL = "embedded", "external"
#: Place -> the retention after which the server drops what a deleted entry leaves in its block.
_STREAMS = {
    "events": "events",
    "requests": "requests",
    "quarantine": "dead_letters",
    "dead_letters": "dead_letters",
    "answers": "dead_letters",
    "settled_deliveries": "deliveries",
}
_RESTART = "Restart the bridge to clear the server's memory at once."
#: Whether the file was rewritten, and whether it is the embedded server's -> what to do.
_REMEDIES = {
    (True, True): f"The disk is clean. {_RESTART}",
    (False, True): "It was not finished. Make it again.",
    (False, False): (
        "On the state server: CONFIG SET aof-use-rdb-preamble no, BGREWRITEAOF, delete RDB files, restart it. Until "
        "then its disk may hold the data."
    ),
}
_BACKUPS = (
    "Copies of the state made before this time, queues of brokers and what receivers have stored still have the data."
)


def report_of(
    tally: Found,
    *,
    server: str,
    ended: float,
    retention: Retention,
    rewritten: float | None = None,
    dry_run: bool = False,
) -> Mapping[str, Any]:
    """The members of the report. `ended`: when everything was removed; `rewritten`: when the append-only file was
    rewritten, or None.

    Times are UNIX seconds; `off_disk` is None where no time can be promised, both are None where nothing was removed.
    """
    removed = bool(tally.counts) and not dry_run
    kept = [getattr(retention, name) for place, name in _STREAMS.items() if tally.counts.get(place)]
    remedy = _REMEDIES[rewritten is not None, server == EMBEDDED] if removed else ""
    return {
        "server": server,
        "ended": ended,
        "off_disk": rewritten if removed else None,
        "out_of_memory": ended + max(kept, default=0.0) if removed else None,
        "remedy": remedy,
        "backups": _BACKUPS if removed else "",
    }
