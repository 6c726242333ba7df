"""Lists deliveries in every state, in pages that continue where the last one ended. Reads only.

Order: deliveries that were not tried yet (`waiting`), if they are asked for; then those under way, by subscription and
next try; then those that have ended, newest first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import redis

from bridge.delivery.history import History
from bridge.delivery.record import DeadLetter, Delivery, dead_letter
from bridge.delivery.rows import AWAITING_RECEIPT, RETRYING, WAITING, DeliveryRow, of_letter, of_settled, under_way
from bridge.delivery.settled import read_settled
from bridge.journal.entries import StreamItems
from bridge.journal.paging import read_stream
from bridge.journal.search import Place, walk_back
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["OF_EVENT", "Asked", "Position", "Step", "walk"]

_PAGE = 100
_WAITS, _UNDER_WAY, _ENDED = "w", "u", "e"
#: The part of a list of one event's deliveries, which has no others.
OF_EVENT = "o"
_NUMBER, _ENTRY = r"[0-9]{1,15}", r"[0-9]{1,15}-[0-9]{1,15}"
#: Part of the list -> what its places look like: subscription, partition, and in it entry, or due time and event id.
_SHAPES = {
    _WAITS: (r"[^/]{1,100}", _NUMBER, _ENTRY),
    _UNDER_WAY: (r"[^/]{1,100}", _NUMBER, r"-?[0-9]{1,15}(\.[0-9]{1,15})?", r"(?s:.{1,300})"),
    _ENDED: (_ENTRY + r"/[0-9]{1,6}",),
    OF_EVENT: (r"[^/]{1,100}",),
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a list continues: the part of the list, and in it a place as text."""

    part: str
    #: Subscription, partition and place in it; for what has ended only the place, for one event only the subscription.
    place: tuple[str, ...]

    def __str__(self) -> str:
        return json.dumps([self.part, *self.place])

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that was written with `str`. Raises `ValueError`."""
        parts = json.loads(text)
        if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
            raise ValueError("not the position of a delivery")
        part, *place = parts
        shape = _SHAPES.get(part, ())
        if len(shape) != len(place) or not all(map(re.fullmatch, shape, place)):
            raise ValueError("not the position of a delivery")
        return cls(part, tuple(place))


@dataclass(frozen=True, slots=True)
class Step:
    """One delivery that was read; `row` None: it cannot be read. `ended_at`: UNIX seconds, of what has ended."""

    position: Position
    row: DeliveryRow | None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is listed. `wants`: whether a subscription takes an event that was not tried yet (name, fields)."""

    subscriptions: Sequence[str]
    states: frozenset[str]
    wants: Callable[[str, Mapping[bytes, bytes]], bool]
    since: float | None = None
    until: float | None = None
    after: Position | None = None
    #: Entries to read first of each stream.
    first: int = _PAGE


def walk(client: redis.Redis, partitions: int, asked: Asked) -> Iterator[Step]:
    """Every delivery of the list, each page read when it is needed. Raises `StateUnavailable`."""
    part = _WAITS if asked.after is None else asked.after.part
    if part == _WAITS and WAITING in asked.states:
        yield from _parts(asked, partitions, lambda *place: _waiting(client, asked, *place))
    if part in (_WAITS, _UNDER_WAY) and asked.states & {RETRYING, AWAITING_RECEIPT}:
        beginning = asked if part == _UNDER_WAY else _from_start(asked)
        history = History(client, partitions=partitions)
        busy = _busy(client, asked.subscriptions, partitions)
        yield from _parts(
            beginning, partitions, lambda *place: _under_way(client, history, *place) if place[:2] in busy else ()
        )
    if asked.states - {WAITING, RETRYING, AWAITING_RECEIPT}:
        yield from _ended(client, partitions, asked)


def _from_start(asked: Asked) -> Asked:
    return Asked(subscriptions=asked.subscriptions, states=asked.states, wants=asked.wants)


def _parts(
    asked: Asked, partitions: int, read: Callable[[str, int, tuple[str, ...]], Iterable[Step]]
) -> Iterator[Step]:
    """The steps of each subscription and partition, beginning after the position."""
    name, partition, *place = asked.after.place if asked.after else ("", "0")
    for subscription in sorted(asked.subscriptions):
        for number in range(partitions):
            if (subscription, number) < (name, int(partition)):
                continue
            behind = (subscription, number) == (name, int(partition))
            yield from read(subscription, number, tuple(place) if behind else ())


