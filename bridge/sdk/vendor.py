"""The vendor contract: what a folder in `bridge/vendors/` declares. Functions and data, nothing to inherit.

A vendor folder exports `VENDOR = Vendor(...)`. What a vendor lacks is left out, not stubbed. For a complete example
see `docs/adding-a-vendor.md`. What a vendor returns is in `bridge/sdk/records.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.sdk.options import Option
from bridge.sdk.records import (
    GRADINGS,
    PUBLISHABLE_STATUSES,
    STATUSES,
    Consent,
    Ignored,
    NormalisedAttempt,
    Pointer,
    Record,
    Resume,
    Watch,
    WebhookContent,
    material_digest,
)
from bridge.sdk.streams import check_polls, streams, whole_streams

__all__ = [
    "GRADINGS",
    "NO_WEBHOOKS",
    "PUBLISHABLE_STATUSES",
    "STATUSES",
    "Consent",
    "Credential",
    "FactSheet",
    "Ignored",
    "Memory",
    "NormalisedAttempt",
    "Option",
    "Page",
    "Pointer",
    "Poll",
    "Quota",
    "Record",
    "Resume",
    "SourceFacts",
    "Vendor",
    "VendorCalls",
    "Watch",
    "WebhookContent",
    "material_digest",
    "streams",
    "whole_streams",
]

#: What a fact sheet says about webhooks if the vendor sends none.
NO_WEBHOOKS = "no webhooks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A secret that the operator must configure."""

    #: Where to find it at the vendor.
    help: str
    #: The source cannot work without it.
    required: bool = True
    #: A list is allowed, for rotation; the first is the newest.
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The calls that the vendor allows by default."""

    #: Calls in every `per_seconds`.
    calls: int
    #: Length of the window. It slides unless `resets_at` is set.
    per_seconds: float
    #: `HH:MM` in UTC at which the count starts again every day.
    resets_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a poll."""

    #: The rows of the page, not normalised.
    records: Sequence[Record]
    #: Where the next page starts, and where the round resumes once this page is published; None keeps the old cursor.
    cursor: str | None
    #: The vendor has further pages now.
    more: bool
    #: Part that could not be read so far -> why, one line each: for vendors whose list has parts, such as schedules.
    #: The cursor remembers where each part continues.
    unread: Mapping[str, str] = field(default_factory=dict)


class SourceFacts(Protocol):
    """What a vendor folder may read of a configured source (implemented by `bridge.config.model.Source`)."""

    @property
    def name(self) -> str:
        """Its name in bridge.yaml, for messages."""

    @property
    def base_url(self) -> str:
        """Address of the API."""

    @property
    def credentials(self) -> Mapping[str, tuple[str, ...]]:
        """Name -> its values; exactly one for a credential that is not a list."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Name -> value, with defaults filled in."""


class Memory(Protocol):
    """What a client may keep between two turns, as text. It may be lost at any time, so it holds no results."""

    def recall(self, topic: str, names: Sequence[str]) -> Mapping[str, str]:
        """What is remembered under these names; names with nothing remembered are left out."""
        ...

    def remember(self, topic: str, facts: Mapping[str, str], *, seconds: float) -> None:
        """Add facts to a topic; the whole topic is forgotten `seconds` later."""
        ...


