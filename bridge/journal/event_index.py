"""Finds events by id, without reading the journal: publish_once.lua writes where each one is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import redis

from bridge.journal.entries import StoredEvent, StreamItems
from bridge.journal.reading import stored_event
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["SHORTEST", "EventIndex"]

#: Shorter beginnings of an id are not looked up.
SHORTEST = 4
_ID = re.compile(r"[0-9a-f-]{4,36}", re.ASCII)
_DAY = 86_400
#: Characters of an id that its hash has as the name of a field.
_FIELD = 16
#: Places that are looked at. Two would show that a beginning is not unique, but their events may have been deleted.
_ENOUGH = 20


class EventIndex:
    """The index of event ids. `keep_events`: seconds for which events are kept, `retention.events`."""

    def __init__(self, client: redis.Redis, *, partitions: int = 1, keep_events: float = 30 * _DAY) -> None:
        self.client = client
        self.partitions = partitions
        self._days = int(keep_events // _DAY) + 3

    def find(self, beginning: str, now: float) -> Sequence[StoredEvent]:
        """The events whose id begins with a text of at least `SHORTEST` characters, at most two of them, newest first.

        One round trip for the index and one for the events. An event that left the journal is not found, nor one that
        an earlier version published. Raises `StateUnavailable`.
        """
        if not _ID.fullmatch(beginning):
            return ()
        with state_errors():
            places = self._places(beginning, int(now // _DAY))
            pipe = self.client.pipeline(transaction=False)
            for partition, entry in places:
                pipe.xrange(keys.journal(partition), entry, entry)
            answers = cast("list[StreamItems]", pipe.execute() if places else [])
        events = [
            stored_event(*items[0], partition) for (partition, _), items in zip(places, answers, strict=True) if items
        ]
        return [event for event in events if event.id.startswith(beginning)][:2]

    def oldest_at(self, partition: int) -> float | None:
        """UNIX seconds of the oldest entry of a partition; None: it is empty. Raises `StateUnavailable`."""
        with state_errors():
            items = cast("StreamItems", self.client.xrange(keys.journal(partition), count=1))
        return int(items[0][0].partition(b"-")[0]) / 1000 if items else None

    def find_exactly(
        self, idents: Sequence[str], partitions: Sequence[int], now: float, *, since_day: int = 0
    ) -> list[StoredEvent]:
        """The events of some partitions with these ids. `since_day`: none of them is older, days since 1970.

        One round trip for the index and one for the events. Raises `StateUnavailable`.
        """
        today = int(now // _DAY)
        days = range(today + 1, max(today - self._days, since_day - 2), -1)
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            spots = [(partition, ident, day) for partition in partitions for ident in idents for day in days]
            for partition, ident, day in spots:
                pipe.hget(f"{keys.event_ids(partition)}:{day}:{ident[:2]}", ident[2:18])
            entries = [
                (partition, _entry_of(answer))
                for (partition, _, _), answer in zip(spots, pipe.execute(), strict=True)
                if answer is not None
            ]
            for partition, entry in entries:
                pipe.xrange(keys.journal(partition), entry, entry)
            answers = cast("list[StreamItems]", pipe.execute() if entries else [])
        events = [
            stored_event(*items[0], partition) for (partition, _), items in zip(entries, answers, strict=True) if items
        ]
        return [event for event in events if event.id in idents]

    def _places(self, beginning: str, today: int) -> list[tuple[int, str]]:
        """(partition, journal entry), newest first, of the ids that begin with a text; at most a few."""
        # A day ahead, for a web server whose clock is fast.
        days = range(today + 1, today - self._days, -1)
        spots = [(partition, day) for day in days for partition in range(self.partitions)]
        rest = beginning[2:18]
        pipe = self.client.pipeline(transaction=False)
        for partition, day in spots:
            name = f"{keys.event_ids(partition)}:{day}:{beginning[:2]}"
            if len(rest) == _FIELD:
                pipe.hget(name, rest)
            else:
                pipe.hgetall(name)
        places: list[tuple[int, str]] = []
        for (partition, _), answer in zip(spots, pipe.execute(), strict=True):
            if isinstance(answer, bytes):
                places.append((partition, _entry_of(answer)))
            elif answer:
                fits = [value for field, value in answer.items() if field.decode().startswith(rest)]
                places += [(partition, _entry_of(value)) for value in fits]
            if len(places) >= _ENOUGH:
                break
        return places[:_ENOUGH]


def _entry_of(value: bytes) -> str:
    return f"{int.from_bytes(value[:6], 'big')}-{int.from_bytes(value[6:8], 'big')}"
