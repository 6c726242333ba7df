"""The shapes of `/api/v1/subscriptions`."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from bridge.delivery.subscription_rows import STATES
from bridge.web.api.members import Flag, shown_time
from bridge.web.api.paging import Page

__all__ = [
    "ForgetOptions",
    "Forgotten",
    "Paused",
    "Resumed",
    "SubscriptionDetails",
    "SubscriptionPage",
    "SubscriptionRow",
    "Tested",
]


def _number(description: str, **options: Any) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": description}, **options)


def _text(description: str, **options: Any) -> fields.String:
    return fields.String(required=True, metadata={"description": description}, **options)


class _Shape(Schema):
    class Meta:
        unknown = EXCLUDE


class SubscriptionRow(_Shape):
    """One subscription. Counters are since the first start."""

    name = _text("Name of the subscription.")
    configured = fields.Boolean(
        required=True, metadata={"description": "False: it is no longer in the configuration, but not forgotten."}
    )
    transport = _text(
        "`celery`, `kombu`, `http`, `sql`, `kafka` or `notify`; null: it is not configured.", allow_none=True
    )
    target = _text("Queue, exchange, topic, address or services.", allow_none=True)
    state = _text(f"One of: {', '.join(STATES)}.")
    delivered = _number("Deliveries that succeeded, or were handed over where a receipt is required.")
    handed_over = _number("Those of `delivered` that require a receipt.")
    skipped = _number("Events that the filter excluded.")
    failed = _number("Tries that failed and were followed by a retry.")
    dead = _number("Deliveries that were given up.")
    unexpected = _number("Unexpected errors.")
    cancelled = _number("Deliveries that an operator cancelled.")
    discarded = _number("Dead letters that an operator discarded.")
    expired = _number("Dead letters that were deleted for their age.")
    unsent = _number("Events that were deleted unsent, while it was paused or disabled.")
    retrying = _number("Deliveries that wait for a retry or a receipt.")
    dead_letters = _number("Dead letters kept.")
    pending = _number("Events read by a dispatch process but not settled.")
    lag = _number("Events that no dispatch process has read; null: the server cannot tell.", allow_none=True)
    circuit = _text("`closed`, `open`, `paused`, `disabled`, or `removed` where it is not configured.")
    why = _text("Why it is not closed; empty: it is.")
    waits = _text("What prevents any try, such as a broker that is down; empty: nothing.")
    waits_since = shown_time("Since when; null: nothing does, or it is not known.", allow_none=True)
    failures = _number("Failures of the receiver in a row.")
    failing_since = shown_time("When they began; null: the receiver answers.", allow_none=True)
    open_until = shown_time("When an open circuit lets the next try through; null: at once.", allow_none=True)
    last_error = _text("Error of the last failed try; empty: none failed.")
    last_error_at = shown_time("When that try was.", allow_none=True)
    delivered_at = shown_time("The last successful try.", allow_none=True)
    waiting = _number("Events neither delivered nor given up; null: the server cannot tell.", allow_none=True)
    waiting_since = shown_time("When the oldest of them was recorded; null: none waits.", allow_none=True)
    deleted_from = shown_time(
        "From when they are deleted unsent, because it is paused or disabled; null: none is deleted.", allow_none=True
    )


class SubscriptionDetails(SubscriptionRow):
    """One subscription with its configuration, if it is configured."""

    sending = fields.Integer(
        allow_none=True,
        metadata={"description": "If it is paused or disabled: lanes that may still be sending; null: it is active."},
    )
    configuration = fields.Dict(metadata={"description": "As in the file, with defaults and without secrets."})


class SubscriptionPage(Page):
    """Subscriptions, in the order of the file."""

    subscriptions = fields.List(fields.Nested(SubscriptionRow), required=True)


class Paused(_Shape):
    """What a pause has changed."""

    changed = fields.Boolean(required=True, metadata={"description": "False: it was paused already."})
    sending = _number("Lanes that may still be sending; 0: nothing more arrives.")


class Resumed(_Shape):
    """What resuming has changed."""

    changed = fields.Boolean(required=True, metadata={"description": "False: nothing had stopped it."})
    retries = _number("Waiting retries that are due now.")


class ForgetOptions(Schema):
    """How to forget a subscription."""

    dry_run = Flag(load_default=False, metadata={"description": "Count what would be deleted, delete nothing."})


class Forgotten(_Shape):
    """What is left of a subscription that is no longer configured."""

    forgotten = fields.Boolean(required=True, metadata={"description": "Whether it was deleted."})
    waiting = _number("Waiting events; null: the server cannot tell.", allow_none=True)
    retrying = _number("Deliveries that wait for a retry or a receipt.")
    dead_letters = _number("Dead letters.")


class ShownRequest(_Shape):
    """What was sent."""

    to = _text("Where to: address, queue, exchange or topic.")
    headers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "Headers of the request or message; `****` in place of what may be a secret."},
    )
    body = _text("The body, as it was sent.")


class Tested(_Shape):
    """The result of a test."""

    subscription = _text("Name of the subscription.")
    ok = fields.Boolean(
        required=True, metadata={"description": "Whether the receiver, broker, database or services accepted it."}
    )
    problem = _text("What is wrong, in one line; empty: nothing.")
    reason = _text("Why it failed, a fixed word; empty: it did not.")
    state = _text("State of the subscription: a test is sent in any state.")
    event_id = _text("Id of the event; empty: none was sent.")
    at = shown_time("When it was sent; null: it was not.", allow_none=True)
    seconds = fields.Float(required=True, allow_none=True, metadata={"description": "How long that took."})
    request = fields.Nested(
        ShownRequest, required=True, allow_none=True, metadata={"description": "What was sent; null: nothing."}
    )
    status = _number("Status of the HTTP answer; null without one.", allow_none=True)
    answer = _text("The beginning of the answer, at most 1 kB.")
