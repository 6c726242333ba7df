"""Runs what is in quarantine through the current code again, after the vendor's folder has learned to read it."""

from __future__ import annotations

from dataclasses import replace

from bridge.errors import Unreadable
from bridge.ingest.intake import charged, read_body, read_record
from bridge.ingest.pipeline import Request, Way, ingest, receive, submission
from bridge.journal import WEBHOOK, Quarantined, StoredRequest
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Ignored, Record

__all__ = ["reprocess_quarantined", "reprocess_request"]


def reprocess_request(way: Way, stored: StoredRequest, *, now: float) -> str:
    """The outcome (design 6.2) of receiving a stored request once more, under its old id.

    It was authentic when it came; its signature may be too old to be checked again. Raises `StateUnavailable`, and
    `ValueError` for a request that was refused: nothing proves who sent it.
    """
    if stored.outcome == "rejected":
        raise ValueError(f"request {stored.id} was refused ({stored.reason}); let the vendor send it again")
    again = Request(
        id=stored.id, body=stored.body, headers=stored.headers, kept_headers=stored.headers, received_at=now
    )
    # Looked at first: a failed run would otherwise keep another copy of the request and of its quarantine.
    if not _is_readable(way, stored.body, now):
        return "quarantined"
    return receive(replace(way, vendor=replace(way.vendor, verify=None)), again).outcome


def reprocess_quarantined(way: Way, entry: Quarantined, stored: StoredRequest | None, *, now: float) -> str:
    """The outcome of reading an entry of the quarantine once more; `stored` is its request, if that is still kept.

    Raises `StateUnavailable`.
    """
    if entry.origin == WEBHOOK:
        return reprocess_request(way, stored or _request_of(entry), now=now)
    try:
        with charged(way.source.name, "reprocess"):
            kept = parse(entry.body)
            record = Record(kept["kind"], kept["record"])
            read_record(way, record, now)
    except Unreadable:
        return "quarantined"
    outcomes = ingest(way, [record], origin=entry.origin, now=now).outcomes
    return next((outcome for outcome, count in outcomes.items() if count), "ignored")


def _is_readable(way: Way, body: bytes, now: float) -> bool:
    try:
        reading = read_body(way, body)
        for record in () if isinstance(reading, Ignored) else reading:
            if isinstance(record, Record):
                with charged(way.source.name, "reprocess"):
                    submission(way, read_record(way, record, now), origin=WEBHOOK, now=now)
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
