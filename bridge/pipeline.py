"""What happens between a vendor's bytes and the journal: verify, split, normalise, publish once.

Pure orchestration: the vendor, the journal and the moment are handed in. `receive` is the way of a webhook, `ingest`
that of a poll page, a re-check or a backfill.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from bridge import clock
from bridge.config import BridgeConfig, Source
from bridge.errors import Unreadable, clip
from bridge.journal import POLL, WEBHOOK, Entry, RequestRecord, Submission
from bridge.journal.publishing import Publisher
from bridge.strict_json import parse
from bridge.vendor import NEWS, Ignored, Normalised, Record, Vendor, Watch, material_digest
from schemas.event import (
    COMPLETED,
    REVISED,
    SCHEMA_VERSION,
    VOIDED,
    Attempt,
    Data,
    Event,
    Links,
    VendorFacts,
    event_id,
    source_path,
)

__all__ = ["IngestReport", "Quarantine", "Receipt", "Request", "WatchBook", "ingest", "receive"]


class WatchBook(Protocol):
    """Where open attempts are kept (`bridge.watches`)."""

    def open_many(self, source: str, watches: Mapping[str, Watch], *, now: float) -> None: ...

    def close_many(self, source: str, attempt_ids: Sequence[str], *, now: float) -> None: ...


class Quarantine(Protocol):
    """Where unreadable requests and records are kept (`bridge.journal.requests`)."""

    def add(
        self, *, source: str, origin: str, reason: str, body: bytes, now: float, request_id: str | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One webhook as it came in. `headers` have lower-case names; `kept_headers` are those that may be stored."""

    id: str
    body: bytes
    headers: Mapping[str, str]
    kept_headers: Mapping[str, str]
    received_at: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the vendor is told: `outcome` of design 6.2 and the id under which the request is kept."""

    outcome: str
    request_id: str


@dataclass(slots=True)
class IngestReport:
    """What became of polled records; `attempts` are the ids of those that were news (published or revised)."""

    outcomes: Counter[str] = field(default_factory=Counter)
    attempts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Everything that is the same for all records of one source: who publishes, and under which names."""

    vendor: Vendor
    source: Source
    bridge: BridgeConfig
    publisher: Publisher
    watches: WatchBook
    quarantine: Quarantine


def receive(way: Way, request: Request) -> Receipt:
    """One webhook, from raw bytes to a durable effect.

    Raises `BadSignature` (nothing is kept here: the caller decides) and `StateUnavailable`.
    """
    vendor, now = way.vendor, request.received_at
    if vendor.verify is not None:
        secrets = way.source.credentials.get(vendor.secret_credential or "", ())
        vendor.verify(request.body, request.headers, secrets, now)
    try:
        reading = vendor.split(parse(request.body), way.source.options)
        news = (
            ()
            if isinstance(reading, Ignored)
            else tuple(vendor.normalise(record, now, way.source.options) for record in reading)
        )
    except Unreadable as error:
        way.quarantine.add(
            source=way.source.name,
            origin=WEBHOOK,
            reason=str(error),
            body=request.body,
            now=now,
            request_id=request.id,
        )
        return _keep(way, request, outcome="quarantined", reason=str(error))
    if isinstance(reading, Ignored):
        return _keep(way, request, outcome=reading.outcome, reason=reading.kind)
    fresh = [one for one in news if one.status in NEWS]
    _open_watches(way, news, now)
    if not fresh:
        watched = any(one.watch is not None for one in news)
        return _keep(way, request, outcome="watching" if watched else "ignored", reason=_statuses(news))
    submissions = tuple(_submission(way, one, origin=WEBHOOK, now=now, request_id=request.id) for one in fresh)
    receipt = _keep(way, request, submissions=submissions)
    _close_watches(way, fresh, now)
    return receipt


