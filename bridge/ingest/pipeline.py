"""What happens between a vendor's bytes and the journal: verify, split, normalise, publish once.

Pure orchestration: the vendor, the journal and the moment are handed in. `receive` is the way of a webhook, `ingest`
that of a poll page, a re-check or a backfill.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.errors import BadSignature, BridgeError, Unreadable, clip
from bridge.ingest import notices
from bridge.ingest.consent import voided_by_withdrawal
from bridge.ingest.context import IngestReport, Quarantine, Receipt, Request, Way
from bridge.ingest.intake import charged, note_unexpected, read_body, read_record
from bridge.ingest.submissions import keys_of, submission
from bridge.journal import BRIDGE, POLL, WEBHOOK, Entry, RequestRecord, Submission, Verdict, Written
from bridge.polling.expectations import Expectation
from bridge.sdk.vendor import (
    PUBLISHABLE_STATUSES,
    Consent,
    Ignored,
    NormalisedAttempt,
    Pointer,
    Record,
)

__all__ = ["IngestReport", "Quarantine", "Receipt", "Request", "Way", "ingest", "receive", "submission"]


def receive(way: Way, request: Request) -> Receipt:
    """One webhook, from raw bytes to a durable effect.

    Raises `BadSignature` (nothing is kept here: the caller decides) and `StateUnavailable`. What cannot be read, or
    ends in an exception that nobody foresaw, is kept in quarantine: sent again it would only fail again.
    """
    _verify(way, request)
    try:
        with charged(way.source.name, "receive"):
            written = _receive(way, request)
    except Unreadable as error:
        way.quarantine.add(
            source=way.source.name,
            origin=WEBHOOK,
            reason=str(error),
            body=request.body,
            now=request.received_at,
            request_id=request.id,
        )
        written = _keep(way, request, outcome="quarantined", reason=str(error))
    return Receipt(written.outcome, request.id)


def _verify(way: Way, request: Request) -> None:
    """Raises `BadSignature`, also for a request that the check itself stumbles over: nothing proves who sent it."""
    vendor = way.vendor
    if vendor.verify is None:
        return
    secrets = way.source.credentials.get(vendor.secret_credential or "", ())
    try:
        with charged(way.source.name, "verify"):
            vendor.verify(request.body, request.headers, secrets, request.received_at)
    except Unreadable as error:
        raise BadSignature("the signature cannot be checked", reason=error.reason) from error


def _receive(way: Way, request: Request) -> Written:
    now, reading = request.received_at, read_body(way, request.body)
    if isinstance(reading, Ignored):
        return _keep(way, request, outcome=reading.outcome, reason=reading.kind)
    news = [read_record(way, item, now) for item in reading if isinstance(item, Record)]
    pointers = _point(way, [item for item in reading if isinstance(item, Pointer)], now)
    consents = [item for item in reading if isinstance(item, Consent)]
    offer = _offer(way, news, origin=WEBHOOK, now=now, request_id=request.id)
    withdrawals = _withdraw(way, consents, now=now, request_id=request.id)
    if not (offer.submissions or withdrawals):
        watched = pointers or any(one.watch is not None for one in news)
        statuses = " ".join(sorted({one.status for one in news}))
        what = statuses or ("pointer" if pointers else "consent" if consents else "nothing")
        outcome = "watching" if watched else "ignored"
        return _keep(way, request, outcome=outcome, reason=what, pointers=pointers)
    written = _keep(way, request, submissions=(*offer.submissions, *withdrawals), pointers=pointers)
    try:
        _settle(way, offer, [verdict.outcome for verdict in written.verdicts[: len(offer.submissions)]], now)
    except BridgeError:
        raise
    except Exception as error:  # noqa: BLE001 - it is published and kept: a watch too many looks and finds nothing new
        note_unexpected(way.source.name, "settle", error)
    return written


def ingest(way: Way, records: Sequence[Record], *, origin: str = POLL, now: float) -> IngestReport:
    """Records read from the vendor's API. When this returns, every one of them is published, known, no news, or kept
    in quarantine, durably: only then may a cursor move. Raises `StateUnavailable`."""
    report = IngestReport()
    readable: list[tuple[Record, NormalisedAttempt]] = []
    for record in records:
        try:
            readable.append((record, read_record(way, record, now)))
        except Unreadable as error:
            _quarantine(way, record, error, report, origin=origin, now=now)
    try:
        with charged(way.source.name, "publish"):
            _publish(way, [news for _, news in readable], report, origin=origin, now=now)
    except Unreadable:
        # One of them spoils it for all. One by one: what is published already becomes a duplicate.
        for record, news in readable:
            try:
                with charged(way.source.name, "publish one"):
                    _publish(way, [news], report, origin=origin, now=now)
            except Unreadable as error:
                _quarantine(way, record, error, report, origin=origin, now=now)
    return report


def _publish(way: Way, news: list[NormalisedAttempt], report: IngestReport, *, origin: str, now: float) -> None:
    """Publish, and say so in the report, which stays as it was if this fails."""
    offer = _offer(way, news, origin=origin, now=now, request_id=None)
    verdicts: tuple[Verdict, ...] = ()
    if offer.submissions:
        verdicts = way.publisher.publish(Entry(submissions=offer.submissions), now=now).verdicts
    outcomes = [verdict.outcome for verdict in verdicts]
    _settle(way, offer, outcomes, now)
    report.seen += offer.seen
    report.outcomes["ignored"] += len(news) - len(offer.fresh)
    report.outcomes.update(outcomes)
    report.found += zip(offer.fresh, outcomes, strict=True)


def _quarantine(
    way: Way, record: Record, problem: Unreadable, report: IngestReport, *, origin: str, now: float
) -> None:
    body = json.dumps({"kind": record.kind, "record": record.body}, default=str, ensure_ascii=False)
    way.quarantine.add(
        source=way.source.name, origin=origin, reason=str(problem), body=body.encode(errors="replace"), now=now
    )
    report.outcomes["quarantined"] += 1


@dataclass(frozen=True, slots=True)
class _Offer:
    """News that may be published, and its submissions, in the same order. `expected`: keys that are expected.

    `seen`: ids of everything that was read, news or not.
    """

    seen: tuple[str, ...]
    fresh: list[NormalisedAttempt]
    submissions: tuple[Submission, ...]
    expected: Mapping[str, Expectation]


def _offer(way: Way, found: list[NormalisedAttempt], *, origin: str, now: float, request_id: str | None) -> _Offer:
    """Everything that must be durable before publishing: watches of open attempts, and what a consent governs.

    A crash in between leaves a watch too many, never one too few.
    """
    name = way.source.name
    if way.vendor.generations:
        ids = way.generations.resolve(name, [(one.attempt_id, one.sitting, one.started_at) for one in found], now=now)
        found = [replace(one, attempt_id=attempt_id) for one, attempt_id in zip(found, ids, strict=True)]
    gone = way.consents.govern(name, found)
    allowed = found
    if gone:
        allowed = [one for one in found if gone.isdisjoint(one.consent)]
        way.watches.close_many(name, [one.attempt_id for one in found if not gone.isdisjoint(one.consent)], now=now)
    watches = {one.attempt_id: one.watch for one in allowed if one.watch is not None}
    if watches:
        published = {one.attempt_id for one in allowed if one.status in PUBLISHABLE_STATUSES}
        way.watches.open_many(name, watches, now=now, published=published)
    fresh = [one for one in allowed if one.status in PUBLISHABLE_STATUSES]
    expected = way.expectations.matching(name, [key for one in fresh for key in keys_of(one)], now=now)
    submissions = tuple(
        submission(way, one, origin=origin, now=now, request_id=request_id, expected=expected) for one in fresh
    )
    return _Offer(tuple(one.attempt_id for one in found), fresh, submissions, expected)


def _settle(way: Way, offer: _Offer, outcomes: Sequence[str], now: float) -> None:
    """What publishing has settled: expectations that are met, and watches with nothing left to see."""
    name, fresh = way.source.name, offer.fresh
    done = [one.attempt_id for one in fresh if one.watch is None]
    # Under a key that may mean several attempts, only one that nobody knew ends the wait.
    new = (one for one, outcome in zip(fresh, outcomes, strict=True) if outcome == "published")
    done += [key for one in new for key in one.aliases]
    if offer.expected:
        ids = {one.attempt_id for one in fresh}
        way.expectations.mark_met(name, [key for key in offer.expected if key in ids or key in done], now=now)
    # Where nobody can look again, nobody watches.
    if way.vendor.recheck is not None:
        way.watches.close_many(name, done, now=now)
    # Withdrawn while we published: that withdrawal may have been too early to find this attempt.
    late = way.consents.withdrawn(name, (one.consent for one in fresh))
    if late:
        voids = [
            voided_by_withdrawal(one.attempt_id, one.assessment) for one in fresh if not late.isdisjoint(one.consent)
        ]
        again = tuple(submission(way, one, origin=BRIDGE, now=now) for one in voids)
        way.publisher.publish(Entry(submissions=again), now=now)


def _point(way: Way, pointers: Sequence[Pointer], now: float) -> list[str]:
    """Look where the pointers point; the keys under which they are watched now."""
    if not pointers:
        return []
    if way.vendor.generations:
        found = [(one.key, one.sitting, None) for one in pointers]
        ids = way.generations.resolve(way.source.name, found, now=now, remember=False)
        pointers = [replace(one, key=key) for one, key in zip(pointers, ids, strict=True)]
    way.watches.add_pointers(way.source.name, pointers, now=now)
    return [one.key for one in pointers]


def _withdraw(way: Way, consents: Sequence[Consent], *, now: float, request_id: str) -> tuple[Submission, ...]:
    """Keep what was said of consent; of a withdrawal: the published attempts voided, and its announcement."""
    name, made = way.source.name, []
    for consent in consents:
        number = way.consents.note(name, consent, now=now)
        if not number or consent.given:
            continue
        governed = way.consents.governed(name, consent.key)
        way.watches.close_many(name, list(governed), now=now)
        attempts = way.consents.published(name, governed)
        for attempt_id, assessment in attempts.items():
            news = voided_by_withdrawal(attempt_id, assessment)
            made.append(submission(way, news, origin=BRIDGE, now=now, request_id=request_id))
        at = now if consent.at is None else min(consent.at, now)
        notice = notices.consent_withdrawn(
            key=consent.key, number=number, at=at, subject=consent.subject, attempts_voided=len(attempts)
        )
        made.append(notices.submission(way.bridge, name, way.vendor.name, notice, now=now))
    return tuple(made)


def _keep(
    way: Way,
    request: Request,
    *,
    outcome: str | None = None,
    reason: str = "",
    submissions: tuple[Submission, ...] = (),
    pointers: Sequence[str] = (),
) -> Written:
    record = RequestRecord(
        id=request.id,
        source=way.source.name,
        received_at=request.received_at,
        headers=request.kept_headers,
        body=request.body,
        outcome=outcome,
        reason=clip(reason),
        pointers=tuple(pointers),
    )
    return way.publisher.publish(Entry(submissions=submissions, request=record), now=request.received_at)
