"""The arguments of `publish_once.lua`: what a call publishes, and how it is packed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.journal.entries import BACKFILL, BRIDGE, POLL, WEBHOOK, Entry, Submission
from bridge.journal.paging import id_order
from bridge.state.partitions import Spread

__all__ = ["Call", "Pending", "named", "record_args", "request_args"]

_ORIGIN = {WEBHOOK: b"w", POLL: b"p", BACKFILL: b"b", BRIDGE: b"o"}
_ANNOUNCED = b"a"
#: `json.dumps` with arguments would build an encoder for each request.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(slots=True)
class Pending:
    """A submission without a result yet."""

    #: (entry, position) in the caller's batch.
    slot: tuple[int, int]
    #: The submission.
    submission: Submission
    #: Where it is remembered, in which epoch of the partitions; -1: not known yet.
    partition: int = 0
    field: bytes = b""
    epoch: int = -1
    #: The revision that the attempt must still have; 0: it must be unknown.
    expected: int = 0
    #: `data` of the event of that revision.
    previous: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Call:
    """The arguments of one call of the script, for one partition."""

    #: Records without a request first, then those of each request.
    records: list[Pending] = field(default_factory=list)
    #: (entry, number of its records, outcome so far) of each request to store, in the order of their records.
    requests: list[tuple[int, int, str]] = field(default_factory=list)


def named(submission: Submission) -> tuple[str, str, str | None]:
    """Source, attempt, and for a notice what distinguishes it; None for an attempt itself."""
    if submission.subject:
        return submission.source, submission.subject, submission.attempt_id
    return submission.source, submission.attempt_id, None


def record_args(pending: Pending, spread: Spread) -> list[bytes | str | int]:
    """The arguments of one record. Builds its event."""
    submission = pending.submission
    ends = submission.journal_ends
    event_type, event_id, event = submission.build(pending.expected + 1, pending.previous)
    if submission.span is not None:
        named = {
            "messaging.message.id": event_id,
            "cloudevents.event_id": event_id,
            "cloudevents.event_type": event_type,
        }
        submission.span.set(named)
    return [
        pending.field,
        submission.digest + submission.former_digest,
        submission.order.to_bytes(5, "big") + (b"" if ends is None else _end_of(ends, pending.partition, spread)),
        _ANNOUNCED if submission.announced and submission.origin == POLL else _ORIGIN[submission.origin],
        pending.expected,
        event_type,
        event_id,
        submission.source,
        submission.subject or submission.attempt_id,
        event,
    ]


def _end_of(ends: Sequence[str], partition: int, spread: Spread) -> bytes:
    """The journal's end before the vendor was asked. An event may be in the partition where its attempt was earlier."""
    return max((end.encode() for end in ends), key=id_order) if spread.epoch else ends[partition].encode()


def request_args(entry: Entry, records: int, so_far: str) -> list[bytes | str | int]:
    """The arguments of an entry's request. `records`: their number in this call. `so_far`: its outcome before."""
    request = entry.request
    if request is None:
        raise AssertionError("only entries with a request come here")
    return [
        request.outcome or "",
        records,
        so_far,
        request.id,
        request.source,
        f"{request.received_at:.3f}",
        request.reason,
        _ENCODER.encode(dict(request.headers)),
        request.body,
        "\n".join((*(item.attempt_id for item in entry.submissions if item.subject is None), *request.pointers)),
        "" if request.secret is None else request.secret,
    ]
