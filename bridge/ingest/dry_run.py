"""Predicts what ingesting records would do now, without publishing, by the rules of `bridge/ingest/pipeline.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bridge.errors import Unreadable
from bridge.ingest.context import IngestContext
from bridge.ingest.period import OUTSIDE_PERIOD, Period
from bridge.ingest.submissions import buildable_attempt
from bridge.journal import PUBLISHED_OUTCOMES
from bridge.journal.reading import Reader
from bridge.sdk.records import former_digest
from bridge.sdk.vendor import PUBLISHABLE_STATUSES, NormalisedAttempt, Record, material_digest

__all__ = ["DryRun", "Preview", "expected_outcome"]


@dataclass(frozen=True, slots=True)
class Preview:
    """One publishable record and what publishing it would do."""

    #: The record as the vendor listed it.
    record: Record
    #: The record, normalised.
    attempt: NormalisedAttempt
    #: See `expected_outcome`.
    outcome: str


def expected_outcome(attempt: NormalisedAttempt, last: tuple[int, bytes] | None) -> str:
    """`published`, `duplicate`, `stale` or `revised`, as publish_once.lua decides for a polled attempt.

    `last`: order and digest of the attempt's newest event; None if the attempt is unknown.
    """
    if last is None:
        return "published"
    order, digest = last
    if digest in (material_digest(attempt), former_digest(attempt)):
        return "duplicate"
    return "stale" if attempt.order < order else "revised"


@dataclass(kw_only=True)
class DryRun:
    """A dry run over the records of one source, page by page; a row that a later page repeats counts as new only once.

    Nothing is stored except sittings, for vendors that reuse attempt ids: they are numbered as they are read.
    """

    #: The context of the source.
    context: IngestContext
    #: Reads what is remembered of attempts.
    reader: Reader
    #: Attempts that finished at another time are left alone.
    period: Period | None = None
    #: outcome -> number of records so far.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: attempt id -> order and digest of its newest event if everything so far had been published.
    _newest: dict[str, tuple[int, bytes]] = field(default_factory=dict, init=False)

    def preview(self, records: Sequence[Record], *, now: float) -> list[Preview]:
        """The publishable records, in their order. Raises `StateUnavailable`."""
        source = self.context.source.name
        readable = self._normalised(records, now)
        withdrawn = self.context.consents.withdrawn_keys(source, (attempt for _, attempt in readable))
        publishable = [
            (record, attempt)
            for record, attempt in readable
            if attempt.status in PUBLISHABLE_STATUSES and withdrawn.isdisjoint(attempt.consent)
        ]
        self.outcomes["ignored"] += len(readable) - len(publishable)
        memories = self.reader.attempts(source, [attempt.attempt_id for _, attempt in publishable])
        previews = []
        for record, attempt in publishable:
            memory = memories.get(attempt.attempt_id)
            known = None if memory is None else (memory.order, memory.digests[-1])
            outcome = expected_outcome(attempt, self._newest.get(attempt.attempt_id, known))
            if outcome in PUBLISHED_OUTCOMES:
                self._newest[attempt.attempt_id] = (attempt.order, material_digest(attempt))
            self.outcomes[outcome] += 1
            previews.append(Preview(record, attempt, outcome))
        return previews

    def _normalised(self, records: Sequence[Record], now: float) -> list[tuple[Record, NormalisedAttempt]]:
        readable = []
        for record in records:
            try:
                attempt = buildable_attempt(self.context, record, now)
            except Unreadable:
                self.outcomes["quarantined"] += 1
                continue
            if self.period is not None and self.period.leaves_out(attempt):
                self.outcomes[OUTSIDE_PERIOD] += 1
            else:
                readable.append((record, attempt))
        if not self.context.vendor.sittings:
            return readable
        sittings = [(attempt.attempt_id, attempt.sitting, attempt.started_at) for _, attempt in readable]
        ids = self.context.sittings.resolve(self.context.source.name, sittings, now=now)
        return [
            (record, replace(attempt, attempt_id=attempt_id))
            for (record, attempt), attempt_id in zip(readable, ids, strict=True)
        ]
