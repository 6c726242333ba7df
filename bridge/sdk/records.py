"""What a vendor folder returns: records, pointers, consent, the normalised attempt and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from schemas.event import Assessment, Candidate, Result, Section

__all__ = [
    "GRADINGS",
    "PUBLISHABLE_STATUSES",
    "STATUSES",
    "Consent",
    "Ignored",
    "NormalisedAttempt",
    "Pointer",
    "Record",
    "Resume",
    "Watch",
    "WebhookContent",
    "former_digest",
    "material_digest",
    "plain_figure",
    "shown_figure",
]

#: Statuses that are published: a no-show or an unfinished attempt is not.
PUBLISHABLE_STATUSES = frozenset({"completed", "voided"})
STATUSES = frozenset({"completed", "voided", "in_progress", "not_started"})
GRADINGS = frozenset({"final", "provisional", "pending", "not_scored"})
#: How long a pointer is followed, seconds.
_POINTER_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Record:
    """One item from a vendor before it is normalised."""

    #: The vendor folder's own name for this kind of record: a stream, an event type.
    kind: str
    #: The parsed item as the vendor sent it.
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ignored:
    """A well-formed webhook that is deliberately not processed."""

    #: What it was: the vendor's event type, clipped.
    kind: str
    #: `ignored` or `test`.
    outcome: str = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Where to look for a result: from a webhook without one, or from an attempt that an operator expects."""

    #: The attempt id if the reference names exactly one attempt. Otherwise a key of the vendor's own that begins with
    #: `?` and is in the `aliases` of every attempt it may mean.
    key: str
    #: What `Vendor.recheck` needs, text only.
    reference: Mapping[str, str]
    #: How long to keep looking, seconds from now.
    give_up_after: float = _POINTER_SECONDS
    #: The vendor's own id of one sitting, for vendors with `sittings`; `key` is then an attempt id.
    sitting: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where the next recheck of a watch starts, after one that read a long list in part, or in vain."""

    #: Replaces the reference of the watch, text only.
    reference: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A person agreed that results are passed on, or withdrew that consent."""

    #: One of the keys in `NormalisedAttempt.consent`.
    key: str
    #: True: agreed. False: withdrawn.
    given: bool
    #: UNIX seconds by the vendor's clock; None if it gives no time: the time of receipt counts instead.
    at: float | None
    #: What `consent.withdrawn` may say about the person: ids only.
    subject: Mapping[str, str]


#: What `split` returns for the body of a webhook.
WebhookContent = Sequence[Record | Pointer | Consent] | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An attempt to recheck: it is open, not finally graded, or may still change."""

    #: What the vendor's API needs to find the attempt, text only.
    reference: Mapping[str, str]
    #: Seconds until the first recheck; after it the vendor's `recheck_schedule` applies.
    due_in: float
    #: UNIX seconds after which rechecking is pointless.
    give_up_at: float
    #: The attempt is settled and is only reread in case it changes: rechecked last, and no notice when time runs out.
    reread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalisedAttempt:
    """One record translated into our words, before the bridge adds revision, origin and links."""

    #: The same by webhook and poll, unique within the source (`docs/vendors.md`).
    attempt_id: str
    #: `completed` or `voided`, which are published; `in_progress` or `not_started`, which are not.
    status: str
    #: Who took the test.
    candidate: Candidate
    #: Which test it was, and in which group.
    assessment: Assessment
    #: Score, verdict and grading.
    result: Result
    #: When the attempt was started, aware UTC; None if not known.
    started_at: datetime | None = None
    #: When it was completed, aware UTC; None while it is open.
    completed_at: datetime | None = None
    #: How long it took, as the vendor reports it.
    duration_seconds: int | None = None
    #: Results of the parts of the test.
    sections: tuple[Section, ...] = ()
    #: What is odd about the result, as short words such as `finish_in_future`.
    flags: tuple[str, ...] = ()
    #: The vendor's own status, as it spells it.
    vendor_status: str | None = None
    #: The vendor's own ids: name -> id.
    vendor_ids: Mapping[str, str] = field(default_factory=dict)
    #: Address of the vendor's report.
    report: str | None = None
    #: Address of the certificate.
    certificate: str | None = None
    #: Facts that only this vendor has: name -> JSON value.
    extensions: Mapping[str, Any] = field(default_factory=dict)
    #: The vendor's order of the versions of one attempt: larger is later, below 2**40; 0 if it has none.
    order: int = 0
    #: More values whose change makes a new revision, as text; only those that both webhook and poll carry.
    material: tuple[str, ...] = ()
    #: `material` as version 0.1 built it, if it differed: digests from then still count.
    former_material: tuple[str, ...] | None = None
    #: Set while the attempt is open, not finally graded, or may still change.
    watch: Watch | None = None
    #: More keys, each beginning with `?`, under which this attempt may be expected or pointed to.
    aliases: tuple[str, ...] = ()
    #: The vendor's own id of this sitting, for vendors with `sittings`; None if the record has none.
    sitting: str | None = None
    #: Keys of every consent that governs this attempt; if one is withdrawn, the attempt is not published.
    #: Empty if the vendor does not report consent.
    consent: tuple[str, ...] = ()
    #: The vendor gives no completion time: `completed_at` is when the attempt was first seen completed. A later value
    #: makes no new revision, and the first one is kept.
    completed_at_is_observed: bool = False


def material_digest(attempt: NormalisedAttempt) -> bytes:
    """Six bytes that change exactly when the result changes; made of fields that both webhooks and polls carry, and of
    figures as the event shows them.

    The digest is kept in Redis for months: a change here would make a new revision of every attempt, once.
    """
    return _digest(attempt, shown_figure, attempt.material)


def former_digest(attempt: NormalisedAttempt) -> bytes:
    """The digest that version 0.1 made of the same result, from figures with all their decimals; it still counts."""
    return _digest(
        attempt, lambda value: value, attempt.material if attempt.former_material is None else attempt.former_material
    )


def shown_figure(value: Decimal) -> Decimal:
    """A figure as the event shows it: a float of at most four decimals."""
    # The addition turns -0 into 0.
    return Decimal(repr(round(float(value), 4))) + 0


def plain_figure(value: Decimal | None) -> str:
    """The same text for the same number: 75, 75.0 and 7.5E+1 are equal."""
    return "" if value is None else format(value.normalize(), "f")


def _digest(attempt: NormalisedAttempt, figure: Callable[[Decimal], Decimal], material: tuple[str, ...]) -> bytes:
    result = attempt.result
    completed_at = None if attempt.completed_at_is_observed else attempt.completed_at
    figures = (result.score, result.max_score, result.percentage, result.pass_mark_percentage)
    parts = (
        attempt.status,
        "" if completed_at is None else str(int(completed_at.timestamp())),
        *(plain_figure(None if value is None else figure(value)) for value in figures),
        {True: "1", False: "0", None: ""}[result.passed],
        result.grade or "",
        result.grading,
        *material,
    )
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=6).digest()
