"""Processes quarantined items and stored requests again, after the vendor's folder has learned to read them."""

from __future__ import annotations

from dataclasses import replace

from bridge.errors import Unreadable
from bridge.ingest.context import IngestContext, WebhookRequest
from bridge.ingest.intake import read_body, read_record, unreadable_on_error
from bridge.ingest.pipeline import ingest, receive
from bridge.ingest.submissions import buildable_attempt
from bridge.journal import WEBHOOK, Quarantined, StoredRequest
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Ignored, Record

__all__ = ["reprocess_quarantined", "reprocess_request"]


def reprocess_request(context: IngestContext, stored: StoredRequest, *, now: float) -> str:
    """The outcome (docs/operations.md) of receiving a stored request again, under its old id.

    The signature was valid on arrival and is not checked again, as it may have expired. Raises `StateUnavailable`, and
    `ValueError` for a request that was refused: its sender is unknown.
    """
    if stored.outcome == "rejected":
        raise ValueError(f"request {stored.id} was refused: {stored.reason}. Let the vendor send it again")
    request = WebhookRequest(
        id=stored.id,
        body=stored.body,
        headers=stored.headers,
        kept_headers=stored.headers,
        received_at=now,
        secret=stored.secret,
    )
    # Checked first: a failed run would store the request and its quarantine entry a second time.
    if not _is_readable(context, stored.body, now):
        return "quarantined"
    return receive(replace(context, vendor=replace(context.vendor, verify=None)), request).outcome


def reprocess_quarantined(
    context: IngestContext, entry: Quarantined, stored: StoredRequest | None, *, now: float
) -> str:
    """The outcome of processing a quarantined item again; `stored` is its request, if that is still stored.

    Raises `StateUnavailable`.
    """
    if entry.origin == WEBHOOK:
        return reprocess_request(context, stored or _request_of(entry), now=now)
    try:
        with unreadable_on_error(context.source.name, "reprocess"):
            item = parse(entry.body)
            record = Record(item["kind"], item["record"])
        read_record(context, record, now)
    except Unreadable:
        return "quarantined"
    outcomes = ingest(context, [record], origin=entry.origin, now=now).outcomes
    return next((outcome for outcome, count in outcomes.items() if count), "ignored")


def _is_readable(context: IngestContext, body: bytes, now: float) -> bool:
    try:
        content = read_body(context, body)
        for item in () if isinstance(content, Ignored) else content:
            if isinstance(item, Record):
                buildable_attempt(context, item, now)
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
