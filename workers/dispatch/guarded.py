"""The steps of a lane that handle foreign bytes or run foreign code: an error there affects one event only.

An event that cannot be read, prepared or sent becomes a row or an outcome, is logged with its place and counted;
nothing is raised for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from bridge import clock
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
from workers.transports.contract import Outcome, Outgoing, Transport, Try, tries_of
from workers.transports.faults import UNEXPECTED_ERROR, unexpected_failure

__all__ = ["Claimed", "GuardedSteps"]

#: A claimed retry as `claim_due.lua` returns it: (event id, record, fields of its journal entry, times claimed).
Claimed = tuple[bytes, bytes, list[bytes], int]

_log = structlog.get_logger(__name__)


class GuardedSteps:
    """The guarded steps of one subscription. `count` is called with the number of unexpected errors."""

    def __init__(self, subscription: Subscription, count: Callable[[int], object]) -> None:
        self._subscription = subscription
        self._count = count

    def read_entries(self, entries: Sequence[StreamEntry], now: float) -> tuple[list[Item], list[Row]]:
        """The items of journal entries, and rows for entries that cannot be read."""
        items, rows = [], []
        for entry, fields in entries:
            try:
                items.append(item_from_entry(entry, fields))
            except (KeyError, ValueError) as error:
                rows.append(self._unreadable(unreadable_item(entry, fields), error, now))
        return items, rows

    def read_retries(self, claimed: Sequence[Claimed], limits: Limits, now: float) -> tuple[list[Item], list[Row]]:
        """The items of due retries, and rows for those that are given up."""
        items, rows = [], []
        for event_id, record, flat_fields, times in claimed:
            fields = dict(zip(flat_fields[::2], flat_fields[1::2], strict=True))
            try:
                item = item_from_retry(record, fields)
            except ValueError as error:
                unreadable = unreadable_item(b"", {**fields, b"id": event_id})
                rows.append(self._unreadable(unreadable, error, now, record))
                continue
            row = give_up_row(item, times, self._subscription, limits, now)
            if row is None:
                items.append(item)
            else:
                rows.append(row)
        return items, rows

    def prepare(self, items: Sequence[Item], now: float) -> tuple[list[tuple[Item, Outgoing]], list[Row]]:
        """The events to send, and rows for those that the filter excludes or that cannot be prepared."""
        prepared, rows = [], []
        for item in items:
            try:
                outgoing = prepare(self._subscription, item)
            except Exception as error:  # noqa: BLE001 - any error here concerns this event only
                rows.append(self._unreadable(item, error, now))
                continue
            if outgoing is None:
                rows.append(skip_row(item))
            else:
                prepared.append((item, outgoing))
        return prepared, rows

    def send(self, transport: Transport, events: Sequence[Outgoing], now: float) -> list[Try]:
        """One try per event, even if the transport raises or returns too few."""
        name = self._subscription.name
        started = clock.monotonic()
        fault: Exception = ValueError("number of tries")
        tries: list[Try] = []
        try:
            tries = transport.send(events, now=now)
        except Exception as error:  # noqa: BLE001 - the other lanes and the process continue
            fault = error
        if len(tries) != len(events):
            failure: Outcome = unexpected_failure(fault, about_event=False, subscription=name)
            tries = tries_of([failure] * len(events), at=now, seconds=clock.monotonic() - started)
        self.count(tries)
        return tries

    def count(self, tries: Iterable[Try]) -> None:
        """Count the unexpected errors among tries."""
        unexpected = sum(each.failure is not None and each.failure.reason == UNEXPECTED_ERROR for each in tries)
        if unexpected:
            self._count(unexpected)

    def charge(self, items: Sequence[Item], error: Exception, now: float, draw: Callable[[], float]) -> list[Row]:
        """A row with a failed try for each item, after an internal fault between reading and settling."""
        failure = unexpected_failure(error, subscription=self._subscription.name)
        self._count(len(items))
        tried = Try(failure, now, 0.0)
        return [outcome_row(item, tried, self._subscription, now, draw) for item in items]

    def _unreadable(self, item: Item, error: Exception, now: float, record: bytes = b"") -> Row:
        name, delivery = self._subscription.name, item.delivery
        _log.error("delivery_unreadable", subscription=name, event_id=delivery.id, entry=delivery.entry, exc_info=error)
        self._count(1)
        return unreadable_row(item, error, now, record=record)