class VendorCalls(Protocol):
    """How a vendor's client reaches the vendor's API: the bridge adds the call budget, time-outs and metrics."""

    @property
    def memory(self) -> Memory:
        """What the clients of this source remember together."""
        ...

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        free: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer, text in UTF-8. Takes one call from the budget unless `free`.

        Raises `VendorUnavailable` for no answer, a 5xx or a redirect, `BudgetExhausted` if no call is left.
        """
        ...

    def now(self) -> float:
        """UNIX seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One stream that can be polled, or one for each item that the operator lists."""

    #: `(client, cursor)` -> one page from the cursor on, oldest first where the vendor allows a choice. With `per`:
    #: `(client, cursor, item)`.
    fetch: Callable[..., Page]
    #: `(cursor, overlap seconds)` -> the cursor to start a round with, a little before the end of the last round.
    rewind: Callable[[str, float], str]
    #: `(moment, until)` -> the cursor for reading from one moment to another, UNIX seconds; `until` None: no end. Rows
    #: that the vendor cannot exclude are read and dropped as already published.
    start: Callable[[float, float | None], str]
    #: Cursor -> the UNIX seconds that it represents: shown to people, used for progress and to compare cursors.
    position: Callable[[str], float]
    #: A finished round's cursor may lie before the round's start and is taken as it is: the vendor lists by creation,
    #: and the client keeps the cursor at the oldest open attempt.
    low_water: bool = False
    #: Options -> seconds: every round reads that far back again, for changes that no cursor shows.
    sweep: Callable[[Mapping[str, Any]], float] | None = None
    #: Minimum seconds between two rounds of this stream; None: the source's own interval.
    every: float | None = None
    #: Name of an option of kind `list`, such as the forms to read: each of its items is a separate stream with its own
    #: cursor, `<stream>:<item>`. Raise `VendorFault` for what concerns only one item, such as a form that is gone: the
    #: others are still read.
    per: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactSheet:
    """What `docs/vendors.md` says about a vendor: the first five fill its table, a few words each."""

    #: What the vendor signs.
    signs: str = NO_WEBHOOKS
    #: What identifies one attempt.
    identity: str
    #: What a webhook says.
    webhook_means: str = NO_WEBHOOKS
    #: How far back the API lists.
    look_back: str
    #: How many calls the vendor allows.
    quota: str
    #: Facts from the vendor's own pages, one line each.
    documented: tuple[str, ...]
    #: Facts seen in public traffic or code.
    observed: tuple[str, ...] = ()
    #: Inferred, and harmless if wrong.
    assumed: tuple[str, ...] = ()
    #: Questions for the vendor before going live.
    ask: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """The declaration of one vendor. `options` are always those of the source, with defaults filled in."""

    #: Its name in configuration: lower case with hyphens; the folder has `_` instead of `-`.
    name: str
    #: The name that people read.
    title: str
    #: Address of the API unless the source has its own.
    base_url: str
    #: The calls that the API allows; a source's budget may be smaller.
    quota: Quota
    #: Name -> secret that a source needs.
    credentials: Mapping[str, Credential]
    #: What the documentation says about the vendor.
    sheet: FactSheet
    #: `(body, options)`: a parsed webhook body -> records, pointers and consent, or why it is ignored. Raises
    #: `Unreadable`. If `split` is None, the vendor sends no webhooks, so its sources have no webhook address, token or
    #: secret.
    split: Callable[[Any, Mapping[str, Any]], WebhookContent] | None = None
    #: `(record, now, options)`: pure. Raises `Unreadable`. Published if its status is in `PUBLISHABLE_STATUSES`.
    normalise: Callable[[Record, float, Mapping[str, Any]], NormalisedAttempt]
    #: `(source, calls)` -> the API client of one source.
    connect: Callable[[SourceFacts, VendorCalls], Any]
    #: `(raw, headers, secrets, now)`: the number of the secret that matched, from 1, or None if not known. Raises
    #: `BadSignature`. Header names are lower case, `secrets` are those of `secret_credential`. If `verify` is None, the
    #: vendor does not sign, and the webhook address must contain a token.
    verify: Callable[[bytes, Mapping[str, str], tuple[str, ...], float], int | None] | None = None
    #: The credential that `verify` checks against.
    secret_credential: str | None = None
    #: Name -> setting that a source may have.
    options: Mapping[str, Option] = field(default_factory=dict)
    #: Stream -> how to poll it; empty: the API lists nothing.
    polls: Mapping[str, Poll] = field(default_factory=dict)
    #: `(client, reference)` -> the records of one watched attempt as they are now, empty while the vendor has none.
    #: Pointers among them are watched from then on: a schedule becomes its candidates. A `Resume` says where the next
    #: recheck starts.
    recheck: Callable[[Any, Mapping[str, str]], Sequence[Record | Pointer | Resume]] | None = None
    #: Seconds between rechecks of a watched attempt; the last one repeats.
    recheck_schedule: tuple[float, ...] = (3600.0,)
    #: The same for an attempt that a webhook pointed to and the API does not show yet.
    pointer_schedule: tuple[float, ...] = (5.0, 30.0, 120.0, 600.0, 3600.0)
    #: `(reference, options)`: what an operator expects -> where to look. Raises `ValueError` with one line that names
    #: the members it needs.
    expect: Callable[[Mapping[str, str], Mapping[str, Any]], Pointer] | None = None
    #: Member of a reference -> what it is, for the command line, CSV columns and documents.
    reference_help: Mapping[str, str] = field(default_factory=dict)
    #: Client -> logs in, reads as little as possible, and says in a few words what was found. If `probe` is None, one
    #: page of each stream is read.
    probe: Callable[[Any], str] | None = None
    #: A second `sitting` under the id of an attempt is a new attempt: `:2` is appended to the id, then `:3`.
    sittings: bool = False
    #: Media types of webhooks; others are refused.
    media_types: tuple[str, ...] = ("application/json",)
    #: Longest period that the API lists, seconds; None: not limited.
    look_back_limit: float | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` for a stream that could not be polled."""
        check_polls(self)