def _waiting(
    client: redis.Redis, asked: Asked, subscription: str, partition: int, place: tuple[str, ...]
) -> Iterator[Step]:
    """What was not tried yet: read by a dispatch process and not settled, then not read, oldest first."""
    journal, group = keys.journal(partition), keys.group(subscription)
    with state_errors():
        groups = client.xinfo_groups(journal) if client.exists(journal) else []
        read_to = next((row["last-delivered-id"].decode() for row in groups if _named(row["name"], group)), "0-0")
    for entry, fields in _pending(client, journal, group, place) if read_to != "0-0" else ():
        yield _waits(asked, subscription, partition, entry, fields)
    begin = max((place[0] if place else "0-0", read_to), key=_order)
    for entry, fields in read_stream(client, journal, f"({begin}", "+", page=_PAGE, newest_first=False):
        yield _waits(asked, subscription, partition, entry, fields)


def _pending(
    client: redis.Redis, journal: str, group: str, place: tuple[str, ...]
) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    start = f"({place[0]}" if place else "-"
    while True:
        with state_errors():
            rows = cast("list[dict[str, Any]]", client.xpending_range(journal, group, start, "+", _PAGE))
            pipe = client.pipeline(transaction=False)
            for row in rows:
                pipe.xrange(journal, row["message_id"], row["message_id"])
            entries = cast("list[StreamItems]", pipe.execute())
        for items in entries:
            yield from items
        if len(rows) < _PAGE:
            return
        start = f"({rows[-1]['message_id'].decode()}"


def _waits(asked: Asked, subscription: str, partition: int, entry: bytes, fields: dict[bytes, bytes]) -> Step:
    position = Position(_WAITS, (subscription, str(partition), entry.decode()))
    if not asked.wants(subscription, fields):
        return Step(position, None)
    names = ("id", "type", "source", "attempt")
    event_id, kind, source, attempt = (fields.get(name.encode(), b"").decode(errors="replace") for name in names)
    delivery = Delivery(id=event_id, type=kind, source=source, attempt=attempt, entry=entry.decode())
    return Step(position, under_way(subscription, delivery, state=WAITING, next_try=None, group=""))


def _under_way(
    client: redis.Redis, history: History, subscription: str, partition: int, place: tuple[str, ...]
) -> Iterator[Step]:
    """What waits for its next try or a receipt, soonest first."""
    least, begin = ("-inf", (float("-inf"), "")) if not place else (place[0], (float(place[0]), place[1]))
    at = 0
    while True:
        with state_errors():
            name = keys.retry(subscription, partition)
            entries = client.zrangebyscore(name, least, "+inf", start=at, num=_PAGE, withscores=True)
            page = [(event_id.decode(), due) for event_id, due in cast("list[tuple[bytes, float]]", entries)]
            ids = [event_id for event_id, _ in page]
            records = client.hmget(keys.deliveries(subscription, partition), ids) if ids else []
        groups = history.groups_of(subscription, partition, ids)
        for (event_id, due), record in zip(page, cast("list[bytes | None]", records), strict=True):
            if (round(due, 6), event_id) <= begin or record is None:
                continue
            delivery = Delivery.for_display(record, event_id)
            state = AWAITING_RECEIPT if delivery.awaiting_receipt else RETRYING
            row = under_way(subscription, delivery, state=state, next_try=due, group=groups.get(event_id, ""))
            yield Step(Position(_UNDER_WAY, (subscription, str(partition), f"{due:.6f}", event_id)), row)
        if len(page) < _PAGE:
            return
        at += _PAGE


def _busy(client: redis.Redis, subscriptions: Sequence[str], partitions: int) -> set[tuple[str, int]]:
    """The subscriptions and partitions with deliveries under way, in one round trip."""
    places = [(name, partition) for name in subscriptions for partition in range(partitions)]
    with state_errors():
        pipe = client.pipeline(transaction=False)
        for place in places:
            pipe.exists(keys.retry(*place))
        return {place for place, there in zip(places, pipe.execute(), strict=True) if there}


def _ended(client: redis.Redis, partitions: int, asked: Asked) -> Iterator[Step]:
    """Settled deliveries and dead letters, newest first."""
    owners = [(name, partition) for name in sorted(asked.subscriptions) for partition in range(partitions)]
    streams = [of(name, partition) for name, partition in owners for of in (keys.settled, keys.dead)]

    def read(entry: bytes, fields: dict[bytes, bytes], number: int) -> DeliveryRow | None:
        subscription, partition = owners[number // 2]
        if number % 2:
            letter: DeadLetter = dead_letter(partition, entry.decode(), fields)
            return of_letter(subscription, letter)
        settled = read_settled(partition, entry, fields)
        return None if settled is None else of_settled(subscription, settled)

    after = Place.parse(asked.after.place[0]) if asked.after and asked.after.part == _ENDED else None
    steps = walk_back(
        client, streams, read, since=asked.since, until=asked.until, after=after, first=max(2, asked.first)
    )
    for place, _, row in steps:
        yield Step(Position(_ENDED, (str(place),)), row, place.milliseconds / 1000)


def _named(name: bytes | str, group: str) -> bool:
    return name in (group, group.encode())


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)
