"""A backfill as it is shown. Reads nothing but the source's budget."""

from __future__ import annotations

from typing import Any

from bridge import clock
from bridge.journal import PUBLISHED_OUTCOMES
from bridge.polling.backfill_jobs import Backfill, share_read
from bridge.sdk.vendor import streams
from bridge.services import Services
from schemas.event import format_time

__all__ = ["backfill_row", "share"]


def share(services: Services, job: Backfill) -> float:
    """The share of the period that is read, 0 to 1."""
    source = services.config.sources[job.source]
    polls = streams(services.vendors[source.vendor], source.options)

    def position(stream: str, cursor: str) -> float:
        # The cursor of a stream that no longer exists cannot be read.
        return polls[stream].position(cursor) if stream in polls else job.first

    return share_read(job, position)


def backfill_row(services: Services, job: Backfill) -> dict[str, Any]:
    """The backfill with its progress; `progress` and `calls_left` are None once its source is not configured.

    Raises `StateUnavailable`.
    """
    # The cursors of a source that was removed from bridge.yaml cannot be read.
    source = services.config.sources.get(job.source)
    left = None if source is None else services.budgets.status(source.name, source.budget, services.now()).left
    return {
        "id": job.id,
        "source": job.source,
        "state": job.state,
        "first": _iso(job.first),
        "last": _iso(job.last),
        "streams": {name: "read" if name in job.finished else job.cursors.get(name) for name in job.streams},
        "reprocess": job.reprocess,
        "rate": job.rate,
        "dry_run": job.dry_run,
        "progress": None if source is None else round(share(services, job), 4) if job.streams else 1.0,
        "pages": job.pages,
        "records": job.records,
        "new": sum(job.outcomes.get(outcome, 0) for outcome in PUBLISHED_OUTCOMES),
        "calls": job.calls,
        "calls_left": left,
        "outcomes": dict(job.outcomes),
        "stored": None if job.stored is None else {"quarantined": job.stored[0], "requests": job.stored[1]},
        "waits": job.waits,
        "waits_until": _iso(job.waits_until),
        "error": job.error or "",
        "created": _iso(job.created),
        "updated": _iso(job.updated),
        "by": job.by,
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else format_time(clock.to_datetime(moment))
