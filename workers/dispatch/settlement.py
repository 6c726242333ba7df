"""The result of a try as a row for `settle.lua`, and which events a subscription gets. Pure.

Each row is (kind, journal entry, event id, ...) as the head of the script describes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bridge.config.model import Subscription
from bridge.delivery.delivery_lag import bucket_of
from bridge.delivery.groups import about, fingerprint
from bridge.delivery.record import Delivery
from bridge.delivery.settled import ANSWER_BYTES, DELIVERED, pack
from bridge.delivery.subscription_filter import takes_event
from bridge.delivery.tries import LoggedTry, answer_text
from bridge.errors import DeliveryFailed, clip
from bridge.telemetry import tracing
from schemas.event import minimal
from schemas.projection import only
from workers.dispatch.schedule import Limits, max_tries, retry_delay
from workers.transports.contract import Outgoing, Try

__all__ = [
    "UNREADABLE",
    "Item",
    "Row",
    "dead_row",
    "failure_text",
    "give_up_row",
    "item_from_entry",
    "item_from_retry",
    "matches_filter",
    "outcome_row",
    "outgoing_event",
    "poison_row",
    "postpone_row",
    "prepare",
    "skip_row",
    "unreadable_item",
    "unreadable_row",
    "with_receipt_awaited",
]

Row = list[str | bytes]
#: `reason` of a journal entry or a record that cannot be sent because it cannot be read.
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Item:
    """An event of the current batch."""

    #: Its journal entry if it is new; empty for a retry.
    entry: str
    #: JSON of the event; empty if it is gone.
    event: bytes
    #: The delivery before this try.
    delivery: Delivery


def item_from_entry(entry: bytes, fields: Mapping[bytes, bytes]) -> Item:
    """The first delivery of the event in a journal entry. Raises `KeyError` or `ValueError`."""
    delivery = Delivery(
        id=fields[b"id"].decode(),
        type=fields[b"type"].decode(),
        source=fields[b"source"].decode(),
        attempt=fields[b"attempt"].decode(),
        entry=entry.decode(),
    )
    return Item(delivery.entry, fields[b"event"], delivery)


def unreadable_item(entry: bytes, fields: Mapping[bytes, bytes]) -> Item:
    """A journal entry that `item_from_entry` refuses, with the fields that can be read."""

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    entry_id = entry.decode()
    delivery = Delivery(
        id=text(b"id") or entry_id, type=text(b"type"), source=text(b"source"), attempt=text(b"attempt"), entry=entry_id
    )
    return Item(entry_id, fields.get(b"event", b""), delivery)


def item_from_retry(record: bytes, fields: Mapping[bytes, bytes]) -> Item:
    """A due retry; its event is in the record, else in the journal, else empty. Raises `ValueError`."""
    delivery = Delivery.from_json(record)
    return Item("", delivery.event.encode() if delivery.event else fields.get(b"event", b""), delivery)


def prepare(subscription: Subscription, item: Item) -> Outgoing | None:
    """The event as it is sent; None if the filter excludes it. A retry has passed the filter before."""
    if item.entry and not matches_filter(subscription, item):
        return None
    return outgoing_event(subscription, item)


def matches_filter(subscription: Subscription, item: Item) -> bool:
    """Whether the event is included; the JSON is parsed only if the filter needs it."""
    delivery = item.delivery
    return takes_event(subscription.filter, event_type=delivery.type, source=delivery.source, event=item.event)


def outgoing_event(subscription: Subscription, item: Item) -> Outgoing:
    """The event as the subscription gets it: the journal's bytes, or in its projection and format."""
    body, output = item.event, subscription.output
    if subscription.data != "full" or output.converts:
        sent = json.loads(body)
        if subscription.data != "full":
            sent = minimal(sent) if isinstance(subscription.data, str) else only(sent, subscription.data)
        body = output.converted(sent)
    delivery = item.delivery
    return Outgoing(
        delivery.id,
        delivery.type,
        delivery.source,
        delivery.attempt,
        body,
        delivery.replay,
        tracing.traceparent_of(item.event),
    )


def outcome_row(item: Item, tried: Try, subscription: Subscription, now: float, draw: Callable[[], float]) -> Row:
    """The row after a try that counts: delivered, receipt awaited, retry, or given up."""
    delivery, failure = item.delivery, tried.failure
    if failure is None:
        if subscription.receipts.required:
            due, record = f"{now + subscription.receipts.within:.3f}", with_receipt_awaited(delivery, now).to_json()
            return ["sent", item.entry, delivery.id, due, record, _line(tried), bucket_of(delivery, now)]
        return _delivered_row(item, tried, now)
    failed = _after_failure(delivery, failure, now)
    delay = retry_delay(subscription.retry, failed.tries, draw(), failure.retry_after)
    if delay is None or failure.permanent:
        return dead_row(replace(item, delivery=failed), failure.reason, now, tried=tried)
    kind = _kind(failure.reason, tried.status, failed.error)
    return ["retry", item.entry, delivery.id, f"{now + delay:.3f}", failed.to_json(), _line(tried), *kind]


