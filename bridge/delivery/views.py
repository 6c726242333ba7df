"""What the API shows about deliveries: lists with filters, one delivery with its tries, and the actions on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import redis

from bridge.config.model import Subscription
from bridge.delivery.history import History
from bridge.delivery.listing import OF_EVENT, Asked, Position, walk
from bridge.delivery.rows import (
    AWAITING_RECEIPT,
    RETRYING,
    STATES,
    WAITING,
    DeliveryRow,
    of_letter,
    of_settled,
    under_way,
)
from bridge.delivery.store import Deliveries
from bridge.delivery.subscription_filter import takes_event
from bridge.delivery.tries import LoggedTry
from bridge.query import Query

__all__ = ["DeliveryPage", "ListQuery", "find", "list_deliveries"]

#: Most deliveries that one list reads.
_MAX_STEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What is asked for. `states`: empty for all but `waiting`, which is not stored as such."""

    subscriptions: Sequence[str]
    query: Query
    states: frozenset[str] = frozenset()
    event_id: str | None = None
    source: str | None = None
    attempt: str | None = None
    after: Position | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """One page. `position`: where the next one continues. `searched_until`: UNIX seconds, if the bound was reached."""

    rows: list[DeliveryRow]
    position: Position | None
    searched_until: float | None


def list_deliveries(
    client: redis.Redis, partitions: int, asked: ListQuery, configured: Mapping[str, Subscription]
) -> DeliveryPage:
    """The deliveries that match. Raises `StateUnavailable`."""
    if asked.event_id is not None:
        return _of_event(client, partitions, asked, asked.event_id)
    names = [name for name in asked.subscriptions if _possible(asked.query, "subscription", name)]
    states = asked.states or _states(asked.query)
    wanted = Asked(
        subscriptions=names,
        states=frozenset(state for state in states if _possible(asked.query, "state", state)),
        wants=_wanted_by(configured),
        since=asked.query.since,
        until=asked.query.until,
        after=asked.after,
        first=min(100, 2 * asked.limit // max(1, len(names)) + 2),
    )
    rows, last, number = [], None, 0
    for step in walk(client, partitions, wanted):
        if last is not None and (len(rows) == asked.limit or number >= _MAX_STEPS):
            return DeliveryPage(rows, last.position, None if len(rows) == asked.limit else last.ended_at)
        last, number = step, number + 1
        if step.row is not None and step.row.state in wanted.states and _matches(step.row, asked):
            rows.append(step.row)
    return DeliveryPage(rows, None, None)


def _of_event(client: redis.Redis, partitions: int, asked: ListQuery, event_id: str) -> DeliveryPage:
    """The deliveries of one event by subscription. Its id finds them without a search."""
    history, store = History(client, partitions=partitions), Deliveries(client, partitions=partitions)
    after = "" if asked.after is None else asked.after.place[0]
    names = sorted(name for name in asked.subscriptions if name > after)
    rows: list[DeliveryRow] = []
    for name in history.owners(names, event_id):
        delivery = find(store, history, name, event_id)
        if delivery is None or not _matches(delivery[0], asked):
            continue
        if len(rows) == asked.limit:
            return DeliveryPage(rows, Position(OF_EVENT, (rows[-1].subscription,)), None)
        rows.append(delivery[0])
    return DeliveryPage(rows, None, None)


def find(
    store: Deliveries, history: History, subscription: str, event_id: str
) -> tuple[DeliveryRow, tuple[LoggedTry, ...]] | None:
    """The last delivery of an event to a subscription, with its tries; None if there is none or it is too old."""
    current = store.under_way(subscription, event_id)
    if current is not None:
        partition, delivery, due = current
        group, tries = history.tries(subscription, partition, event_id)
        state = AWAITING_RECEIPT if delivery.awaiting_receipt else RETRYING
        return under_way(subscription, delivery, state=state, next_try=due or None, group=group), tries
    letter, settled = history.dead_letter(subscription, event_id), history.settled(subscription, event_id)
    if letter is not None and (settled is None or _stored_at(letter.id) >= settled.at):
        return of_letter(subscription, letter), letter.tries
    return None if settled is None else (of_settled(subscription, settled), settled.tries)


def _stored_at(letter_id: str) -> float:
    """When a dead letter was stored, by the same clock as settled deliveries."""
    return int(letter_id.partition(":")[2].partition("-")[0]) / 1000


def _matches(row: DeliveryRow, asked: ListQuery) -> bool:
    query = asked.query
    if row.at is not None and not (query.since or 0.0) <= row.at <= (query.until or float("inf")):
        return False
    return (
        (not asked.states or row.state in asked.states)
        and asked.source in (None, row.source)
        and asked.attempt in (None, row.attempt)
        and query.matches(row)
    )


def _possible(query: Query, name: str, value: str) -> bool:
    """Whether a delivery with this subscription or state can match."""
    blank = DeliveryRow(subscription="", event_id="", type="", source="", attempt="", state="", tries=0, at=None)
    row = replace(blank, subscription=value) if name == "subscription" else replace(blank, state=value)
    terms = tuple(term for term in query.terms if term.field is not None and term.field.name == name)
    return Query(terms).matches(row)


def _states(query: Query) -> frozenset[str]:
    """All states but `waiting`, which has no place in their order; only `waiting` if the filter takes no other."""
    others = frozenset(STATES) - {WAITING}
    possible = [state for state in STATES if _possible(query, "state", state)]
    return frozenset({WAITING}) if possible == [WAITING] else others


def _wanted_by(configured: Mapping[str, Subscription]) -> Callable[[str, Mapping[bytes, bytes]], bool]:
    """Whether a subscription's filter takes an event of the journal; one that is not configured takes all."""

    def wants(name: str, fields: Mapping[bytes, bytes]) -> bool:
        subscription = configured.get(name)
        if subscription is None:
            return True
        kind, source = fields.get(b"type", b"").decode(), fields.get(b"source", b"").decode()
        try:
            return takes_event(subscription.filter, event_type=kind, source=source, event=fields.get(b"event", b""))
        except (KeyError, ValueError, AttributeError, TypeError, RecursionError):
            return True

    return wants
