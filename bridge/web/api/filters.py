"""Filtered lists: `filter`, `since` and `until` of the query, and how far a search came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from marshmallow import fields, validate

from bridge import clock
from bridge.errors import clip
from bridge.journal.search import Place, SearchPage
from bridge.query import MAX_LENGTH, Fields, Query, QueryError, parse, parse_moment
from bridge.web.api.common import refuse, services_here
from bridge.web.api.members import sound
from bridge.web.api.paging import Page, PageQuery, cursor_of, position_of, refuse_cursor
from schemas.event import format_time

__all__ = [
    "FilteredPage",
    "FilteredQuery",
    "iso",
    "page_of_search",
    "place_of",
    "query_of",
    "refuse_ambiguous",
    "without_addresses",
]

_MOMENT = "2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC."


class FilteredQuery(PageQuery):
    """The query of a filtered list; subclasses add parameters of their own."""

    filter = fields.String(
        validate=[sound, validate.Length(max=MAX_LENGTH)],
        metadata={"description": "Filter, such as `type:attempt.revised source:eu-* -passed:true`."},
    )
    since = fields.String(validate=validate.Length(1, 40), metadata={"description": f"Start: {_MOMENT}"})
    until = fields.String(validate=validate.Length(1, 40), metadata={"description": f"End: {_MOMENT}"})


class FilteredPage(Page):
    """The answer of a filtered list; subclasses add the rows."""

    searched_until = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "Set if the search ended at its bound: nothing older was searched. `next` continues there."
        },
    )


def query_of(query: Mapping[str, Any], declared: Fields) -> Query:
    """The filter and the period of a query; refuses wrong ones with 422."""
    now = services_here().now()
    try:
        parsed = parse(query.get("filter", ""), declared, now)
    except QueryError as error:
        refuse(422, str(error), errors={"filter": [str(error)]})
    since, until = (_moment(query, name, now) for name in ("since", "until"))
    since = max((moment for moment in (since, parsed.since) if moment is not None), default=None)
    until = min((moment for moment in (until, parsed.until) if moment is not None), default=None)
    return replace(parsed, since=since, until=until)


def place_of(resource: str, query: Mapping[str, Any], streams: int) -> Place | None:
    """Where a list of entries continues according to the query's cursor; refuses any other cursor."""
    position = position_of(resource, query)
    if position is None:
        return None
    try:
        place = Place.parse(position[0])
    except ValueError:
        refuse_cursor(f"is not a cursor of {resource}")
    if place.stream >= streams:
        refuse_cursor(f"is not a cursor of {resource}")
    return place


def page_of_search(resource: str, page: SearchPage[Any], rows: list[Any]) -> dict[str, Any]:
    """The page with the rows of a search."""
    following = None if page.position is None else cursor_of(resource, str(page.position))
    return {resource.replace("-", "_"): rows, "next": following, "searched_until": iso(page.searched_until)}


def iso(moment: float | None) -> str | None:
    """UNIX seconds as ISO 8601 UTC with milliseconds; None stays None."""
    return None if moment is None else format_time(clock.to_datetime(moment))


def refuse_ambiguous(noun: str, beginning: str) -> NoReturn:
    """Refuse with 422 a beginning that several ids share."""
    problem = f'several {noun} have an id that begins with "{clip(beginning, 40)}". Give more of it'
    refuse(422, problem, errors={"ident": [problem]})


def without_addresses(value: Any) -> Any:
    """The value with `***` for every text in it that contains an e-mail address, as some vendors' attempt ids do."""
    if isinstance(value, Mapping):
        return {name: without_addresses(member) for name, member in value.items()}
    if isinstance(value, list):
        return [without_addresses(member) for member in value]
    return "***" if isinstance(value, str) and "@" in value else value


def _moment(query: Mapping[str, Any], name: str, now: float) -> float | None:
    if name not in query:
        return None
    try:
        return parse_moment(query[name], now) / 1000
    except ValueError as error:
        refuse(422, f"{name}: {error}", errors={name: [str(error)]})
