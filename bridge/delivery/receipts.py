"""Receipts: a receiver confirms that it has processed an event. Reads and records them, however they come."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.delivery.history import History
from bridge.delivery.rows import AWAITING_RECEIPT, CANCELLED, DEAD, RETRYING
from bridge.delivery.store import Deliveries
from bridge.delivery.views import find
from bridge.errors import Unreadable
from bridge.journal.event_index import EventIndex
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["GIVEN_UP", "MEMBERS", "TAKEN", "UNKNOWN", "UUID", "Receipt", "Receipts", "read_receipt"]

#: The members of a receipt.
MEMBERS = ("subscription", "event_id")
#: An event id, in lower or upper case.
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: What becomes of a receipt: it counts, now or before; it comes too late; there is no such delivery.
TAKEN, GIVEN_UP, UNKNOWN = "taken", "given up", "unknown"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receiver's confirmation that it has processed an event."""

    #: Name of the configured subscription.
    subscription: str
    #: UUID in lower case.
    event_id: str


def read_receipt(members: Mapping[str, Any], subscriptions: Container[str]) -> Receipt:
    """The receipt that has exactly these members. Raises `Unreadable`. Pure."""
    if members.keys() != set(MEMBERS):
        raise Unreadable("a receipt has exactly subscription and event_id", reason="bad_arguments")
    subscription, event_id = members["subscription"], members["event_id"]
    if not isinstance(event_id, str) or not UUID.fullmatch(event_id):
        raise Unreadable("the event id is not a UUID", reason="bad_event_id")
    if not isinstance(subscription, str) or subscription not in subscriptions:
        raise Unreadable("unknown subscription", reason="unknown_subscription")
    # Some databases return a UUID in upper case.
    return Receipt(subscription, event_id.lower())


class Receipts:
    """Takes receipts. Methods raise `StateUnavailable`; `now`: UNIX seconds."""

    def __init__(self, deliveries: Deliveries, history: History, events: EventIndex) -> None:
        self._deliveries, self._history, self._events = deliveries, history, events

    def take(self, receipt: Receipt, *, now: float) -> str:
        """End the delivery that awaits the receipt: `taken`, `given up` or `unknown`; repeated, it returns the same."""
        # A first try may have become a delivery that waits between the two looks: then the second one ends it.
        for _ in range(2):
            if self._deliveries.record_receipt(receipt.subscription, receipt.event_id, now=now):
                return TAKEN
            state = self._state(receipt)
            if state not in (RETRYING, AWAITING_RECEIPT):
                break
        if state is None:
            return TAKEN if _is_being_sent(self._events, receipt, now) else UNKNOWN
        return GIVEN_UP if state in (DEAD, CANCELLED) else TAKEN

    def is_known(self, receipt: Receipt, *, now: float) -> bool:
        """Whether the event was ever sent to the subscription, as far as that is kept."""
        return self._state(receipt) is not None or _is_being_sent(self._events, receipt, now)

    def _state(self, receipt: Receipt) -> str | None:
        delivery = find(self._deliveries, self._history, receipt.subscription, receipt.event_id)
        return None if delivery is None else delivery[0].state


def _is_being_sent(events: EventIndex, receipt: Receipt, now: float) -> bool:
    """Whether its first try is under way: where no receipt is awaited, nothing else is stored of it."""
    group = keys.group(receipt.subscription)
    for event in events.find(receipt.event_id, now):
        with state_errors():
            journal = keys.journal(event.partition)
            groups = events.client.xinfo_groups(journal)
            if not any(row["name"] in (group, group.encode()) for row in groups):
                continue
            if events.client.xpending_range(journal, group, event.entry_id, event.entry_id, 1):
                return True
    return False
