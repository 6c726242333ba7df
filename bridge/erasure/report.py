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
_BACKUPS = (
    "Copies of the state made before this time, queues of brokers and what receivers have stored still have the data."
)


def report_of(
    found: Found, *, server: str, ended: float, retention: Retention, rewritten: float | None
) -> Mapping[str, Any]:
    """The members of the report. `ended`: when all was removed; `rewritten`: when the append-only file was, or None.

    Times are UNIX seconds; None: there was nothing to remove, or, of the disk, nobody knows.
    """
    kept = [getattr(retention, name) for place, name in _STREAMS.items() if found.counts.get(place)]
    latest = ended + max(kept, default=0.0) if found.counts else None
    if not found.counts:
        remedy = ""
    elif rewritten is not None:
        remedy = "The disk is clean. Restart the bridge to clear the server's memory at once."
    else:
        remedy = (
            "On the state server: CONFIG SET aof-use-rdb-preamble no, BGREWRITEAOF, then delete RDB files and restart "
            "it. Without that the bytes stay until the time given here."
        )
    return {
        "server": server,
        "ended": ended,
        "off_disk": None if not found.counts else rewritten or latest,
        "out_of_memory": latest,
        "remedy": remedy,
        "backups": _BACKUPS if found.counts else "",
    }
