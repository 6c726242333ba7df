"""What ingesting polled records would do now, without doing it: the rules of `bridge/ingest/pipeline.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bridge.errors import Unreadable
from bridge.ingest.context import IngestContext
from bridge.ingest.intake import read_record, unreadable_on_error
from bridge.ingest.submissions import attempt_submission
from bridge.journal import POLL
from bridge.journal.reading import Reader
from bridge.sdk.vendor import PUBLISHABLE_STATUSES, NormalisedAttempt, Record, material_digest

__all__ = ["DryRun", "Preview", "verdict"]


@dataclass(frozen=True, slots=True)
class Preview:
    """One record that is news in kind. `outcome`: see `verdict`."""

    record: Record
    attempt: NormalisedAttempt
    outcome: str


def verdict(news: NormalisedAttempt, last: tuple[int, bytes] | None) -> str:
    """`published`, `duplicate`, `stale` or `revised`, as publish_once.lua decides for polled news.

    `last`: order and digest of the attempt's newest event; None: the attempt is unknown.
    """
    if last is None:
        return "published"
    order, digest = last
    if material_digest(news) == digest:
        return "duplicate"
    return "stale" if news.order < order else "revised"


@dataclass(kw_only=True)
class DryRun:
    """Looks at records of one source page by page; a row that a later page repeats is news once. `outcomes`: so far.

    Only the order of sittings is stored, for vendors that reuse an id: they are counted as they are seen.
    """

    context: IngestContext
    reader: Reader
    outcomes: Counter[str] = field(default_factory=Counter)
    #: attempt id -> order and digest of what would be its newest event by now
    _pretended: dict[str, tuple[int, bytes]] = field(default_factory=dict, init=False)

    def preview(self, records: Sequence[Record], *, now: float) -> list[Preview]:
        """The records that are news in kind, in their order. Raises `StateUnavailable`."""
        found = self._normalised(records, now)
        gone = self.context.consents.withdrawn(self.context.source.name, (one.consent for _, one in found))
        fresh = [
            (record, one)
            for record, one in found
            if one.status in PUBLISHABLE_STATUSES and gone.isdisjoint(one.consent)
        ]
        self.outcomes["ignored"] += len(found) - len(fresh)
        memories = self.reader.attempts(self.context.source.name, [one.attempt_id for _, one in fresh])
        previews = []
        for record, news in fresh:
            memory = memories.get(news.attempt_id)
            known = None if memory is None else (memory.order, memory.digests[-1])
            outcome = verdict(news, self._pretended.get(news.attempt_id, known))
            if outcome in ("published", "revised"):
                self._pretended[news.attempt_id] = (news.order, material_digest(news))
            self.outcomes[outcome] += 1
            previews.append(Preview(record, news, outcome))
        return previews

    def _normalised(self, records: Sequence[Record], now: float) -> list[tuple[Record, NormalisedAttempt]]:
        vendor, source = self.context.vendor, self.context.source
        found = []
        for record in records:
            try:
                news = read_record(self.context, record, now)
                with unreadable_on_error(source.name, "peek"):
                    # What could not be built would not be published.
                    attempt_submission(self.context, news, origin=POLL, now=now)
                found.append((record, news))
            except Unreadable:
                self.outcomes["quarantined"] += 1
        if not vendor.sittings:
            return found
        sittings = [(one.attempt_id, one.sitting, one.started_at) for _, one in found]
        ids = self.context.sittings.resolve(source.name, sittings, now=now)
        return [(record, replace(one, attempt_id=name)) for (record, one), name in zip(found, ids, strict=True)]
