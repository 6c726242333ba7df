"""The journal: Redis streams of events, the memory of attempts beside them, and the requests as received."""

from bridge.journal.entries import (
    BACKFILL,
    BRIDGE,
    POLL,
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
