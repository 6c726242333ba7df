"""Lists of the API as pages: filter, facets, cursor and how far a search came, all of it in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flask import request

from bridge.web.ui.calls import Refused, read
from bridge.web.ui.filter_text import has_term, toggled

__all__ = ["Choice", "Facet", "Listing", "Shown", "read_list"]

_LIMIT = 50
#: Parameters of every list.
_NAMES = ("filter", "since", "until", "cursor")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of the API. `resource`: the member with the rows; `path`: below `/api/v1/`.

    `facets`: label -> terms of the filter to click, such as `{"Outcome": ("outcome:refused",)}`. `fields`: the name
    under which the API lists the fields of its filter, "" where it has none.
    """

    resource: str
    path: str
    fields: str = ""
    has_period: bool = True
    facets: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """One term of a facet: a click adds it to the filter, or removes it."""

    label: str
    url: str
    active: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """Terms that belong together."""

    label: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One page of a list. `problem`: why the filter was refused; `kept`: further parameters of the address."""

    rows: Sequence[Mapping[str, Any]]
    document: Mapping[str, Any]
    filter: str
    since: str
    until: str
    has_period: bool
    kept: Mapping[str, str]
    fields: Sequence[Mapping[str, Any]]
    facets: tuple[Facet, ...]
    problem: str | None
    searched_until: str | None
    next_url: str | None
    first_url: str
    clear_url: str

    @property
    def is_filtered(self) -> bool:
        """Whether not all rows were asked for."""
        return bool(self.filter or self.since or self.until)

    @property
    def is_first(self) -> bool:
        """Whether it begins with the first row."""
        return "cursor" not in request.args


def read_list(
    listing: Listing, *, kept: Sequence[str] = (), facets: Mapping[str, Sequence[str]] | None = None, **query: Any
) -> Shown:
    """The page that the address asks for. `kept`: further parameters of the address, passed to the API as they are.

    `query`: what is passed along with them. `facets`: instead of those of the listing. Raises `Refused`, but not for a
    filter, a period or a cursor that cannot be read: these become the `problem`.
    """
    given = {name: request.args[name].strip() for name in (*_NAMES, *kept) if request.args.get(name, "").strip()}
    problem: str | None = None
    document: dict[str, Any] = {listing.resource: [], "next": None}
    try:
        document = read(listing.path, limit=_LIMIT, **{**query, **given})
    except Refused as refused:
        if refused.status != 422:
            raise
        problem = refused.line
    plain = {name: value for name, value in given.items() if name != "cursor"}
    others = {name: plain[name] for name in kept if name in plain}
    cursor: str | None = document["next"]
    return Shown(
        rows=document[listing.resource],
        document=document,
        filter=given.get("filter", ""),
        since=given.get("since", ""),
        until=given.get("until", ""),
        has_period=listing.has_period,
        kept=others,
        fields=read(f"fields/{listing.fields}")["fields"] if listing.fields else (),
        facets=_facets(listing.facets if facets is None else facets, plain),
        problem=problem,
        searched_until=document.get("searched_until"),
        next_url=None if cursor is None else _address({**plain, "cursor": cursor}),
        first_url=_address(plain),
        clear_url=_address(others),
    )


def _facets(declared: Mapping[str, Sequence[str]], query: Mapping[str, str]) -> tuple[Facet, ...]:
    text = query.get("filter", "")

    def choice(term: str) -> Choice:
        new = toggled(text, term)
        return Choice(term.partition(":")[2].strip('"'), _address({**query, "filter": new}), has_term(text, term))

    return tuple(Facet(label, tuple(map(choice, terms))) for label, terms in declared.items() if terms)


def _address(query: Mapping[str, str]) -> str:
    given = {name: value for name, value in query.items() if value}
    return f"{request.path}?{urlencode(given)}" if given else request.path
