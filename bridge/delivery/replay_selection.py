"""Reads what a replay job chooses, part by part, oldest entry first: for its preview and for its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

import redis

from bridge.config.model import Subscription
from bridge.delivery.groups import fingerprint
from bridge.delivery.letters import LetterItem, letter_fields
from bridge.delivery.record import DeadLetter, Delivery, event_problem
from bridge.delivery.replay_archive import Archive, Archived
from bridge.delivery.replay_jobs import DEAD_LETTERS, EVENTS, Part, Replay
from bridge.delivery.subscription_filter import takes_event
from bridge.journal.entries import Quarantined, StoredEvent, StreamItems
from bridge.journal.event_fields import EventItem, event_fields
from bridge.journal.quarantine import quarantined
from bridge.journal.reading import stored_event
from bridge.query import Field, Fields, Glob, Number, Query, parse
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = [
    "ELSEWHERE",
    "EXCLUDED",
    "GONE",
    "REPLAY",
    "UNREADABLE",
    "Candidate",
    "Page",
    "Selection",
    "fields_of",
    "stream_of",
]

#: What to do with an entry that was read. `UNREADABLE`: its event is missing or damaged. `ELSEWHERE`: nothing,
#: it belongs to another part.
REPLAY, EXCLUDED, GONE, UNREADABLE, ELSEWHERE = "replay", "excluded", "gone", "unreadable", "elsewhere"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry that was read."""

    #: Stream id.
    entry: str
    #: One of the five words above.
    verdict: str
    #: The dead letter, the event or the quarantined record; None if it is gone, or a dead letter that is excluded or
    #: only counted.
    item: DeadLetter | StoredEvent | Quarantined | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The next entries of a part. `after`: the last of them. `last`: whether nothing follows."""

    candidates: list[Candidate]
    after: str
    last: bool


class Selection:
    """What one job chooses. `subscriptions`: those of bridge.yaml. Raises `QueryError` if its filter cannot be read."""

    def __init__(
        self,
        client: redis.Redis,
        job: Replay,
        subscriptions: Mapping[str, Subscription],
        *,
        archive: Archive | None = None,
    ) -> None:
        """`archive`: that of the job, if it has one."""
        self._client = client
        self._job = job
        self._subscriptions = subscriptions
        self._archive = archive
        self._query: Query = parse(job.filter, fields_of(job.kind), job.created)

    def page(self, part: Part, after: str, limit: int, *, count: bool = False) -> Page:
        """The next `limit` entries of a part after the position `after`, "" for its beginning.

        `count`: dead letters are not parsed, for a caller that only counts them. Raises `StateUnavailable` and
        `ArchiveUnavailable`.
        """
        if self._archive is not None:
            rows = self._archive.rows(part, after, limit)
            chosen = [self._of_archived(part, row) for row in rows]
            return Page(chosen, chosen[-1].entry if chosen else after, len(rows) < limit)
        if part.entries is not None:
            return self._named(part, part.entries, after, limit, count)
        first = f"({after}" if after else part.first
        with state_errors():
            answer = self._client.xrange(stream_of(self._job.kind, part), first, part.last, count=limit)
        items = cast("StreamItems", answer)
        candidates = [self._candidate(part, entry, fields, count) for entry, fields in items]
        reached = candidates[-1].entry if candidates else part.last
        return Page(candidates, reached, len(items) < limit or reached == part.last)

    def record(self, candidate: Candidate) -> tuple[str, str, str, str]:
        """(kind, entry, event id, record) of a candidate to be replayed, as replay_batch.lua takes them."""
        item = candidate.item
        if isinstance(item, DeadLetter):
            old = item.delivery
            new = replace(
                old,
                tries=0,
                awaiting_receipt=False,
                replays=old.replays + 1,
                event=item.event.decode(),
                replay=self._job.id,
            )
            return "letter", candidate.entry, old.id, new.to_json()
        if not isinstance(item, StoredEvent):
            raise TypeError("a quarantined record has no delivery")
        delivery = Delivery(
            id=item.id,
            type=item.type,
            source=item.source,
            attempt=item.attempt,
            entry=item.entry_id,
            replays=1,
            replay=self._job.id,
        )
        if self._job.archive:
            # The journal no longer has it.
            return "archived", candidate.entry, item.id, replace(delivery, event=item.event.decode()).to_json()
        return "event", candidate.entry, item.id, delivery.to_json()

    def _named(self, part: Part, entries: Sequence[str], after: str, limit: int, count: bool) -> Page:
        left = entries[entries.index(after) + 1 :] if after else entries
        chosen = left[:limit]
        with state_errors():
            pipe = self._client.pipeline(transaction=False)
            for entry in chosen:
                pipe.xrange(stream_of(self._job.kind, part), entry, entry)
            answers = cast("list[StreamItems]", pipe.execute())
        candidates = [
            self._candidate(part, *items[0], count) if items else Candidate(entry, GONE)
            for entry, items in zip(chosen, answers, strict=True)
        ]
        return Page(candidates, chosen[-1] if chosen else after, len(left) <= limit)

    def _candidate(self, part: Part, entry: bytes, fields: dict[bytes, bytes], count: bool) -> Candidate:
        where = entry.decode()
        item: DeadLetter | StoredEvent | Quarantined | None
        try:
            if self._job.kind == DEAD_LETTERS:
                stored = LetterItem(part.subscription, part.partition, where, fields)
                verdict = self._of_letter(stored)
                # What is excluded is not even parsed.
                item = None if count or verdict == EXCLUDED else stored.letter
            elif self._job.kind == EVENTS:
                item = stored_event(entry, fields, part.partition)
                verdict = self._of_event(part, item)
            else:
                item = quarantined(entry, fields)
                verdict = REPLAY if self._query.matches(item) else EXCLUDED
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            # Written by another version, or damaged: counted, and left where it is.
            return Candidate(where, UNREADABLE)
        return Candidate(where, verdict, item)

    def _of_archived(self, part: Part, row: Archived) -> Candidate:
        if not row.is_ours:
            return Candidate(row.position, ELSEWHERE)
        if row.in_journal:
            return Candidate(row.position, EXCLUDED)
        if row.event is None:
            return Candidate(row.position, UNREADABLE)
        try:
            return Candidate(row.position, self._of_event(part, row.event), row.event)
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            return Candidate(row.position, UNREADABLE)

    def _of_letter(self, item: LetterItem) -> str:
        if self._job.group and self._job.group != (item.group or _group_of(item.letter)):
            return EXCLUDED
        if not self._query.matches(item):
            return EXCLUDED
        return UNREADABLE if event_problem(item.event) else REPLAY

    def _of_event(self, part: Part, event: StoredEvent) -> str:
        wanted = takes_event(
            self._subscriptions[part.subscription].filter,
            event_type=event.type,
            source=event.source,
            event=event.event,
        )
        return REPLAY if wanted and self._query.matches(EventItem(event)) else EXCLUDED


def stream_of(kind: str, part: Part) -> str:
    """The stream that a part reads."""
    if kind == DEAD_LETTERS:
        return keys.dead(part.subscription, part.partition)
    return keys.journal(part.partition) if kind == EVENTS else keys.quarantine(part.partition)


@cache
def fields_of(kind: str) -> Fields:
    """The fields by which a kind of replay is filtered; everyone who may replay may see persons."""
    if kind == DEAD_LETTERS:
        return letter_fields(persons=True)
    return event_fields(persons=True) if kind == EVENTS else _quarantine_fields()


def _quarantine_fields() -> Fields:
    return Fields(
        Field("source", Glob(), lambda item: item.source, "name of the source"),
        Field("origin", Glob(), lambda item: item.origin, "which path brought it"),
        Field("reason", Glob(), lambda item: item.reason, "why it could not be read"),
        Field("request", Glob(), lambda item: item.request_id, "id of its request"),
        Field("bytes", Number(), lambda item: len(item.body), "length of its body"),
        search=lambda item: (item.reason, item.body.decode(errors="replace")),
    )


def _group_of(letter: DeadLetter) -> str:
    """The failure group of a dead letter of an earlier version, as `FailureGroups.index_letters` computes it."""
    return fingerprint(letter.reason, None, letter.delivery.error or letter.reason)
