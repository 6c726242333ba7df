"""From a vendor's bytes to the journal: check the signature, split, normalise, publish once.

Orchestration only: the vendor, the journal and the time are arguments. `receive` takes a webhook, `ingest` a page of a
poll, a recheck or a backfill.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.errors import BridgeError, Unreadable, clip
from bridge.ingest.consent import voided_attempt
from bridge.ingest.context import IngestContext, IngestReport, ReceiveResult, WebhookRequest
from bridge.ingest.intake import log_unexpected, read_body, read_record, unreadable_on_error, verify
from bridge.ingest.period import OUTSIDE_PERIOD, Period
from bridge.ingest.read_start import ReadStart
from bridge.ingest.sample_marks import as_test, is_marked
from bridge.ingest.submissions import attempt_submission, keys_of
from bridge.ingest.watching import settle, watch_pointers
from bridge.ingest.withdrawals import record_consents
from bridge.journal import BRIDGE, POLL, WEBHOOK, Entry, EntryResult, RequestRecord, Submission, SubmissionResult
from bridge.polling.expectations import Expectation
from bridge.sdk.vendor import PUBLISHABLE_STATUSES, Consent, Ignored, NormalisedAttempt, Pointer, Record

__all__ = ["ingest", "receive"]


def receive(context: IngestContext, request: WebhookRequest) -> ReceiveResult:
    """Process one webhook, from raw bytes to a durable effect.

    Raises `BadSignature` (nothing is stored; the caller decides) and `StateUnavailable`. A request that is unreadable
    or causes an unexpected exception is quarantined: if the vendor sent it again, it would only fail again.
    """
    secret = verify(context, request)
    if secret is not None:
        request = replace(request, secret=secret)
    try:
        with unreadable_on_error(context.source.name, "receive"):
            result = _receive(context, request)
    except Unreadable as error:
        context.quarantine.add(
            source=context.source.name,
            origin=WEBHOOK,
            reason=str(error),
            body=request.body,
            now=request.received_at,
            request_id=request.id,
        )
        result = _publish_request(context, request, outcome="quarantined", reason=str(error))
    return ReceiveResult(result.outcome, request.id)


def _receive(context: IngestContext, request: WebhookRequest) -> EntryResult:
    now, content = request.received_at, read_body(context, request.body)
    if isinstance(content, Ignored):
        return _publish_request(context, request, outcome=content.outcome, reason=content.kind)
    attempts = [read_record(context, item, now) for item in content if isinstance(item, Record)]
    as_of = context.watches.version(context.source.name, now=now) if attempts else 0
    if is_marked(request.body):
        return _receive_test(context, request, attempts)
    pointers = watch_pointers(context, [item for item in content if isinstance(item, Pointer)], now)
    consents = [item for item in content if isinstance(item, Consent)]
    prepared = _prepare(context, attempts, origin=WEBHOOK, now=now)
    withdrawals = record_consents(context, consents, now=now)
    if not (prepared.submissions or withdrawals):
        watched = pointers or any(attempt.watch is not None for attempt in attempts)
        statuses = " ".join(sorted({attempt.status for attempt in attempts}))
        reason = statuses or ("pointer" if pointers else "consent" if consents else "nothing")
        outcome = "watching" if watched else "ignored"
        return _publish_request(context, request, outcome=outcome, reason=reason, pointers=pointers)
    submissions = (*prepared.submissions, *withdrawals)
    result = _publish_request(context, request, submissions=submissions, pointers=pointers)
    try:
        outcomes = [attempt.outcome for attempt in result.results[: len(prepared.submissions)]]
        _finish(context, prepared, outcomes, now, as_of)
    except BridgeError:
        raise
    except Exception as error:  # noqa: BLE001 - all is published; a watch left open rechecks once more, to no effect
        log_unexpected(context.source.name, "finish", error)
    return result


def _receive_test(context: IngestContext, request: WebhookRequest, attempts: list[NormalisedAttempt]) -> EntryResult:
    """Publish the invented attempts of a marked webhook as tests. It does not count as a webhook from the vendor."""
    now = request.received_at
    publishable = [as_test(attempt) for attempt in attempts if attempt.status in PUBLISHABLE_STATUSES]
    submissions = tuple(
        attempt_submission(context, attempt, origin=WEBHOOK, now=now, test=True) for attempt in publishable
    )
    ids = [attempt.attempt_id for attempt in publishable]
    result = context.publisher.publish(Entry(submissions=submissions), now=now) if submissions else None
    stored = _publish_request(context, request, outcome="test", reason="trigger", pointers=ids)
    return result or stored


def ingest(
    context: IngestContext,
    records: Sequence[Record],
    *,
    origin: str = POLL,
    now: float,
    as_of: ReadStart | None = None,
    period: Period | None = None,
) -> IngestReport:
    """Process records read from the vendor's API.

    On return each of them is durably published, known already, not publishable, or quarantined: only then may a cursor
    move. `as_of`: taken before the vendor was asked (`read_start`): what was urged or published since then may be newer
    than these records. None: they are not from the vendor's API, and close no watch that was ever urged. `period`:
    attempts that finished at another time are left alone. Raises `StateUnavailable`.
    """
    report = IngestReport()
    readable: list[tuple[Record, NormalisedAttempt]] = []
    for record in records:
        try:
            attempt = read_record(context, record, now)
        except Unreadable as error:
            _quarantine(context, record, error, report, origin=origin, now=now)
            continue
        if period is not None and period.leaves_out(attempt):
            report.outcomes[OUTSIDE_PERIOD] += 1
        else:
            readable.append((record, attempt))
    try:
        with unreadable_on_error(context.source.name, "publish"):
            _publish_attempts(
                context, [attempt for _, attempt in readable], report, origin=origin, now=now, as_of=as_of
            )
    except Unreadable:
        # One record makes the whole batch fail: publish each on its own. Those published already are duplicates.
        for record, attempt in readable:
            try:
                with unreadable_on_error(context.source.name, "publish_alone"):
                    _publish_attempts(context, [attempt], report, origin=origin, now=now, as_of=as_of)
            except Unreadable as error:
                _quarantine(context, record, error, report, origin=origin, now=now)
    return report


def _publish_attempts(
    context: IngestContext,
    attempts: list[NormalisedAttempt],
    report: IngestReport,
    *,
    origin: str,
    now: float,
    as_of: ReadStart | None,
) -> None:
    """Publish the attempts and add them to the report, which does not change if this fails."""
    ends = None if as_of is None else as_of.journal_ends
    prepared = _prepare(context, attempts, origin=origin, now=now, journal_ends=ends)
    results: tuple[SubmissionResult, ...] = ()
    if prepared.submissions:
        results = context.publisher.publish(Entry(submissions=prepared.submissions), now=now).results
    outcomes = [result.outcome for result in results]
    doubtful = {
        attempt.attempt_id
        for attempt, result in zip(prepared.publishable, results, strict=True)
        if as_of is not None and result.outcome == "stale" and as_of.is_before(result.entry_id)
    }
    _finish(context, prepared, outcomes, now, 0 if as_of is None else as_of.version, doubtful)
    report.read_ids += prepared.read_ids
    report.outcomes["ignored"] += len(attempts) - len(prepared.publishable)
    report.outcomes.update(outcomes)
    report.publishable += zip(prepared.publishable, outcomes, strict=True)


def _quarantine(
    context: IngestContext, record: Record, problem: Unreadable, report: IngestReport, *, origin: str, now: float
) -> None:
    body = json.dumps({"kind": record.kind, "record": record.body}, default=str, ensure_ascii=False)
    context.quarantine.add(
        source=context.source.name, origin=origin, reason=str(problem), body=body.encode(errors="replace"), now=now
    )
    report.outcomes["quarantined"] += 1


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Attempts that are ready to be published."""

    #: Ids of all attempts that were read, publishable or not.
    read_ids: tuple[str, ...]
    #: The attempts that may be published.
    publishable: list[NormalisedAttempt]
    #: Their submissions, in the same order.
    submissions: tuple[Submission, ...]
    #: The expectations that they meet, by key.
    expectations: Mapping[str, Expectation]
    #: Ids of those that stay watched and that a webhook has announced.
    announced: frozenset[str] = frozenset()


