"""Reads answers of the API: the list in either wrapper, its rows cut to the allowed members, and paging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import Unreadable, VendorFault, VendorUnavailable
from bridge.sdk.strict_json import parse_answer
from bridge.vendors.thought_industries.schema import Key, load_listing, pruned, read_moment

__all__ = ["Listing", "course_of", "moment_of", "read_listing", "user_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of the list."""

    #: Rows with only the declared members.
    rows: tuple[dict[str, Any], ...]
    #: The vendor's cursor of the next page; None on the last page.
    next_page: str | None


def read_listing(body: bytes, where: str) -> Listing:
    """The page in an answer. Raises `VendorUnavailable` for anything else: it must not pass as an empty page."""
    try:
        listing = load_listing(_unwrapped(parse_answer(body)))
        next_page = _next_page(listing["pageInfo"] or {}, listing["meta"] or {}, where)
    except Unreadable as error:
        raise VendorUnavailable(f"{where}: {error}. Retried in the next round", reason="bad_answer") from error
    return Listing(rows=tuple(pruned(row) for row in listing["assessmentAttempts"]), next_page=next_page)


def user_of(row: Mapping[str, Any]) -> str | None:
    """The user's id of a pruned row; None if it is missing or unreadable."""
    return _key(_member(row, "user", "id"))


def course_of(row: Mapping[str, Any]) -> str | None:
    """The course's id, likewise."""
    return _key(row.get("courseId")) or _key(_member(row, "course", "id"))


def moment_of(row: Mapping[str, Any], name: str) -> float | None:
    """The UNIX seconds of a member, likewise; the adapter reports unreadable times."""
    try:
        moment = read_moment(row.get(name, ""))
    except ValueError:
        return None
    return None if moment is None else moment.timestamp()


def _unwrapped(document: Any) -> dict[str, Any]:
    """The object with the list: documented inside `data.AssessmentAttempts`, in practice also at the top level."""
    document = document if isinstance(document, dict) else {}
    inner = document if "assessmentAttempts" in document else _member(document, "data", "AssessmentAttempts")
    if not isinstance(inner, dict):
        raise Unreadable("data.AssessmentAttempts, assessmentAttempts: both are missing")
    # `meta` may be next to the list or next to `data`; it is not documented which.
    listing = {"meta": document.get("meta"), **inner}
    # Either may be anything as long as the other one says whether the list continues.
    return {
        name: value for name, value in listing.items() if name not in ("meta", "pageInfo") or isinstance(value, dict)
    }


def _next_page(info: Mapping[str, Any], meta: Mapping[str, Any], where: str) -> str | None:
    more, cursor = info.get("hasMore"), info.get("cursor")
    other: str | None = meta.get("nextCursor")
    if more is None:
        if not meta:
            raise Unreadable("pageInfo.hasMore, meta: both are missing, so the end of the list is unknown")
        return other
    if more and not (cursor or other):
        raise VendorFault(f"{where}: more attempts announced, but without a cursor", reason="loop")
    return (cursor or other) if more else None


def _member(members: Mapping[str, Any], outer: str, name: str) -> Any:
    inner = members.get(outer)
    return inner.get(name) if isinstance(inner, dict) else None


def _key(value: Any) -> str | None:
    try:
        return None if value is None else Key.convert(value)
    except ValueError:
        return None