def _delivered_row(item: Item, tried: Try, now: float) -> Row:
    delivery = item.delivery
    settled = pack(
        DELIVERED,
        event_id=delivery.id,
        event_type=delivery.type,
        source=delivery.source,
        attempt=delivery.attempt,
        tries=delivery.tries + 1,
        status=tried.status,
        seconds=tried.seconds,
    )
    log, answer = ("", answer_text(tried.answer, ANSWER_BYTES)) if item.entry else (_line(tried), "")
    return ["ok", item.entry, delivery.id, settled, log, answer, bucket_of(delivery, now)]


def _line(tried: Try) -> str:
    """The try as it is stored."""
    failure = tried.failure
    return LoggedTry(
        at=tried.at,
        seconds=tried.seconds,
        status=tried.status,
        reason="" if failure is None else failure.reason,
        error="" if failure is None else failure_text(failure),
        answer=answer_text(tried.answer),
    ).to_line()


def _kind(reason: str, status: int | None, message: str) -> Row:
    """Fingerprint of the failure group, and the description of a new one."""
    return [fingerprint(reason, status, message), about(reason, status, message)]


def skip_row(item: Item) -> Row:
    """The row of an event that the filter excludes."""
    return ["skip", item.entry, item.delivery.id]


def postpone_row(item: Item, due: float) -> Row:
    """The row of a delivery that is not tried now, or failed for a reason beyond the receiver: unchanged, at `due`."""
    return ["later", item.entry, item.delivery.id, f"{due:.3f}", item.delivery.to_json()]


def dead_row(item: Item, reason: str, now: float, *, tried: Try | None = None, record: bytes = b"") -> Row:
    """The row of a delivery that is given up; the dead letter keeps the event, because the journal will be trimmed.

    `tried`: its last try, if that is why it is given up. `record`: bytes to keep unchanged.
    """
    delivery = item.delivery
    fields: Row = ["id", delivery.id, "type", delivery.type, "source", delivery.source, "attempt", delivery.attempt]
    fields += ["event", item.event, "reason", reason, "at", f"{now:.3f}"]
    fields += ["delivery", replace(delivery, event=None).to_json()]
    fields += ["record", record] if record else []
    kind = _kind(reason, tried.status, delivery.error) if tried else _kind(reason, None, delivery.error or reason)
    return ["dead", item.entry, delivery.id, _line(tried) if tried else "", *kind, str(len(fields)), *fields]


def give_up_row(item: Item, times_claimed: int, subscription: Subscription, limits: Limits, now: float) -> Row | None:
    """The row of a claimed retry that must not be sent; None if it is to be sent."""
    if not item.event:
        return dead_row(item, "the event is no longer in the journal", now)
    if times_claimed > limits.poison_after:
        return poison_row(item, times_claimed - 1, now)
    if item.delivery.awaiting_receipt and item.delivery.tries >= max_tries(subscription.retry):
        return dead_row(item, "no receipt", now)
    return None


def unreadable_row(item: Item, error: Exception, now: float, *, record: bytes = b"") -> Row:
    """The row of an item that cannot be read: given up at once, because it will not change.

    `record`: the stored bytes, which would be lost otherwise.
    """
    text = f"unreadable: {type(error).__name__}; see the log of dispatch"
    delivery = replace(item.delivery, tries=item.delivery.tries + 1, last_at=now, error=text, reason=UNREADABLE)
    return dead_row(replace(item, delivery=delivery), UNREADABLE, now, record=record)


def poison_row(item: Item, times: int, now: float) -> Row:
    """The row of an event that is given up because processes end while sending it."""
    error = f"the process ended {times} times while sending this event"
    delivery = replace(item.delivery, tries=times, last_at=now, error=error, reason="poison")
    return dead_row(replace(item, delivery=delivery), "poison", now)


def with_receipt_awaited(delivery: Delivery, now: float) -> Delivery:
    """The delivery after a successful try whose receipt is awaited."""
    return replace(
        delivery, tries=delivery.tries + 1, first_at=delivery.first_at or now, last_at=now, awaiting_receipt=True
    )


def failure_text(failure: DeliveryFailed) -> str:
    """The error as it is stored: short, and valid UTF-8 whatever the receiver sent."""
    return clip(failure, 200).encode(errors="replace").decode()


def _after_failure(delivery: Delivery, failure: DeliveryFailed, now: float) -> Delivery:
    error = failure_text(failure)
    return replace(
        delivery,
        tries=delivery.tries + 1,
        first_at=delivery.first_at or now,
        last_at=now,
        first_error=delivery.first_error or error,
        error=error,
        reason=failure.reason,
        awaiting_receipt=False,
    )
