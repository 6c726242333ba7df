"""What becomes of an event after a try, as rows for `settle.lua`; which events are wanted. Pure.

Each row is (kind, journal entry, event id, ...) as the head of the script says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.config.model import Subscription
from bridge.delivery.store import Delivery
from bridge.errors import DeliveryFailed, clip
from schemas.event import minimal
from workers.dispatch.schedule import Limits, max_tries, retry_delay
from workers.transports.contract import Outcome, Outgoing

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
    "trailing_failures",
    "unreadable_item",
    "unreadable_row",
    "with_receipt_awaited",
]

Row = list[str | bytes]
#: `reason` of a journal entry or a record that cannot be sent as it stands there.
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Item:
    """An event in hand: a new one (`entry` is its place in the journal) or a retry (`entry` is empty)."""

    entry: str
    event: bytes
    delivery: Delivery


def item_from_entry(entry: bytes, fields: Mapping[bytes, bytes]) -> Item:
    """A journal entry as the first delivery of its event."""
    delivery = Delivery(
        id=fields[b"id"].decode(),
        type=fields[b"type"].decode(),
        source=fields[b"source"].decode(),
        attempt=fields[b"attempt"].decode(),
        entry=entry.decode(),
    )
    return Item(delivery.entry, fields[b"event"], delivery)


def unreadable_item(entry: bytes, fields: Mapping[bytes, bytes]) -> Item:
    """A journal entry that `item_of` cannot take, as far as it can be told."""

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    place = entry.decode()
    delivery = Delivery(
        id=text(b"id") or place, type=text(b"type"), source=text(b"source"), attempt=text(b"attempt"), entry=place
    )
    return Item(place, fields.get(b"event", b""), delivery)


def item_from_retry(record: bytes, fields: Mapping[bytes, bytes]) -> Item:
    """A retry that is due; its event is in the record or in the journal, empty if in neither. Raises `ValueError`."""
    delivery = Delivery.from_json(record)
    return Item("", delivery.event.encode() if delivery.event else fields.get(b"event", b""), delivery)


def prepare(subscription: Subscription, item: Item) -> Outgoing | None:
    """The event as it is sent; None: not wanted. A retry was wanted before."""
    if item.entry and not matches_filter(subscription, item):
        return None
    return outgoing_event(subscription, item)


def matches_filter(subscription: Subscription, item: Item) -> bool:
    """Whether the filter lets the event pass; its JSON is only read where `when` asks for it."""
    wish = subscription.filter
    if not wish.takes_header(item.delivery.type, item.delivery.source):
        return False
    if not wish.when:
        return True
    # A notice has no result to compare, and was asked for by its type.
    result = json.loads(item.event)["data"].get("result")
    return result is None or wish.takes_result(result)


def outgoing_event(subscription: Subscription, item: Item) -> Outgoing:
    """The event as the subscription gets it: the journal's bytes, or the projection `minimal`."""
    body = item.event
    if subscription.data == "minimal":
        body = json.dumps(minimal(json.loads(body)), ensure_ascii=False, separators=(",", ":")).encode()
    delivery = item.delivery
    return Outgoing(delivery.id, delivery.type, delivery.source, delivery.attempt, body)


def outcome_row(item: Item, outcome: Outcome, subscription: Subscription, now: float, draw: Callable[[], float]) -> Row:
    """After a try that reached the receiver: done, receipt awaited, next try, or given up."""
    delivery = item.delivery
    if outcome is None:
        if subscription.receipts.required:
            return ["sent", item.entry, delivery.id, with_receipt_awaited(delivery, now).to_json()]
        return ["ok", item.entry, delivery.id]
    tried = _failed(delivery, outcome, now)
    wait = retry_delay(subscription.retry, tried.tries, draw(), outcome.retry_after)
    if wait is None or outcome.permanent:
        return dead_row(replace(item, delivery=tried), outcome.reason, now)
    return ["retry", item.entry, delivery.id, f"{now + wait:.3f}", tried.to_json()]


def skip_row(item: Item) -> Row:
    """Not wanted."""
    return ["skip", item.entry, item.delivery.id]


def postpone_row(item: Item, due: float) -> Row:
    """A retry that was not the receiver's fault comes again at `due`, as it is."""
    return ["later", item.entry, item.delivery.id, f"{due:.3f}", item.delivery.to_json()]


def dead_row(item: Item, reason: str, now: float, *, record: bytes = b"") -> Row:
    """Given up: the dead letter keeps its own copy of the event, the journal forgets. `record`: kept as it is."""
    delivery = item.delivery
    fields: Row = ["id", delivery.id, "type", delivery.type, "source", delivery.source, "attempt", delivery.attempt]
    fields += ["event", item.event, "reason", reason, "at", f"{now:.3f}"]
    fields += ["delivery", replace(delivery, event=None).to_json()]
    fields += ["record", record] if record else []
    return ["dead", item.entry, delivery.id, str(len(fields)), *fields]


def give_up_row(item: Item, times: int, subscription: Subscription, limits: Limits, now: float) -> Row | None:
    """The row of a retry that was taken for the `times`-th time and is not to be sent; None for all others."""
    if not item.event:
        return dead_row(item, "the journal has forgotten the event", now)
    if times > limits.poison_after:
        return poison_row(item, times - 1, now)
    if item.delivery.awaiting_receipt and item.delivery.tries >= max_tries(subscription.retry):
        return dead_row(item, "no receipt", now)
    return None


def unreadable_row(item: Item, error: Exception, now: float, *, record: bytes = b"") -> Row:
    """Given up at once: what stands in the state is not going to change. `record`: what it was, where that is lost."""
    text = f"unreadable: {type(error).__name__}; the log of dispatch has the place"
    delivery = replace(item.delivery, tries=item.delivery.tries + 1, last_at=now, error=text, reason=UNREADABLE)
    return dead_row(replace(item, delivery=delivery), UNREADABLE, now, record=record)


def poison_row(item: Item, times: int, now: float) -> Row:
    """Given up because processes die of it."""
    error = f"the process ended {times} times while it sent this event"
    delivery = replace(item.delivery, tries=times, last_at=now, error=error, reason="poison")
    return dead_row(replace(item, delivery=delivery), "poison", now)


def with_receipt_awaited(delivery: Delivery, now: float) -> Delivery:
    """After a hand-over whose receipt is awaited."""
    return replace(
        delivery, tries=delivery.tries + 1, first_at=delivery.first_at or now, last_at=now, awaiting_receipt=True
    )


def trailing_failures(outcomes: Sequence[Outcome]) -> tuple[int, str]:
    """How many tries in a row failed at the end of a batch, and the last error in it."""
    trailing = 0
    for outcome in reversed(outcomes):
        if outcome is None:
            break
        trailing += 1
    return trailing, next((failure_text(outcome) for outcome in reversed(outcomes) if outcome is not None), "")


def failure_text(failure: DeliveryFailed) -> str:
    """For the state: short, and UTF-8 whatever the other side has put into it."""
    return clip(failure, 200).encode(errors="replace").decode()


def _failed(delivery: Delivery, failure: DeliveryFailed, now: float) -> Delivery:
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
