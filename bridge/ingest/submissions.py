"""What is offered to the journal for one attempt: its event, built when the journal has said which revision it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge import clock
from bridge.ingest.context import IngestContext
from bridge.ingest.event_builder import build_event
from bridge.ingest.intake import log_unexpected
from bridge.journal import Submission
from bridge.polling.expectations import Expectation
from bridge.sdk.vendor import NormalisedAttempt, material_digest

__all__ = ["attempt_submission", "keys_of"]

_NOTHING: Mapping[str, Expectation] = {}


def attempt_submission(
    context: IngestContext,
    news: NormalisedAttempt,
    *,
    origin: str,
    now: float,
    request_id: str | None = None,
    expected: Mapping[str, Expectation] = _NOTHING,
) -> Submission:
    """What is offered to the journal for one attempt.

    Its first event is built here, where an exception is charged to this attempt; in the journal it would be many's.
    """
    recorded = clock.to_datetime(now)

    def made(revision: int, previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        event = build_event(
            context.bridge,
            context.source.name,
            context.vendor.name,
            news,
            revision,
            previous,
            origin=origin,
            recorded=recorded,
            request_id=request_id,
            label=_label(news, expected, revision),
        )
        return event.type, event.id, event.to_json()

    first = made(1, None)

    def build(revision: int, previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        if revision == 1:
            return first
        try:
            return made(revision, previous)
        except Exception as error:  # noqa: BLE001 - the event before may be of any age; one that is gone is none either
            log_unexpected(context.source.name, "revise", error)
            return made(revision, None)

    return Submission(
        source=context.source.name,
        attempt_id=news.attempt_id,
        digest=material_digest(news),
        order=news.order,
        origin=origin,
        build=build,
    )


def keys_of(news: NormalisedAttempt) -> tuple[str, ...]:
    """Every key under which an attempt may be expected or watched."""
    return (news.attempt_id, *news.aliases)


def _label(news: NormalisedAttempt, expected: Mapping[str, Expectation], revision: int) -> str | None:
    """The label of the expectation that this attempt meets.

    Under a key that may mean several attempts, only one that nobody knew meets it, no later grade of an old one.
    """
    if not expected:
        return None
    labels = (
        expected[key].label for key in (keys_of(news) if revision == 1 else (news.attempt_id,)) if key in expected
    )
    return next((label for label in labels if label), None)
