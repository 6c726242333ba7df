"""The vendor contract: what a folder in `bridge/vendors/` declares. Functions and data, nothing to inherit.

A vendor folder exports `VENDOR = Vendor(...)`. What a vendor lacks is absent, not stubbed. `docs/adding-a-vendor.md`
shows a whole one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from schemas.event import Assessment, Candidate, Result, Section

__all__ = [
    "Credential",
    "Ignored",
    "Normalised",
    "Option",
    "Page",
    "Poll",
    "Quota",
    "Reading",
    "Record",
    "SourceFacts",
    "Vendor",
    "VendorCalls",
    "Watch",
    "material_digest",
]

#: status -> is it news? No-shows and unfinished attempts are no news.
NEWS = frozenset({"completed", "voided"})
STATUSES = frozenset({"completed", "voided", "in_progress", "not_started"})
GRADINGS = frozenset({"final", "provisional", "pending", "not_scored"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A secret that the operator must configure. `many`: a list is allowed, for rotation (first = newest)."""

    help: str
    required: bool = True
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A vendor-specific setting with its default; `choices` limits text, `kind` is str, bool, int, duration or list."""

    help: str
    default: Any
    kind: str = "str"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Calls the vendor allows by default: `calls` in every `per_seconds` (sliding)."""

    calls: int
    per_seconds: float


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


#: What `split` makes of a webhook's body.
Reading = Sequence[Record] | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An attempt that must be looked at again.

    `reference`: what the vendor's API needs to find it, text only. `due_in`: seconds until the first look, then the
    vendor's `recheck_schedule` goes on. `give_up_at`: UNIX seconds after which looking is useless.
    """

    reference: Mapping[str, str]
    due_in: float
    give_up_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """One record in our words, still without revision, origin and links of the bridge.

    `attempt_id`: the same for webhook and poll, unique in the source (`docs/vendors.md`).
    `order`: the vendor's own ordering of versions of one attempt, larger is later, below 2**40; 0 if it has none.
    `material`: more values (text) that count as news besides the result, only such as every path carries.
    `watch`: set while the attempt is open or not finally graded.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a poll. `cursor`: where the next page starts, and where the round may be resumed once this page
    is published; None keeps the old one. `more`: the vendor has further pages now."""

    records: Sequence[Record]
    cursor: str | None
    more: bool


class SourceFacts(Protocol):
    """What a vendor folder may know of a configured source (`bridge.config.Source` has it)."""

    @property
    def name(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def credentials(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def options(self) -> Mapping[str, Any]: ...


class VendorCalls(Protocol):
    """How a vendor client reaches its vendor; the engine hands it in, with budget, time-outs and metrics inside.

    `request` takes one call of the budget unless `free`, and returns status and body.
    Raises `VendorUnavailable` when there is no answer or a 5xx, `BudgetExhausted` when no call is left.
    """

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        free: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]: ...

    def now(self) -> float:
        """UNIX seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One stream that can be polled.

    `fetch(client, cursor)`: one page from `cursor` on (None: from the look-back), oldest first.
    `rewind(cursor, overlap_seconds)`: the cursor to start a round with, a little before where the last one ended.
    `start(moment)`: the cursor for reading from a moment (UNIX seconds): first start and backfill.
    `position(cursor)`: the UNIX seconds that a cursor stands for, for people and for `later`.
    """

    fetch: Callable[[Any, str | None], Page]
    rewind: Callable[[str, float], str]
    start: Callable[[float], str]
    position: Callable[[str], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One vendor, declared.

    `verify(raw, headers, secrets, now)`: raises `BadSignature`; None where the vendor does not sign, and then the
    webhook address must hold a token. `headers` have lower-case names; `secrets` is the tuple of `secret_credential`.
    `split(body)`: a parsed webhook body -> records, or why it is none. Raises `Unreadable`.
    `normalise(record, now)`: pure. Raises `Unreadable`. A status outside `NEWS` is no news.
    `connect(source, calls)`: the API client for one source.
    `recheck(client, reference)`: the records of one watched attempt, as they are now.
    """

    name: str
    title: str
    base_url: str
    quota: Quota
    credentials: Mapping[str, Credential]
    split: Callable[[Any], Reading]
    normalise: Callable[[Record, float], Normalised]
    connect: Callable[[SourceFacts, VendorCalls], Any]
    verify: Callable[[bytes, Mapping[str, str], tuple[str, ...], float], None] | None = None
    secret_credential: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    polls: Mapping[str, Poll] = field(default_factory=dict)
    recheck: Callable[[Any, Mapping[str, str]], Sequence[Record]] | None = None
    #: Seconds between looks at a watched attempt; the last one repeats.
    recheck_schedule: tuple[float, ...] = (3600.0,)
    media_types: tuple[str, ...] = ("application/json",)
    #: Longest period the API can list, seconds; None: not limited.
    look_back_limit: float | None = None


def material_digest(news: Normalised) -> bytes:
    """Six bytes that change exactly when the attempt's result changed. Only fields that both paths carry.

    The text below is remembered in Redis for months: changing it would revise every remembered attempt once.
    """
    result = news.result
    parts = (
        news.status,
        "" if news.completed_at is None else str(int(news.completed_at.timestamp())),
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
