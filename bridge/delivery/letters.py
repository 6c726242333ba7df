"""Lists dead letters, newest first, and the fields by which they are filtered. Reads only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property

import redis

from bridge.delivery.record import DeadLetter, dead_letter
from bridge.journal.search import Place, walk_back
from bridge.query import Field, Fields, Glob, Number
from bridge.state import keys

__all__ = ["LetterItem", "letter_fields", "letters"]


#: The member of a record; within a text of it the quotes would be escaped.
_ERROR = re.compile(rb'[{,]\s*"error"\s*:\s*("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")')


class LetterItem:
    """A dead letter and its subscription; its record is parsed only when more than the entry is needed."""

    def __init__(self, subscription: str, partition: int, entry: str, stored: dict[bytes, bytes]) -> None:
        self.subscription = subscription
        self._partition = partition
        self._entry = entry
        self._stored = stored

    @cached_property
    def letter(self) -> DeadLetter:
        """The dead letter, whatever is stored."""
        return dead_letter(self._partition, self._entry, self._stored)

    @property
    def event(self) -> bytes:
        """The event, as it is stored; empty if it is gone."""
        return self._stored.get(b"event", b"")

    @property
    def event_id(self) -> str:
        """Id of the event."""
        return self._member(b"id") or self.letter.delivery.id

    @property
    def type(self) -> str:
        """Type of the event."""
        return self._member(b"type") or self.letter.delivery.type

    @property
    def source(self) -> str:
        """Name of its source."""
        return self._member(b"source") or self.letter.delivery.source

    @property
    def attempt(self) -> str:
        """Id of its attempt."""
        return self._member(b"attempt") or self.letter.delivery.attempt

    @property
    def reason(self) -> str:
        """Why it was given up."""
        return self._member(b"reason")

    @property
    def group(self) -> str:
        """Fingerprint of its failure group; empty for one of an earlier version."""
        return self._member(b"group")

    @property
    def error(self) -> str:
        """Error of the last failed try; empty if none failed."""
        match = _ERROR.search(self._stored.get(b"delivery", b""))
        if match is None:
            return self.letter.delivery.error
        text: str = json.loads(match[1].decode(errors="replace"))
        return text

    def _member(self, name: bytes) -> str:
        """A member of the entry; empty where an earlier version stored none."""
        return self._stored.get(name, b"").decode(errors="replace")


def letters(
    client: redis.Redis,
    subscriptions: Sequence[str],
    *,
    partitions: int,
    since: float | None,
    until: float | None,
    after: Place | None,
    first: int,
) -> Iterator[tuple[Place, int, LetterItem]]:
    """(place, bytes, dead letter), as `bridge.journal.search` takes them. Raises `StateUnavailable`."""
    owners = [(name, partition) for name in subscriptions for partition in range(partitions)]

    def read(entry: bytes, fields: dict[bytes, bytes], number: int) -> LetterItem:
        name, partition = owners[number]
        return LetterItem(name, partition, entry.decode(), fields)

    streams = [keys.dead(name, partition) for name, partition in owners]
    return walk_back(client, streams, read, since=since, until=until, after=after, first=first)


def letter_fields(*, persons: bool) -> Fields:
    """The fields of dead letters. `persons`: the caller may filter by attempt ids that hold an e-mail address."""

    def attempt(item: LetterItem) -> str | None:
        value = item.attempt
        return value if persons or "@" not in value else None

    def texts(item: LetterItem) -> Iterator[str | None]:
        yield from (item.reason, item.event_id, attempt(item))
        yield item.error

    return Fields(
        Field("subscription", Glob(), lambda item: item.subscription, "name of the subscription"),
        Field("event", Glob(), lambda item: item.event_id, "event id"),
        Field("type", Glob(), lambda item: item.type, "type of the event"),
        Field("source", Glob(), lambda item: item.source, "name of the source"),
        Field("attempt", Glob(), attempt, "attempt id"),
        Field("reason", Glob(), lambda item: item.reason, "why it was given up"),
        Field("group", Glob(), lambda item: item.group or None, "failure group"),
        Field("tries", Number(), lambda item: item.letter.delivery.tries, "tries made", costly=True),
        search=texts,
    )