def ingest(way: Way, records: Sequence[Record], *, origin: str = POLL, now: float) -> IngestReport:
    """Records read from the vendor's API. When this returns, every one of them is published, known, no news, or kept
    in quarantine, durably: only then may a cursor move. Raises `StateUnavailable`."""
    report = IngestReport()
    news: list[Normalised] = []
    for record in records:
        try:
            news.append(way.vendor.normalise(record, now, way.source.options))
        except Unreadable as error:
            body = json.dumps({"kind": record.kind, "record": record.body}, default=str, ensure_ascii=False).encode()
            way.quarantine.add(source=way.source.name, origin=origin, reason=str(error), body=body, now=now)
            report.outcomes["quarantined"] += 1
    fresh = [one for one in news if one.status in NEWS]
    report.outcomes["ignored"] += len(news) - len(fresh)
    _open_watches(way, news, now)
    submissions = tuple(_submission(way, one, origin=origin, now=now, request_id=None) for one in fresh)
    if submissions:
        written = way.publisher.publish(Entry(submissions=submissions), now=now)
        for submission, verdict in zip(submissions, written.verdicts, strict=True):
            report.outcomes[verdict.outcome] += 1
            if verdict.outcome in ("published", "revised"):
                report.attempts.append(submission.attempt_id)
    _close_watches(way, fresh, now)
    return report


def _keep(
    way: Way,
    request: Request,
    *,
    outcome: str | None = None,
    reason: str = "",
    submissions: tuple[Submission, ...] = (),
) -> Receipt:
    record = RequestRecord(
        id=request.id,
        source=way.source.name,
        received_at=request.received_at,
        headers=request.kept_headers,
        body=request.body,
        outcome=outcome,
        reason=clip(reason),
    )
    written = way.publisher.publish(Entry(submissions=submissions, request=record), now=request.received_at)
    return Receipt(written.outcome, request.id)


def _open_watches(way: Way, news: Sequence[Normalised], now: float) -> None:
    # Before publishing: a crash in between leaves a watch too many, never one too few.
    watches = {one.attempt_id: one.watch for one in news if one.watch is not None}
    if watches:
        way.watches.open_many(way.source.name, watches, now=now)


def _close_watches(way: Way, news: Sequence[Normalised], now: float) -> None:
    # Where nobody can look again, nobody watches.
    if way.vendor.recheck is not None:
        settled = [one.attempt_id for one in news if one.watch is None]
        way.watches.close_many(way.source.name, settled, now=now)


def _statuses(news: Sequence[Normalised]) -> str:
    return " ".join(sorted({one.status for one in news}))


def _submission(way: Way, news: Normalised, *, origin: str, now: float, request_id: str | None) -> Submission:
    recorded = clock.to_datetime(now)

    def build(revision: int, previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        event = build_event(way, news, revision, previous, origin=origin, recorded=recorded, request_id=request_id)
        return event.type, event.id, event.to_json()

    return Submission(
        source=way.source.name,
        attempt_id=news.attempt_id,
        digest=material_digest(news),
        order=news.order,
        origin=origin,
        build=build,
    )


def event_type(status: str, revision: int) -> str:
    """`attempt.completed` or `attempt.voided` for the first news, `attempt.revised` for every later one."""
    if revision > 1:
        return REVISED
    return VOIDED if status == "voided" else COMPLETED


def build_event(
    way: Way,
    news: Normalised,
    revision: int,
    previous: Mapping[str, Any] | None,
    *,
    origin: str,
    recorded: datetime,
    request_id: str | None,
) -> Event:
    """The event of one revision. `time` is the vendor's finish, or the moment of receipt where it gives none."""
    source, bridge = way.source, way.bridge
    path = source_path(bridge.name, source.name)
    kind = event_type(news.status, revision)
    return Event(
        id=event_id(path, news.attempt_id, kind, revision),
        source=path,
        type=kind,
        subject=news.attempt_id,
        time=news.completed_at or recorded,
        dataschema=f"{bridge.public_url}/schemas/attempt/{SCHEMA_VERSION}.json",
        recordedtime=recorded,
        partitionkey=f"{source.name}/{news.attempt_id}",
        bridgevendor=way.vendor.name,
        bridgeorigin=origin,
        data=Data(
            attempt=Attempt(
                id=news.attempt_id,
                revision=revision,
                status=news.status,
                started_at=news.started_at,
                completed_at=news.completed_at,
                duration_seconds=news.duration_seconds,
            ),
            candidate=news.candidate,
            assessment=news.assessment,
            result=news.result if previous is None else replace(news.result, previous=previous),
            sections=news.sections,
            flags=news.flags,
            vendor=VendorFacts(
                name=way.vendor.name, source=source.name, status=news.vendor_status, ids=news.vendor_ids
            ),
            links=Links(
                report=news.report,
                certificate=news.certificate,
                request=None if request_id is None else f"{bridge.public_url}/api/v1/requests/{request_id}",
            ),
            extensions=news.extensions,
        ),
    )
