"""The journal: Redis streams of events, what is remembered about attempts, and stored requests."""

from bridge.journal.entries import (
    BACKFILL,
    BRIDGE,
    POLL,
    PUBLISHED_OUTCOMES,
    WEBHOOK,
    Entry,
    EntryResult,
    Memory,
    Quarantined,
    RequestRecord,
    StoredEvent,
    StoredRequest,
    Submission,
    SubmissionResult,
)
from bridge.journal.publishing import Journal

__all__ = [
    "BACKFILL",
    "BRIDGE",
    "POLL",
    "PUBLISHED_OUTCOMES",
    "WEBHOOK",
    "Entry",
    "EntryResult",
    "Journal",
    "Memory",
    "Quarantined",
    "RequestRecord",
    "StoredEvent",
    "StoredRequest",
    "Submission",
    "SubmissionResult",
]
