"""A delivery as it is listed, whatever its state, and the fields by which deliveries are filtered. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.delivery.record import DeadLetter, Delivery
from bridge.delivery.settled import CANCELLED as SETTLED_CANCELLED
from bridge.delivery.settled import CONFIRMED, Settled
from bridge.query import Enum, Field, Fields, Glob, Number

__all__ = [
    "AWAITING_RECEIPT",
    "CANCELLED",
    "DEAD",
    "DELIVERED",
    "RETRYING",
    "STATES",
    "WAITING",
    "DeliveryRow",
    "delivery_fields",
    "of_letter",
    "of_settled",
    "under_way",
]

WAITING, RETRYING, AWAITING_RECEIPT = "waiting", "retrying", "awaiting_receipt"
DELIVERED, DEAD, CANCELLED = "delivered", "dead", "cancelled"
STATES = (WAITING, RETRYING, AWAITING_RECEIPT, DELIVERED, DEAD, CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One delivery. Times are UNIX seconds."""

    subscription: str
    event_id: str
    type: str
    source: str
    attempt: str
    #: One of `STATES`.
    state: str
    #: Tries made.
    tries: int
    #: Last try, or when it ended; None before the first try.
    at: float | None
    #: Next try, or until when a receipt is awaited; None if there is none.
    next_try: float | None = None
    #: Reason and error of the last failed try; empty if none failed.
    reason: str = ""
    error: str = ""
    #: Fingerprint of the failure group that it is in; empty if in none.
    group: str = ""
    #: Id of the dead letter; None if it is not one.
    dead_letter: str | None = None
    #: Whether a receipt has confirmed it.
    confirmed: bool = False
    #: Number of replays.
    replays: int = 0


def under_way(subscription: str, delivery: Delivery, *, state: str, next_try: float | None, group: str) -> DeliveryRow:
    """The row of a delivery that has not ended."""
    return DeliveryRow(
        subscription=subscription,
        event_id=delivery.id,
        type=delivery.type,
        source=delivery.source,
        attempt=delivery.attempt,
        state=state,
        tries=delivery.tries,
        at=delivery.last_at or None,
        next_try=next_try,
        reason=delivery.reason,
        error=delivery.error,
        group=group,
        replays=delivery.replays,
    )


def of_letter(subscription: str, letter: DeadLetter) -> DeliveryRow:
    """The row of a dead letter."""
    delivery = letter.delivery
    return DeliveryRow(
        subscription=subscription,
        event_id=delivery.id,
        type=delivery.type,
        source=delivery.source,
        attempt=delivery.attempt,
        state=DEAD,
        tries=delivery.tries,
        at=letter.dead_at,
        reason=letter.reason,
        error=delivery.error,
        group=letter.group,
        dead_letter=f"{subscription}/{letter.id}",
        replays=delivery.replays,
    )


def of_settled(subscription: str, settled: Settled) -> DeliveryRow:
    """The row of a delivery that has ended otherwise."""
    failed = next((tried for tried in reversed(settled.tries) if tried.reason), None)
    return DeliveryRow(
        subscription=subscription,
        event_id=settled.id,
        type=settled.type,
        source=settled.source,
        attempt=settled.attempt,
        state=CANCELLED if settled.outcome == SETTLED_CANCELLED else DELIVERED,
        tries=settled.count,
        at=settled.at,
        reason=failed.reason if failed else "",
        error=failed.error if failed else "",
        confirmed=settled.outcome == CONFIRMED,
    )


def delivery_fields(*, persons: bool) -> Fields:
    """The fields of deliveries. `persons`: the caller may filter by attempt ids that hold an e-mail address."""

    def attempt(row: DeliveryRow) -> str | None:
        return row.attempt if persons or "@" not in row.attempt else None

    return Fields(
        Field("subscription", Glob(), lambda row: row.subscription, "name of the subscription"),
        Field("state", Enum(*STATES), lambda row: row.state, "state of the delivery"),
        Field("event", Glob(), lambda row: row.event_id, "event id"),
        Field("type", Glob(), lambda row: row.type, "type of the event"),
        Field("source", Glob(), lambda row: row.source, "name of the source"),
        Field("attempt", Glob(), attempt, "attempt id"),
        Field("reason", Glob(), lambda row: row.reason, "why the last try failed"),
        Field("group", Glob(), lambda row: row.group or None, "failure group"),
        Field("tries", Number(), lambda row: row.tries, "tries made"),
        search=lambda row: (row.error, row.reason, row.event_id, attempt(row)),
    )
