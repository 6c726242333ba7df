"""Lists dead letters, newest first, and the fields by which they are filtered. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

from bridge.delivery.record import DeadLetter, dead_letter
from bridge.journal.search import Place, walk_back
from bridge.query import Field, Fields, Glob, Number
from bridge.state import keys

__all__ = ["LetterItem", "letter_fields", "letters"]


@dataclass(frozen=True, slots=True)
class LetterItem:
    """A dead letter and the subscription that it belongs to."""

    subscription: str
    letter: DeadLetter


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
        return LetterItem(name, dead_letter(partition, entry.decode(), fields))

    streams = [keys.dead(name, partition) for name, partition in owners]
    return walk_back(client, streams, read, since=since, until=until, after=after, first=first)


def letter_fields(*, persons: bool) -> Fields:
    """The fields of dead letters. `persons`: the caller may filter by attempt ids that hold an e-mail address."""

    def attempt(item: LetterItem) -> str | None:
        value = item.letter.delivery.attempt
        return value if persons or "@" not in value else None

    return Fields(
        Field("subscription", Glob(), lambda item: item.subscription, "name of the subscription"),
        Field("event", Glob(), lambda item: item.letter.delivery.id, "event id"),
        Field("type", Glob(), lambda item: item.letter.delivery.type, "type of the event"),
        Field("source", Glob(), lambda item: item.letter.delivery.source, "name of the source"),
        Field("attempt", Glob(), attempt, "attempt id"),
        Field("reason", Glob(), lambda item: item.letter.reason, "why it was given up"),
        Field("group", Glob(), lambda item: item.letter.group or None, "failure group"),
        Field("tries", Number(), lambda item: item.letter.delivery.tries, "tries made"),
        search=lambda item: (item.letter.delivery.error, item.letter.reason, item.letter.delivery.id, attempt(item)),
    )
