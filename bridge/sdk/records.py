"""What a vendor folder says, in our words: records, pointers, consent, the normalised attempt and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from schemas.event import Assessment, Candidate, Result, Section

__all__ = [
    "GRADINGS",
    "NEWS",
    "STATUSES",
    "Consent",
    "Ignored",
    "Normalised",
    "Pointer",
    "Reading",
    "Record",
    "Watch",
    "material_digest",
]

#: status -> is it news? No-shows and unfinished attempts are no news.
NEWS = frozenset({"completed", "voided"})
STATUSES = frozenset({"completed", "voided", "in_progress", "not_started"})
GRADINGS = frozenset({"final", "provisional", "pending", "not_scored"})
#: How long the API is asked for what a pointer announced, seconds.
_POINTER_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Record:
    """One vendor item before normalising. `kind` is the vendor folder's own word (a stream, an event type)."""

    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ignored:
    """A well-formed request that is no news on purpose. `outcome` is `ignored` or `test`; `kind` names what it was."""

    kind: str
    outcome: str = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Where to look, without the result: a webhook that only hints, or an attempt that somebody expects.

    `key`: the attempt id where the reference names exactly one attempt; otherwise a key of the vendor's own, which
    begins with `?` and stands in the `aliases` of every attempt that it may mean.
    `reference`: what `Vendor.recheck` needs, text only. `give_up_after`: seconds from now.
    `sitting`: the vendor's own id of one sitting, for vendors with `generations`; `key` is then an attempt id.
    """

    key: str
    reference: Mapping[str, str]
    give_up_after: float = _POINTER_SECONDS
    sitting: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A person agreed that results are passed on (`given`), or took that back. `key` as one of `Normalised.consent`.

    `subject`: what `consent.withdrawn` may say about whom it concerns, ids only. `at`: UNIX seconds of the vendor; None
    where it gives none: then the moment of receipt.
    """

    key: str
    given: bool
    at: float | None
    subject: Mapping[str, str]


#: What `split` makes of a webhook's body.
Reading = Sequence[Record | Pointer | Consent] | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An attempt that must be looked at again.

    `reference`: what the vendor's API needs to find it, text only. `due_in`: seconds until the first look, then the
    vendor's `recheck_schedule` goes on. `give_up_at`: UNIX seconds after which looking is useless.
    `reread`: the attempt is settled and only might change, so these looks come last and end in silence.
    """

    reference: Mapping[str, str]
    due_in: float
    give_up_at: float
    reread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """One record in our words, still without revision, origin and links of the bridge.

    `attempt_id`: the same for webhook and poll, unique in the source (`docs/vendors.md`).
    `order`: the vendor's own ordering of versions of one attempt, larger is later, below 2**40; 0 if it has none.
    `material`: more values (text) that count as news besides the result, only such as every path carries.
    `watch`: set while the attempt is open, not finally graded, or may still change.
    `aliases`: further keys (each begins with `?`) under which this attempt may be expected or pointed to.
    `sitting`: the vendor's own id of this sitting, for vendors with `generations`; None where the record has none.
    `consent`: the keys of every consent that governs this attempt; one of them withdrawn, and it is not passed on.
    Empty where the vendor tells of no consent.
    `finish_is_reading`: `completed_at` is no fact of the vendor but when it was seen finished: it is no news, and
    the first one is kept.
    """

    attempt_id: str
    status: str
    candidate: Candidate
    assessment: Assessment
    result: Result
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: int | None = None
    sections: tuple[Section, ...] = ()
    flags: tuple[str, ...] = ()
    vendor_status: str | None = None
    vendor_ids: Mapping[str, str] = field(default_factory=dict)
    report: str | None = None
    certificate: str | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)
    order: int = 0
    material: tuple[str, ...] = ()
    watch: Watch | None = None
    aliases: tuple[str, ...] = ()
    sitting: str | None = None
    consent: tuple[str, ...] = ()
    finish_is_reading: bool = False


def material_digest(news: Normalised) -> bytes:
    """Six bytes that change exactly when the attempt's result changed. Only fields that both paths carry.

    The text below is remembered in Redis for months: changing it would revise every remembered attempt once.
    """
    result = news.result
    parts = (
        news.status,
        "" if news.completed_at is None or news.finish_is_reading else str(int(news.completed_at.timestamp())),
        _plain(result.score),
        _plain(result.max_score),
        _plain(result.percentage),
        _plain(result.pass_mark_percentage),
        {True: "1", False: "0", None: ""}[result.passed],
        result.grade or "",
        result.grading,
        *news.material,
    )
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=6).digest()


def _plain(value: Decimal | None) -> str:
    """One spelling per number: 75, 75.0 and 7.5E+1 are the same news."""
    return "" if value is None else format(value.normalize(), "f")
