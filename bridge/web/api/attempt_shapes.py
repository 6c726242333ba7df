"""The shapes of attempts in the API, and the row of the list."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields

from bridge.journal.attempts import MAX_REVISIONS
from bridge.journal.event_fields import EventItem
from bridge.web.api.deliveries import DeliveryDetails
from bridge.web.api.events import EventRow
from bridge.web.api.filters import FilteredPage, iso, without_addresses
from bridge.web.api.members import shown_time
from bridge.web.api.requests import RequestRow
from bridge.web.api.watch_shapes import WatchRow

__all__ = ["AttemptDetails", "AttemptPage", "attempt_row"]


def _text(meaning: str, *, allow_none: bool = True) -> fields.String:
    return fields.String(required=True, allow_none=allow_none, metadata={"description": meaning})


def _number(meaning: str) -> fields.Float:
    return fields.Float(required=True, allow_none=True, metadata={"description": meaning})


def _day(meaning: str) -> fields.String:
    return fields.String(required=True, allow_none=True, metadata={"description": meaning, "format": "date"})


class AttemptRow(Schema):
    """One attempt, as of its newest event."""

    class Meta:
        unknown = EXCLUDE

    source = _text("Name of the source.", allow_none=False)
    attempt = _text("The attempt's id.", allow_none=False)
    type = _text("Type of its newest event.", allow_none=False)
    event_id = _text("Id of its newest event.", allow_none=False)
    recorded_at = shown_time("When the bridge recorded that event.")
    origin = _text("`webhook`, `poll`, `backfill` or `bridge`.")
    revision = fields.Integer(required=True, allow_none=True, metadata={"description": "Its newest revision."})
    status = _text("`completed` or `voided`.")
    candidate_id = _text("The candidate's id at the vendor.")
    external_id = _text("Your own id of the candidate.")
    name = _text("The candidate's name; null for viewers.")
    email = _text("The candidate's e-mail address; null for viewers.")
    label = _text("The label of the expected attempt; null for viewers.")
    assessment = _text("Name of the test, or its id.")
    score = _number("Points reached.")
    max_score = _number("Points that can be reached.")
    percentage = _number("As the vendor calculates it.")
    passed = fields.Boolean(required=True, allow_none=True, metadata={"description": "Whether it was passed."})
    grade = _text("The vendor's grade.")
    grading = _text("`final`, `provisional`, `pending` or `not_scored`.")


class AttemptPage(FilteredPage):
    """Attempts, by their newest event, newest first."""

    attempts = fields.List(fields.Nested(AttemptRow), required=True)


class AttemptEvent(EventRow):
    """One event of an attempt, with its deliveries."""

    deliveries = fields.List(
        fields.Nested(DeliveryDetails),
        required=True,
        allow_none=True,
        metadata={"description": "The newest to each subscription; null: too many to look up, see `listDeliveries`."},
    )


class AttemptDetails(Schema):
    """One attempt and what happened to it."""

    class Meta:
        unknown = EXCLUDE

    source = _text("Name of the source.", allow_none=False)
    attempt = _text("The attempt's id, or the key of a watch.", allow_none=False)
    vendor = _text("Name of the vendor; null for a source that was removed.")
    revision = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Its newest revision; null: nothing was published."}
    )
    first_path = _text("`webhook` or `poll`: which path brought it first.")
    first_day = _day("Day on which it was first seen, UTC.")
    webhook_day = _day("Day on which a webhook first brought it; null: never.")
    poll_day = _day("Day on which a poll, a recheck or a backfill first brought it; null: never.")
    events = fields.List(
        fields.Nested(AttemptEvent),
        required=True,
        metadata={
            "description": f"Oldest first: those of its newest {MAX_REVISIONS} revisions that are still in the "
            "journal, and `attempt.overdue` while its watch is kept."
        },
    )
    missing = fields.Integer(required=True, metadata={"description": "Revisions that are not among the events."})
    requests = fields.List(
        fields.Nested(RequestRow),
        required=True,
        metadata={
            "description": "The webhooks with it that were stored at the time of its events, oldest first; "
            "`listRequests` with the filter `attempt:` finds others."
        },
    )
    watch = fields.Nested(
        WatchRow, required=True, allow_none=True, metadata={"description": "Its open or overdue watch; null: none."}
    )


def attempt_row(item: EventItem, persons: bool) -> dict[str, Any]:
    """The row of an attempt. `persons`: the caller may see names, e-mail addresses and labels."""
    stored = item.stored

    def data(*path: str) -> Any:
        return item.member("data", *path)

    row = {
        "source": stored.source,
        "attempt": stored.attempt,
        "type": stored.type,
        "event_id": stored.id,
        "recorded_at": iso(item.recorded_at),
        "origin": item.member("bridgeorigin"),
        "revision": data("attempt", "revision"),
        "status": data("attempt", "status"),
        "candidate_id": data("candidate", "id"),
        "external_id": data("candidate", "external_id"),
        "name": data("candidate", "name") if persons else None,
        "email": data("candidate", "email") if persons else None,
        "label": data("extensions", "expectation") if persons else None,
        "assessment": data("assessment", "name") or data("assessment", "id"),
        **{name: data("result", name) for name in ("score", "max_score", "percentage", "passed", "grade", "grading")},
    }
    shown: dict[str, Any] = row if persons else without_addresses(row)
    return shown
