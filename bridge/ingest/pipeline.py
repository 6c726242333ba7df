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
from bridge.ingest.consent import voided_attempt
from bridge.ingest.context import IngestContext, IngestReport, ReceiveResult, WebhookRequest
from bridge.ingest.intake import log_unexpected, read_body, read_record, unreadable_on_error
from bridge.ingest.submissions import attempt_submission, keys_of
from bridge.journal import BRIDGE, POLL, WEBHOOK, Entry, EntryResult, RequestRecord, Submission, SubmissionResult
from bridge.polling.expectations import Expectation
from bridge.sdk.vendor import (
    PUBLISHABLE_STATUSES,
    Consent,
    Ignored,
    NormalisedAttempt,
    Pointer,
    Record,
)

__all__ = ["ingest", "receive"]


def receive(context: IngestContext, request: WebhookRequest) -> ReceiveResult:
    """One webhook, from raw bytes to a durable effect.

    Raises `BadSignature` (nothing is kept here: the caller decides) and `StateUnavailable`. What cannot be read, or
    ends in an exception that nobody foresaw, is kept in quarantine: sent again it would only fail again.
    """
    _verify(context, request)
    try:
        with unreadable_on_error(context.source.name, "receive"):
            written = _receive(context, request)
    except Unreadable as error:
        context.quarantine.add(
            source=context.source.name,
            origin=WEBHOOK,
            reason=str(error),
            body=request.body,
            now=request.received_at,
            request_id=request.id,
        )
        written = _keep(context, request, outcome="quarantined", reason=str(error))
    return ReceiveResult(written.outcome, request.id)


def _verify(context: IngestContext, request: WebhookRequest) -> None:
    """Raises `BadSignature`, also for a request that the check itself stumbles over: nothing proves who sent it."""
    vendor = context.vendor
    if vendor.verify is None:
        return
    secrets = context.source.credentials.get(vendor.secret_credential or "", ())
    try:
        with unreadable_on_error(context.source.name, "verify"):
            vendor.verify(request.body, request.headers, secrets, request.received_at)
    except Unreadable as error:
        raise BadSignature("the signature cannot be checked", reason=error.reason) from error


def _receive(context: IngestContext, request: WebhookRequest) -> EntryResult:
    now, reading = request.received_at, read_body(context, request.body)
    if isinstance(reading, Ignored):
        return _keep(context, request, outcome=reading.outcome, reason=reading.kind)
    news = [read_record(context, item, now) for item in reading if isinstance(item, Record)]
    pointers = _point(context, [item for item in reading if isinstance(item, Pointer)], now)
    consents = [item for item in reading if isinstance(item, Consent)]
    offer = _offer(context, news, origin=WEBHOOK, now=now, request_id=request.id)
    withdrawals = _withdraw(context, consents, now=now, request_id=request.id)
    if not (offer.submissions or withdrawals):
        watched = pointers or any(one.watch is not None for one in news)
        statuses = " ".join(sorted({one.status for one in news}))
        what = statuses or ("pointer" if pointers else "consent" if consents else "nothing")
        outcome = "watching" if watched else "ignored"
        return _keep(context, request, outcome=outcome, reason=what, pointers=pointers)
    written = _keep(context, request, submissions=(*offer.submissions, *withdrawals), pointers=pointers)
    try:
        _settle(context, offer, [result.outcome for result in written.results[: len(offer.submissions)]], now)
    except BridgeError:
        raise
    except Exception as error:  # noqa: BLE001 - it is published and kept: a watch too many looks and finds nothing new
        log_unexpected(context.source.name, "settle", error)
    return written


def ingest(context: IngestContext, records: Sequence[Record], *, origin: str = POLL, now: float) -> IngestReport:
    """Records read from the vendor's API. When this returns, every one of them is published, known, no news, or kept
    in quarantine, durably: only then may a cursor move. Raises `StateUnavailable`."""
    report = IngestReport()
    readable: list[tuple[Record, NormalisedAttempt]] = []
    for record in records:
        try:
            readable.append((record, read_record(context, record, now)))
        except Unreadable as error:
            _quarantine(context, record, error, report, origin=origin, now=now)
    try:
        with unreadable_on_error(context.source.name, "publish"):
            _publish(context, [news for _, news in readable], report, origin=origin, now=now)
    except Unreadable:
        # One of them spoils it for all. One by one: what is published already becomes a duplicate.
        for record, news in readable:
            try:
                with unreadable_on_error(context.source.name, "publish one"):
                    _publish(context, [news], report, origin=origin, now=now)
            except Unreadable as error:
                _quarantine(context, record, error, report, origin=origin, now=now)
    return report


def _publish(
    context: IngestContext, news: list[NormalisedAttempt], report: IngestReport, *, origin: str, now: float
) -> None:
    """Publish, and say so in the report, which stays as it was if this fails."""
    offer = _offer(context, news, origin=origin, now=now, request_id=None)
    verdicts: tuple[SubmissionResult, ...] = ()
    if offer.submissions:
        verdicts = context.publisher.publish(Entry(submissions=offer.submissions), now=now).results
    outcomes = [result.outcome for result in verdicts]
    _settle(context, offer, outcomes, now)
    report.read_ids += offer.seen
    report.outcomes["ignored"] += len(news) - len(offer.fresh)
    report.outcomes.update(outcomes)
    report.publishable += zip(offer.fresh, outcomes, strict=True)