def _prepare(
    context: IngestContext,
    attempts: list[NormalisedAttempt],
    *,
    origin: str,
    now: float,
    journal_ends: tuple[str, ...] | None = None,
) -> _Prepared:
    """Store what must be durable before publishing: watches of open attempts, and the attempts under each consent.

    After a crash in between there may be one watch too many, never one too few.
    """
    name = context.source.name
    if context.vendor.sittings:
        sittings = [(attempt.attempt_id, attempt.sitting, attempt.started_at) for attempt in attempts]
        ids = context.sittings.resolve(name, sittings, now=now)
        attempts = [replace(attempt, attempt_id=new_id) for attempt, new_id in zip(attempts, ids, strict=True)]
    withdrawn = context.consents.register_attempts(name, attempts)
    allowed = attempts
    if withdrawn:
        allowed = [attempt for attempt in attempts if withdrawn.isdisjoint(attempt.consent)]
        refused = [attempt.attempt_id for attempt in attempts if not withdrawn.isdisjoint(attempt.consent)]
        context.watches.close_many(name, refused, now=now)
    publishable = [attempt for attempt in allowed if attempt.status in PUBLISHABLE_STATUSES]
    watches = {attempt.attempt_id: attempt.watch for attempt in allowed if attempt.watch is not None}
    announced: frozenset[str] = frozenset()
    if watches:
        published = {attempt.attempt_id for attempt in publishable}
        announced = context.watches.open_many(name, watches, now=now, published=published, urge=origin == WEBHOOK)
    expectations = context.expectations.matching(
        name, [key for attempt in publishable for key in keys_of(attempt)], now=now
    )
    submissions = tuple(
        attempt_submission(
            context, attempt, origin=origin, now=now, expectations=expectations, journal_ends=journal_ends
        )
        for attempt in publishable
    )
    return _Prepared(
        tuple(attempt.attempt_id for attempt in attempts), publishable, submissions, expectations, announced
    )


