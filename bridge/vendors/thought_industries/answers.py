"""What the API answers: the list in either wrapper, its rows cut to the allow-list, and what paging needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.errors import Unreadable, VendorFault, VendorUnavailable
from bridge.sdk.strict_json import parse_answer
from bridge.vendors.thought_industries.schema import Key, Moment, load_listing, pruned

__all__ = ["Listing", "course_of", "moment_of", "read_listing", "user_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page: rows with nothing but the declared members. `next_page`: the vendor's cursor, None on the last page."""

    rows: tuple[dict[str, Any], ...]
    next_page: str | None


def read_listing(body: bytes, where: str) -> Listing:
    """The page in an answer. Raises `VendorUnavailable` for what is none: it must never pass for an empty one."""
    try:
        listing = load_listing(_unwrapped(parse_answer(body)))
        next_page = _next_page(listing["pageInfo"] or {}, listing["meta"] or {}, where)
    except Unreadable as error:
        raise VendorUnavailable(f"{where}: {error}. Retried in the next round", reason="bad_answer") from error
    return Listing(rows=tuple(pruned(row) for row in listing["assessmentAttempts"]), next_page=next_page)


def user_of(row: Mapping[str, Any]) -> str | None:
    """The user's id of a pruned row; None where it is missing or unreadable."""
    return _key(_member(row, "user", "id"))


def course_of(row: Mapping[str, Any]) -> str | None:
    """The course's id, likewise."""
    return _key(row.get("courseId")) or _key(_member(row, "course", "id"))


def moment_of(row: Mapping[str, Any], name: str) -> float | None:
    """The UNIX seconds of a member, likewise. What is wrong with it is the adapter's to say."""
    try:
        moment = Moment.convert(row.get(name, ""))
    except ValueError:
        return None
    return None if moment is None else moment.timestamp()


def _unwrapped(document: Any) -> dict[str, Any]:
    """The object with the list: documented inside `data.AssessmentAttempts`, in practice also at the top."""
    document = document if isinstance(document, dict) else {}
    inner = document if "assessmentAttempts" in document else _member(document, "data", "AssessmentAttempts")
    if not isinstance(inner, dict):
        raise Unreadable("neither data.AssessmentAttempts nor assessmentAttempts stands in the answer")
    # Where `meta` stands is not said: beside the list, or beside `data`.
    return {"meta": document.get("meta"), **inner}


def _next_page(info: Mapping[str, Any], meta: Mapping[str, Any], where: str) -> str | None:
    more, cursor = info.get("hasMore"), info.get("cursor")
    other: str | None = meta.get("nextCursor")
    if more is None:
        if not meta:
            raise Unreadable("neither pageInfo.hasMore nor meta says whether there are more pages")
        return other
    if more and not (cursor or other):
        raise VendorFault(f"{where}: more attempts are promised, but there is no cursor to them", reason="loop")
    return (cursor or other) if more else None


def _member(members: Mapping[str, Any], outer: str, name: str) -> Any:
    inner = members.get(outer)
    return inner.get(name) if isinstance(inner, dict) else None


def _key(value: Any) -> str | None:
    try:
        return None if value is None else Key.convert(value)
    except ValueError:
        return None
