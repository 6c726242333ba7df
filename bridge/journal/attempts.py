"""Attempts in the journal: the newest event of each, and the events of one, which are found by their ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

from bridge.journal.entries import Memory, StoredEvent
from bridge.journal.event_fields import EventItem
from bridge.journal.event_index import EventIndex
from bridge.journal.paging import id_order
from bridge.journal.reading import Reader
from bridge.journal.search import Place
from bridge.query import Query
from schemas.event import ATTEMPT_TYPES, COMPLETED, REVISED, VOIDED, event_id

__all__ = ["MAX_REVISIONS", "newest_of_attempts", "revisions"]

#: How many revisions of one attempt are looked for, the newest ones.
MAX_REVISIONS = 20


def newest_of_attempts(
    reader: Reader, steps: Iterable[tuple[Place, int, EventItem]], asked: Query, *, together: int
) -> Iterator[tuple[Place, int, EventItem | None]]:
    """The steps of a walk through the journal, newest first, for `search`.

    The item is None unless it matches and is the newest event of an attempt: its last one in the journal, or, for an
    attempt that is no longer remembered, the first one that the walk meets. `together`: steps for which the memory is
    read at once. Raises `StateUnavailable`.
    """
    steps, met = iter(steps), set[tuple[str, str]]()
    while chunk := list(islice(steps, together)):
        fitting = [item.stored.type in ATTEMPT_TYPES and asked.matches(item) for _, _, item in chunk]
        memories = _memories(reader, [item for (_, _, item), fits in zip(chunk, fitting, strict=True) if fits])
        for (place, size, item), fits in zip(chunk, fitting, strict=True):
            name = (item.stored.source, item.stored.attempt)
            memory = memories.get(name)
            newest = name not in met if memory is None else memory.entry_id == item.stored.entry_id
            if item.stored.type in ATTEMPT_TYPES:
                met.add(name)
            yield place, size, item if fits and newest else None


def _memories(reader: Reader, items: Iterable[EventItem]) -> dict[tuple[str, str], Memory]:
    by_source: dict[str, list[str]] = defaultdict(list)
    for item in items:
        by_source[item.stored.source].append(item.stored.attempt)
    return {
        (source, attempt): memory
        for source, attempts in by_source.items()
        for attempt, memory in reader.attempts(source, attempts).items()
    }


def revisions(
    reader: Reader, index: EventIndex, path: str, source: str, attempt: str, memory: Memory, *, now: float
) -> list[StoredEvent]:
    """The events of an attempt that are still in the journal, oldest first; only its newest `MAX_REVISIONS`.

    `path`: the CloudEvents source of `source`. Of those of an earlier version, which wrote no index, only
    the newest one is found. Raises `StateUnavailable`.
    """
    wanted = range(max(1, memory.revision - MAX_REVISIONS + 1), memory.revision + 1)
    idents = [
        event_id(path, attempt, kind, revision)
        for revision in wanted
        for kind in ((COMPLETED, VOIDED) if revision == 1 else (REVISED,))
    ]
    partitions = reader.with_events(source, attempt)
    events = index.find_exactly(idents, partitions, now, since_day=memory.first_day)
    newest = reader.newest_event(source, attempt, memory)
    by_id = {event.id: event for event in (*events, *(() if newest is None else (newest,))) if event.attempt == attempt}
    return sorted(by_id.values(), key=lambda event: id_order(event.entry_id.encode()))