def _finish(
    context: IngestContext,
    prepared: _Prepared,
    outcomes: Sequence[str],
    now: float,
    as_of: int,
    doubtful: Collection[str] = (),
) -> None:
    """Remove expectations that are met and watches of settled attempts; void what was withdrawn meanwhile.

    `doubtful`: ids of attempts of which it is unknown whether this or what was published is newer; they stay watched.
    """
    name, attempts = context.source.name, prepared.publishable
    by_outcome = [
        (attempt, outcome)
        for attempt, outcome in zip(attempts, outcomes, strict=True)
        if attempt.attempt_id not in doubtful
    ]
    settle(context, by_outcome, prepared.expectations, prepared.announced, now=now, as_of=as_of)
    # A withdrawal that came while these were published may have missed them.
    withdrawn = context.consents.withdrawn_keys(name, attempts)
    if withdrawn:
        voids = tuple(
            attempt_submission(context, voided_attempt(attempt.attempt_id, attempt.assessment), origin=BRIDGE, now=now)
            for attempt in attempts
            if not withdrawn.isdisjoint(attempt.consent)
        )
        context.publisher.publish(Entry(submissions=voids), now=now)


def _publish_request(
    context: IngestContext,
    request: WebhookRequest,
    *,
    outcome: str | None = None,
    reason: str = "",
    submissions: tuple[Submission, ...] = (),
    pointers: Sequence[str] = (),
) -> EntryResult:
    """Store the request together with its submissions."""
    record = RequestRecord(
        id=request.id,
        source=context.source.name,
        received_at=request.received_at,
        headers=request.kept_headers,
        body=request.body,
        outcome=outcome,
        reason=clip(reason),
        pointers=tuple(pointers),
        secret=request.secret,
    )
    return context.publisher.publish(Entry(submissions=submissions, request=record), now=request.received_at)
