"""What goes into the journal and what comes back. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BACKFILL",
    "BRIDGE",
    "POLL",
    "WEBHOOK",
    "Entry",
    "EntryResult",
    "Memory",
    "Quarantined",
    "RequestRecord",
    "StoredEvent",
    "StoredRequest",
    "StreamItems",
    "Submission",
    "SubmissionResult",
]

WEBHOOK, POLL, BACKFILL = "webhook", "poll", "backfill"
#: No path brought it: the bridge itself says so (a notice, a voiding after withdrawn consent).
BRIDGE = "bridge"

#: What redis-py gives for a range of a stream: (entry id, fields).
StreamItems = list[tuple[bytes, dict[bytes, bytes]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """News about one attempt, offered for publishing.

    `digest`: `vendor.material_digest`. `order`: `NormalisedAttempt.order`.
    `build(revision, previous)` makes (type, event id, event JSON); `previous` is the `data` of the event that
    revision replaces, None for revision 1 or where that event has left the journal.
    `subject`: whom it concerns where that is not the attempt remembered: set by notices, which are remembered one by
    one and stand in the journal, and in its partition, beside the attempt they speak of.
    """

    source: str
    attempt_id: str
    digest: bytes
    order: int
    origin: str
    build: Callable[[int, Mapping[str, Any] | None], tuple[str, str, bytes]]
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One inbound webhook to be kept. `outcome` None: whatever its submissions come to.

    `pointers`: keys of watches that it opened; they are kept where the ids of its attempts are.
    """

    id: str
    source: str
    received_at: float
    headers: Mapping[str, str]
    body: bytes
    outcome: str | None = None
    reason: str = ""
    pointers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What must become durable together: the submissions of one webhook and its request, or a page of a poll."""

    submissions: tuple[Submission, ...] = ()
    request: RequestRecord | None = None


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """What became of one submission: `published`, `revised`, `duplicate` or `stale` (an older version than ours).

    `entry_id`: stream id of the attempt's newest event in its partition's journal.
    """

    outcome: str
    revision: int
    entry_id: str


@dataclass(frozen=True, slots=True)
class EntryResult:
    """What became of an entry; `outcome` is what the vendor is told."""

    outcome: str
    results: tuple[SubmissionResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One entry of the journal."""

    entry_id: str
    partition: int
    id: str
    type: str
    source: str
    attempt: str
    event: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """One request as it was kept; `attempts` are the attempt ids found in it. Times in UNIX seconds."""

    id: str
    source: str
    received_at: float
    outcome: str
    reason: str
    headers: Mapping[str, str]
    body: bytes
    attempts: tuple[str, ...]
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A request or polled record that we could not read: the dead letter of the receiving side."""

    entry_id: str
    source: str
    origin: str
    reason: str
    body: bytes
    received_at: float
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of an attempt. Days are days since 1970, None where that path never saw it."""

    revision: int
    order: int
    entry_id: str
    digests: tuple[bytes, ...]
    first_origin: str
    first_day: int
    webhook_day: int | None
    poll_day: int | None