def _quarantine(
    context: IngestContext, record: Record, problem: Unreadable, report: IngestReport, *, origin: str, now: float
) -> None:
    body = json.dumps({"kind": record.kind, "record": record.body}, default=str, ensure_ascii=False)
    context.quarantine.add(
        source=context.source.name, origin=origin, reason=str(problem), body=body.encode(errors="replace"), now=now
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


def _offer(
    context: IngestContext, found: list[NormalisedAttempt], *, origin: str, now: float, request_id: str | None
) -> _Offer:
    """Everything that must be durable before publishing: watches of open attempts, and what a consent governs.

    A crash in between leaves a watch too many, never one too few.
    """
    name = context.source.name
    if context.vendor.sittings:
        ids = context.sittings.resolve(name, [(one.attempt_id, one.sitting, one.started_at) for one in found], now=now)
        found = [replace(one, attempt_id=attempt_id) for one, attempt_id in zip(found, ids, strict=True)]
    gone = context.consents.govern(name, found)
    allowed = found
    if gone:
        allowed = [one for one in found if gone.isdisjoint(one.consent)]
        context.watches.close_many(name, [one.attempt_id for one in found if not gone.isdisjoint(one.consent)], now=now)
    watches = {one.attempt_id: one.watch for one in allowed if one.watch is not None}
    if watches:
        published = {one.attempt_id for one in allowed if one.status in PUBLISHABLE_STATUSES}
        context.watches.open_many(name, watches, now=now, published=published)
    fresh = [one for one in allowed if one.status in PUBLISHABLE_STATUSES]
    expected = context.expectations.matching(name, [key for one in fresh for key in keys_of(one)], now=now)
    submissions = tuple(
        attempt_submission(context, one, origin=origin, now=now, request_id=request_id, expected=expected)
        for one in fresh
    )
    return _Offer(tuple(one.attempt_id for one in found), fresh, submissions, expected)


def _settle(context: IngestContext, offer: _Offer, outcomes: Sequence[str], now: float) -> None:
    """What publishing has settled: expectations that are met, and watches with nothing left to see."""
    name, fresh = context.source.name, offer.fresh
    done = [one.attempt_id for one in fresh if one.watch is None]
    # Under a key that may mean several attempts, only one that nobody knew ends the wait.
    new = (one for one, outcome in zip(fresh, outcomes, strict=True) if outcome == "published")
    done += [key for one in new for key in one.aliases]
    if offer.expected:
        ids = {one.attempt_id for one in fresh}
        context.expectations.mark_met(name, [key for key in offer.expected if key in ids or key in done], now=now)
    # Where nobody can look again, nobody watches.
    if context.vendor.recheck is not None:
        context.watches.close_many(name, done, now=now)
    # Withdrawn while we published: that withdrawal may have been too early to find this attempt.
    late = context.consents.withdrawn(name, (one.consent for one in fresh))
    if late:
        voids = [voided_attempt(one.attempt_id, one.assessment) for one in fresh if not late.isdisjoint(one.consent)]
        again = tuple(attempt_submission(context, one, origin=BRIDGE, now=now) for one in voids)
        context.publisher.publish(Entry(submissions=again), now=now)


def _point(context: IngestContext, pointers: Sequence[Pointer], now: float) -> list[str]:
    """Look where the pointers point; the keys under which they are watched now."""
    if not pointers:
        return []
    if context.vendor.sittings:
        found = [(one.key, one.sitting, None) for one in pointers]
        ids = context.sittings.resolve(context.source.name, found, now=now, remember=False)
        pointers = [replace(one, key=key) for one, key in zip(pointers, ids, strict=True)]
    context.watches.add_pointers(context.source.name, pointers, now=now)
    return [one.key for one in pointers]


def _withdraw(
    context: IngestContext, consents: Sequence[Consent], *, now: float, request_id: str
) -> tuple[Submission, ...]:
    """Keep what was said of consent; of a withdrawal: the published attempts voided, and its announcement."""
    name, made = context.source.name, []
    for consent in consents:
        number = context.consents.record(name, consent, now=now)
        if not number or consent.given:
            continue
        governed = context.consents.governed(name, consent.key)
        context.watches.close_many(name, list(governed), now=now)
        attempts = context.consents.published(name, governed)
        for attempt_id, assessment in attempts.items():
            news = voided_attempt(attempt_id, assessment)
            made.append(attempt_submission(context, news, origin=BRIDGE, now=now, request_id=request_id))
        at = now if consent.at is None else min(consent.at, now)
        notice = notices.consent_withdrawn(
            key=consent.key, number=number, at=at, subject=consent.subject, attempts_voided=len(attempts)
        )
        made.append(notices.submission(context.bridge, name, context.vendor.name, notice, now=now))
    return tuple(made)


def _keep(
    context: IngestContext,
    request: WebhookRequest,
    *,
    outcome: str | None = None,
    reason: str = "",
    submissions: tuple[Submission, ...] = (),
    pointers: Sequence[str] = (),
) -> EntryResult:
    record = RequestRecord(
        id=request.id,
        source=context.source.name,
        received_at=request.received_at,
        headers=request.kept_headers,
        body=request.body,
        outcome=outcome,
        reason=clip(reason),
        pointers=tuple(pointers),
    )
    return context.publisher.publish(Entry(submissions=submissions, request=record), now=request.received_at)
