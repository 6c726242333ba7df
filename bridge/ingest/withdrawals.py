"""What follows when a vendor reports that consent was withdrawn."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.ingest import notices
from bridge.ingest.consent import voided_attempt
from bridge.ingest.context import IngestContext
from bridge.ingest.submissions import attempt_submission
from bridge.journal import BRIDGE, Submission
from bridge.sdk.vendor import Consent

__all__ = ["record_consents"]


def record_consents(context: IngestContext, consents: Sequence[Consent], *, now: float) -> tuple[Submission, ...]:
    """Store statements about consent; for a withdrawal, void the published attempts and announce it.

    Raises `StateUnavailable`.
    """
    name, submissions = context.source.name, []
    for consent in consents:
        number = context.consents.record(name, consent, now=now)
        if not number or consent.given:
            continue
        governed = context.consents.registered_attempts(name, consent.key)
        context.watches.close_many(name, list(governed), now=now)
        published = context.consents.published(name, governed)
        for attempt_id, assessment in published.items():
            voided = voided_attempt(attempt_id, assessment)
            submissions.append(attempt_submission(context, voided, origin=BRIDGE, now=now))
        at = now if consent.at is None else min(consent.at, now)
        notice = notices.consent_withdrawn(
            key=consent.key, number=number, at=at, subject=consent.subject, attempts_voided=len(published)
        )
        submissions.append(notices.submission(context.bridge, name, context.vendor.name, notice, now=now))
    return tuple(submissions)
