"""The vendor contract: what a folder in `bridge/vendors/` declares. Functions and data, nothing to inherit.

A vendor folder exports `VENDOR = Vendor(...)`. What a vendor lacks is absent, not stubbed. `docs/adding-a-vendor.md`
shows a whole one. What a vendor says is in `bridge/sdk/records.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.sdk.records import (
    GRADINGS,
    PUBLISHABLE_STATUSES,
    STATUSES,
    Consent,
    Ignored,
    NormalisedAttempt,
    Pointer,
    Record,
    Watch,
    WebhookContent,
    material_digest,
)

__all__ = [
    "GRADINGS",
    "PUBLISHABLE_STATUSES",
    "STATUSES",
    "Consent",
    "Credential",
    "FactSheet",
    "Ignored",
    "NormalisedAttempt",
    "Option",
    "Page",
    "Pointer",
    "Poll",
    "Quota",
    "Record",
    "SourceFacts",
    "Vendor",
    "VendorCalls",
    "Watch",
    "WebhookContent",
    "material_digest",
]


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
    """Calls the vendor allows by default: `calls` in every `per_seconds`.

    The window slides, unless `resets_at` says when it begins anew every day: `HH:MM` in UTC.
    """

    calls: int
    per_seconds: float
    resets_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a poll. `cursor`: where the next page starts, and where the round may be resumed once this page
    is published; None keeps the old one. `more`: the vendor has further pages now."""

    records: Sequence[Record]
    cursor: str | None
    more: bool


class SourceFacts(Protocol):
    """What a vendor folder may know of a configured source (`bridge.config.model.Source` has it)."""

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

    `fetch(client, cursor)`: one page from `cursor` on, oldest first where the vendor lets us choose.
    `rewind(cursor, overlap_seconds)`: the cursor to start a round with, a little before where the last one ended.
    `start(moment, until)`: the cursor for reading from a moment to another (UNIX seconds; None: without end). What the
    vendor cannot bound is read and dropped by publish-once.
    `position(cursor)`: the UNIX seconds that a cursor stands for, for people, for progress and for `later`.
    `low_water`: a finished round's cursor may lie behind its start and is taken as it is, because the vendor lists by
    creation and the client keeps it at the oldest open attempt.
    `sweep(options)`: seconds; every round reads again from so long ago, for changes that no cursor shows. `every`: at
    least so many seconds between two rounds of this stream; None: the source's own.
    """

    fetch: Callable[[Any, str | None], Page]
    rewind: Callable[[str, float], str]
    start: Callable[[float, float | None], str]
    position: Callable[[str], float]
    low_water: bool = False
    sweep: Callable[[Mapping[str, Any]], float] | None = None
    every: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactSheet:
    """What `docs/vendors.md` says of a vendor; the table there is made of these. One line each, the short ones a
    few words. `documented`: the vendor says so; `observed`: seen in public traffic or code; `assumed`: inferred, and
    harmless if wrong. `ask`: what to ask the vendor before going live."""

    signs: str
    identity: str
    webhook_means: str
    look_back: str
    quota: str
    documented: tuple[str, ...]
    observed: tuple[str, ...]
    assumed: tuple[str, ...]
    ask: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One vendor, declared.

    `verify(raw, headers, secrets, now)`: raises `BadSignature`; None where the vendor does not sign, and then the
    webhook address must hold a token. `headers` have lower-case names; `secrets` is the tuple of `secret_credential`.
    `split(body, options)`: a parsed webhook body -> records, pointers, consent, or why it is none. Raises `Unreadable`.
    `normalise(record, now, options)`: pure. Raises `Unreadable`. A status outside `PUBLISHABLE_STATUSES` is no news.
    `connect(source, calls)`: the API client for one source.
    `recheck(client, reference)`: the records of one watched attempt as they are now; empty while the vendor knows
    none. Pointers among them are watched from then on: a schedule becomes its candidates.
    `expect(reference, options)`: what an operator expects -> where to look. Raises `ValueError` with one line that
    names the members it wants. `reference_help`: member -> what it is, for command line, CSV columns and documents.
    `probe(client)`: logs in and reads the least there is; what it found in a few words. None: a page of each stream.
    `generations`: a second `sitting` under the id of an attempt is a new attempt: `:2` is appended, and so on.
    `options` everywhere are those of the source, completed by the defaults.
    """

    name: str
    title: str
    base_url: str
    quota: Quota
    credentials: Mapping[str, Credential]
    sheet: FactSheet
    split: Callable[[Any, Mapping[str, Any]], WebhookContent]
    normalise: Callable[[Record, float, Mapping[str, Any]], NormalisedAttempt]
    connect: Callable[[SourceFacts, VendorCalls], Any]
    verify: Callable[[bytes, Mapping[str, str], tuple[str, ...], float], None] | None = None
    secret_credential: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    polls: Mapping[str, Poll] = field(default_factory=dict)
    recheck: Callable[[Any, Mapping[str, str]], Sequence[Record | Pointer]] | None = None
    #: Seconds between looks at a watched attempt; the last one repeats.
    recheck_schedule: tuple[float, ...] = (3600.0,)
    #: Likewise for what a webhook pointed to and the API does not show yet.
    pointer_schedule: tuple[float, ...] = (5.0, 30.0, 120.0, 600.0, 3600.0)
    expect: Callable[[Mapping[str, str], Mapping[str, Any]], Pointer] | None = None
    reference_help: Mapping[str, str] = field(default_factory=dict)
    probe: Callable[[Any], str] | None = None
    generations: bool = False
    media_types: tuple[str, ...] = ("application/json",)
    #: Longest period the API can list, seconds; None: not limited.
    look_back_limit: float | None = None
