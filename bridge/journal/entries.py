"""What is written to the journal and what is read from it. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.telemetry.tracing import Span

__all__ = [
    "BACKFILL",
    "BRIDGE",
    "OUTCOME_RANK",
    "POLL",
    "PUBLISHED_OUTCOMES",
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
#: Origin of what the bridge itself publishes: a notice, or a voiding after withdrawn consent.
BRIDGE = "bridge"

#: Outcomes of a submission whose event was appended to the journal.
PUBLISHED_OUTCOMES = ("published", "revised")
#: A request has the highest of its outcomes; publish_once.lua has the same table.
OUTCOME_RANK = {"published": 4, "revised": 3, "duplicate": 1, "stale": 1}

#: A range of a stream as redis-py returns it: (entry id, fields).
StreamItems = list[tuple[bytes, dict[bytes, bytes]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One version of an attempt, or a notice, to be published once."""

    #: Name of the source.
    source: str
    #: The id under which it is remembered; a notice has its own.
    attempt_id: str
    #: Six bytes that change when the result changes (`bridge.sdk.records.material_digest`).
    digest: bytes
    #: See `NormalisedAttempt.order`.
    order: int
    #: `WEBHOOK`, `POLL`, `BACKFILL` or `BRIDGE`.
    origin: str
    #: (revision, previous) -> (type, event id, event JSON). `previous`: `data` of the event that the revision replaces,
    #: None for revision 1 or if that event has left the journal.
    build: Callable[[int, Mapping[str, Any] | None], tuple[str, str, bytes]]
    #: Of a record of the vendor's API: id of the last entry of the journal before the vendor was asked, by partition.
    #: Without an order it does not replace what was published since then. None: it may.
    journal_ends: tuple[str, ...] | None = None
    #: The digest that an earlier version made from the same result; empty if it is the same.
    former_digest: bytes = b""
    #: Read because a webhook had announced it: the poll did not find it.
    announced: bool = False
    #: Of a notice: what it concerns. It goes into the partition of that attempt and is listed under it.
    subject: str | None = None
    #: Ended when its event is appended; None: not traced.
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One webhook to be stored."""

    #: Id of the request.
    id: str
    #: Name of the source.
    source: str
    #: UNIX seconds.
    received_at: float
    #: The headers that may be stored.
    headers: Mapping[str, str]
    #: The body as received.
    body: bytes
    #: Its outcome; None: the highest outcome of its submissions (`OUTCOME_RANK`).
    outcome: str | None = None
    #: Why it has this outcome.
    reason: str = ""
    #: Keys of the watches that it opened, stored with the ids of its attempts.
    pointers: tuple[str, ...] = ()
    #: Number of the secret, or of the token in the address, that it matched, from 1; None: there is none, or unknown.
    secret: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What must become durable together: one webhook with its submissions, or a page of a poll."""

    #: Empty for a webhook with nothing to publish.
    submissions: tuple[Submission, ...] = ()
    #: The webhook; None for a poll.
    request: RequestRecord | None = None


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """What became of one submission."""

    #: `published`, `revised`, `duplicate` or `stale` (older than the published version).
    outcome: str
    #: Revision of the attempt's newest event.
    revision: int
    #: Stream id of the attempt's newest event in the journal of its partition.
    entry_id: str


@dataclass(frozen=True, slots=True)
class EntryResult:
    """What became of one entry."""

    #: The highest outcome of its submissions, or the outcome given with the request; returned to the vendor.
    outcome: str
    #: One for each submission, in the same order.
    results: tuple[SubmissionResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One entry of the journal."""

    #: Stream id.
    entry_id: str
    #: Partition of the journal.
    partition: int
    #: Event id.
    id: str
    #: Event type.
    type: str
    #: Name of the source.
    source: str
    #: Attempt id; of a notice, what it concerns.
    attempt: str
    #: The event, JSON.
    event: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """One request as it was stored."""

    #: Id of the request.
    id: str
    #: Name of the source.
    source: str
    #: UNIX seconds.
    received_at: float
    #: What the vendor was answered; `rejected` for a request that was refused.
    outcome: str
    #: Why it has this outcome.
    reason: str
    #: The headers that were stored.
    headers: Mapping[str, str]
    #: The body as received; of a refused request its beginning.
    body: bytes
    #: Ids of the attempts in it, and keys of the watches that it opened.
    attempts: tuple[str, ...]
    #: Partition that holds it.
    partition: int
    #: As in `RequestRecord`; None: there is none, or an earlier version stored it.
    secret: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A request or record that could not be read."""

    #: Stream id.
    entry_id: str
    #: Name of the source.
    source: str
    #: `WEBHOOK`, `POLL` or `BACKFILL`.
    origin: str
    #: Why it could not be read.
    reason: str
    #: The body of the request, or JSON with kind and record.
    body: bytes
    #: UNIX seconds.
    received_at: float
    #: Id of the request; None for a record.
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered about an attempt. Days are days since 1970."""

    #: Its newest revision; 255 means 255 or more.
    revision: int
    #: See `NormalisedAttempt.order`.
    order: int
    #: Stream id of its newest event.
    entry_id: str
    #: Digests of its latest versions, newest last.
    digests: tuple[bytes, ...]
    #: `WEBHOOK` or `POLL`: the path that saw it first.
    first_origin: str
    #: When it was first seen.
    first_day: int
    #: When a webhook first had it; None: never.
    webhook_day: int | None
    #: When a poll or a backfill first had it; None: never.
    poll_day: int | None
