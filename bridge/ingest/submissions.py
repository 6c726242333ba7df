"""Turns a normalised attempt into a submission to the journal, which says which revision of the event to build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge import clock
from bridge.ingest.context import IngestContext
from bridge.ingest.event_builder import build_event
from bridge.ingest.intake import log_unexpected, read_record, unreadable_on_error
from bridge.journal import POLL, Submission
from bridge.polling.expectations import Expectation
from bridge.sdk.records import former_digest
from bridge.sdk.vendor import NormalisedAttempt, Record, material_digest
from bridge.telemetry import tracing

__all__ = ["attempt_submission", "buildable_attempt", "keys_of"]

_NO_EXPECTATIONS: Mapping[str, Expectation] = {}


def attempt_submission(
    context: IngestContext,
    attempt: NormalisedAttempt,
    *,
    origin: str,
    now: float,
    expectations: Mapping[str, Expectation] = _NO_EXPECTATIONS,
    test: bool = False,
    journal_ends: tuple[str, ...] | None = None,
) -> Submission:
    """The submission of one attempt; `test`: it is invented, and its events marked. `journal_ends`: see `Submission`.

    Its first event is built here, where an exception affects this attempt only; in the journal it would affect the
    whole batch.
    """
    recorded = clock.to_datetime(now)
    span = tracing.publication(context.source.name, context.vendor.name, origin)
    traceparent = "" if span is None else span.traceparent

    def build(revision: int, previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        event = build_event(
            context.bridge,
            context.source.name,
            context.vendor.name,
            attempt,
            revision,
            previous,
            origin=origin,
            recorded=recorded,
            label=_label(attempt, expectations, revision),
            test=test,
            traceparent=traceparent,
        )
        return event.type, event.id, event.to_json()

    first = build(1, None)

    def build_revision(revision: int, previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        if revision == 1:
            return first
        try:
            return build(revision, previous)
        except Exception as error:  # noqa: BLE001 - an old event may be unreadable; build the revision without it
            log_unexpected(context.source.name, "revise", error)
            return build(revision, None)

    digest, former = material_digest(attempt), former_digest(attempt)
    return Submission(
        source=context.source.name,
        attempt_id=attempt.attempt_id,
        digest=digest,
        former_digest=b"" if former == digest else former,
        order=attempt.order,
        origin=origin,
        announced=context.announced,
        journal_ends=journal_ends,
        build=build_revision,
        span=span,
    )


def buildable_attempt(context: IngestContext, record: Record, now: float) -> NormalisedAttempt:
    """The normalised attempt of a record whose event can be built. Raises `Unreadable`, as publishing it would."""
    attempt = read_record(context, record, now)
    with unreadable_on_error(context.source.name, "build"):
        attempt_submission(context, attempt, origin=POLL, now=now)
    return attempt


def keys_of(attempt: NormalisedAttempt) -> tuple[str, ...]:
    """Every key under which an attempt may be expected or watched."""
    return (attempt.attempt_id, *attempt.aliases)


def _label(attempt: NormalisedAttempt, expectations: Mapping[str, Expectation], revision: int) -> str | None:
    """The label of the expectation that this attempt meets.

    An alias may mean several attempts, so only a new attempt meets an expectation by alias, not a later revision of an
    old one.
    """
    if not expectations:
        return None
    candidates = keys_of(attempt) if revision == 1 else (attempt.attempt_id,)
    labels = (expectations[key].label for key in candidates if key in expectations)
    return next((label for label in labels if label), None)
