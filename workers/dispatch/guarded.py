"""The steps of a lane in which foreign bytes and foreign code take part: what goes wrong there is one event's.

Nothing here raises for an event that cannot be read, prepared or sent; it becomes a row or an outcome, is logged with
its place and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from bridge.config.model import Subscription
from workers.dispatch.membership import StreamEntry
from workers.dispatch.schedule import Limits
from workers.dispatch.settlement import (
    Item,
    Row,
    give_up_row,
    item_from_entry,
    item_from_retry,
    outcome_row,
    prepare,
    skip_row,
    unreadable_item,
    unreadable_row,
)
from workers.transports.contract import Outcome, Outgoing, Transport
from workers.transports.faults import UNEXPECTED_ERROR, unexpected

__all__ = ["Claimed", "GuardedSteps"]

#: (event id, record, fields of the journal entry one after the other, times taken), as `claim_due.lua` gives it.
Claimed = tuple[bytes, bytes, list[bytes], int]

_log = structlog.get_logger(__name__)


class GuardedSteps:
    """Of one subscription. `count` gets the number of unexpected errors, each time there are any."""

    def __init__(self, subscription: Subscription, count: Callable[[int], object]) -> None:
        self._subscription = subscription
        self._count = count

    def entries(self, entries: Sequence[StreamEntry], now: float) -> tuple[list[Item], list[Row]]:
        """Journal entries as items; rows for those that cannot be read."""
        items, rows = [], []
        for entry, fields in entries:
            try:
                items.append(item_from_entry(entry, fields))
            except (KeyError, ValueError) as error:
                rows.append(self._unreadable(unreadable_item(entry, fields), error, now))
        return items, rows

    def retries(self, claimed: Sequence[Claimed], limits: Limits, now: float) -> tuple[list[Item], list[Row]]:
        """Due retries as items; rows for those that are given up."""
        items, rows = [], []
        for event_id, record, flat, times in claimed:
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            try:
                item = item_from_retry(record, fields)
            except ValueError as error:
                lost = unreadable_item(b"", {**fields, b"id": event_id})
                rows.append(self._unreadable(lost, error, now, record))
                continue
            row = give_up_row(item, times, self._subscription, limits, now)
            if row is None:
                items.append(item)
            else:
                rows.append(row)
        return items, rows

    def prepare(self, items: Sequence[Item], now: float) -> tuple[list[tuple[Item, Outgoing]], list[Row]]:
        """What is to be sent; rows for what is not wanted and for what cannot be prepared."""
        wanted, rows = [], []
        for item in items:
            try:
                ready = prepare(self._subscription, item)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is in this one event
                rows.append(self._unreadable(item, error, now))
                continue
            if ready is None:
                rows.append(skip_row(item))
            else:
                wanted.append((item, ready))
        return wanted, rows

    def send(self, transport: Transport, events: Sequence[Outgoing], now: float) -> list[Outcome]:
        """One outcome per event, also of a transport that raises: it catches what concerns one event, this the rest."""
        name = self._subscription.name
        try:
            outcomes = transport.send(events, now=now)
        except Exception as error:  # noqa: BLE001 - the other lanes and the process go on
            outcomes = [unexpected(error, subscription=name)] * len(events)
        if len(outcomes) != len(events):
            outcomes = [unexpected(ValueError("number of outcomes"), subscription=name)] * len(events)
        found = sum(one is not None and one.reason == UNEXPECTED_ERROR for one in outcomes)
        if found:
            self._count(found)
        return outcomes

    def charge(self, items: Sequence[Item], error: Exception, now: float, draw: Callable[[], float]) -> list[Row]:
        """A failed try of each item after a fault of our own between reading and settling."""
        failure = unexpected(error, subscription=self._subscription.name)
        self._count(len(items))
        return [outcome_row(item, failure, self._subscription, now, draw) for item in items]

    def _unreadable(self, item: Item, error: Exception, now: float, record: bytes = b"") -> Row:
        name, delivery = self._subscription.name, item.delivery
        _log.error("delivery_unreadable", subscription=name, event_id=delivery.id, entry=delivery.entry, exc_info=error)
        self._count(1)
        return unreadable_row(item, error, now, record=record)
