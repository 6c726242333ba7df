"""The table of docs/capacity.md, by the same calculation as `attempt-bridge capacity`."""

from __future__ import annotations

from bridge.config.model import Retention
from bridge.journal.capacity import Load, capacity, disk, gigabytes, maxmemory
from bridge.text import duration_text

__all__ = ["capacity_table"]

_DAY = 86_400.0
_SHORT = Retention(events=2 * _DAY, requests=_DAY)
#: Attempts a day -> retention; the rest has its default.
_ROWS = (
    (1_000, Retention()),
    (10_000, Retention()),
    (100_000, Retention()),
    (300_000, Retention()),
    (1_000_000, Retention()),
    (1_000_000, _SHORT),
    (3_000_000, _SHORT),
    (10_000_000, _SHORT),
    (10_000_000, Retention()),
)
_HEAD = (
    "| attempts a day | events, requests | state server's memory | `maxmemory` | disk | cores "
    "| one state server | or a cluster |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def capacity_table() -> str:
    """Markdown, for two subscriptions."""
    return _HEAD + "".join(_row(per_day, retention) for per_day, retention in _ROWS)


def _row(per_day: int, retention: Retention) -> str:
    estimate = capacity(Load(per_day=per_day, subscriptions=2, retention=retention))
    kept = f"{duration_text(retention.events)}, {duration_text(retention.requests)}"
    enough = "enough" if per_day <= estimate.most_per_day else f"up to {estimate.most_per_day:,}"
    used = estimate.state_bytes
    sizes = (gigabytes(size) for size in (used, maxmemory(used), disk(used)))
    servers = estimate.cluster
    cluster = "" if servers is None else f"{servers.primaries} x {gigabytes(servers.state_bytes)}"
    return f"| {per_day:,} | {kept} | {' | '.join(sizes)} | {estimate.all_cores} | {enough} | {cluster} |\n"
