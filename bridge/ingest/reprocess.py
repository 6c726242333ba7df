"""Runs what is in quarantine through the current code again, after the vendor's folder has learned to read it."""

from __future__ import annotations

from dataclasses import replace

from bridge.errors import Unreadable
from bridge.ingest.context import IngestContext, WebhookRequest
from bridge.ingest.intake import read_body, read_record, unreadable_on_error
from bridge.ingest.pipeline import ingest, receive
from bridge.ingest.submissions import attempt_submission
from bridge.journal import WEBHOOK, Quarantined, StoredRequest
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Ignored, Record

__all__ = ["reprocess_quarantined", "reprocess_request"]


def reprocess_request(context: IngestContext, stored: StoredRequest, *, now: float) -> str:
    """The outcome of receiving a stored request once more, under its old id (outcomes: docs/operations.md).

    It was authentic when it came; its signature may be too old to be checked again. Raises `StateUnavailable`, and
    `ValueError` for a request that was refused: nothing proves who sent it.
    """
    if stored.outcome == "rejected":
        raise ValueError(f"request {stored.id} was refused ({stored.reason}); let the vendor send it again")
    again = WebhookRequest(
        id=stored.id, body=stored.body, headers=stored.headers, kept_headers=stored.headers, received_at=now
    )
    # Looked at first: a failed run would otherwise keep another copy of the request and of its quarantine.
    if not _is_readable(context, stored.body, now):
        return "quarantined"
    return receive(replace(context, vendor=replace(context.vendor, verify=None)), again).outcome


def reprocess_quarantined(
    context: IngestContext, entry: Quarantined, stored: StoredRequest | None, *, now: float
) -> str:
    """The outcome of reading an entry of the quarantine once more; `stored` is its request, if that is still kept.

    Raises `StateUnavailable`.
    """
    if entry.origin == WEBHOOK:
        return reprocess_request(context, stored or _request_of(entry), now=now)
    try:
        with unreadable_on_error(context.source.name, "reprocess"):
            kept = parse(entry.body)
            record = Record(kept["kind"], kept["record"])
            read_record(context, record, now)
    except Unreadable:
        return "quarantined"
    outcomes = ingest(context, [record], origin=entry.origin, now=now).outcomes
    return next((outcome for outcome, count in outcomes.items() if count), "ignored")


def _is_readable(context: IngestContext, body: bytes, now: float) -> bool:
    try:
        reading = read_body(context, body)
        for record in () if isinstance(reading, Ignored) else reading:
            if isinstance(record, Record):
                with unreadable_on_error(context.source.name, "reprocess"):
                    attempt_submission(context, read_record(context, record, now), origin=WEBHOOK, now=now)
    except Unreadable:
        return False
    return True


def _request_of(entry: Quarantined) -> StoredRequest:
    return StoredRequest(
        id=entry.request_id or entry.entry_id,
        source=entry.source,
        received_at=entry.received_at,
        outcome="quarantined",
        reason=entry.reason,
        headers={},
        body=entry.body,
        attempts=(),
        partition=0,
    )
