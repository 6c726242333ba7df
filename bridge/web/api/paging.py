"""Pages of a list: `limit` and `cursor` of the query, `next` of the answer.

A cursor is the position of the last row of a page, not a number of rows: rows that come or go meanwhile shift nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, TypeVar

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.text import text_problem
from bridge.web.api.common import refuse

__all__ = ["DEFAULT_LIMIT", "MAX_LIMIT", "Page", "PageQuery", "cursor_of", "page_of", "position_of", "refuse_cursor"]

DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
#: Longer than any cursor that is issued: positions are stream ids, times, names.
_LONGEST = 4000

_REMEDY = "Remedy: give `next` of the previous page, or leave it out"
_NO_CURSOR = f"is not a cursor of this API. {_REMEDY}"

_Row = TypeVar("_Row")


class PageQuery(Schema):
    """The query of every list; subclasses add their filters."""

    limit = fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(1, MAX_LIMIT),
        metadata={"description": "Maximum number of rows."},
    )
    cursor = fields.String(
        validate=[validate.Length(1, _LONGEST), validate.Regexp(r"^[A-Za-z0-9_=-]+$", error=_NO_CURSOR)],
        metadata={"description": "`next` of the previous page, with the same filters; without it, the first page."},
    )


class Page(Schema):
    """The answer of every list; subclasses add the rows, under the name of the resource."""

    class Meta:
        unknown = EXCLUDE

    next = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Give it as `cursor` to get the next page; null on the last page."},
    )


def cursor_of(resource: str, *position: str) -> str:
    """An opaque cursor that `position_of` reads for the same resource."""
    raw = json.dumps([resource, *position], separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def position_of(resource: str, query: Mapping[str, Any], parts: int = 1) -> tuple[str, ...] | None:
    """The position in the `cursor` of a query, `parts` texts; None on the first page. Refuses any other cursor."""
    text = query.get("cursor")
    if text is None:
        return None
    try:
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        refuse_cursor("is not a cursor of this API")
    is_sound = isinstance(values, list) and all(isinstance(part, str) and not text_problem(part) for part in values)
    if not is_sound or not values:
        refuse_cursor("is not a cursor of this API")
    if values[0] != resource or len(values) != parts + 1:
        refuse_cursor(f"is not a cursor of {resource}")
    return tuple(values[1:])


def page_of(
    resource: str,
    rows: Iterable[_Row],
    limit: int,
    position: Callable[[_Row], Sequence[str]],
    shown: Callable[[_Row], Any] = lambda row: row,
) -> dict[str, Any]:
    """The page `{resource: [...], "next": ...}` with the first `limit` rows; one more is read to see if a page follows.

    `rows`: what follows the query's cursor, in the order of the list. `position`: of one row, for `cursor_of`.
    `shown`: makes the row of the answer.
    """
    page = list(islice(rows, limit + 1))
    more = len(page) > limit
    page = page[:limit]
    following = cursor_of(resource, *position(page[-1])) if more and page else None
    return {resource.replace("-", "_"): [shown(row) for row in page], "next": following}


def refuse_cursor(problem: str) -> NoReturn:
    """Refuse the query's cursor with 422. `problem`: the end of a sentence about it."""
    refuse(
        422,
        f"the cursor {problem}. {_REMEDY}",
        errors={"cursor": [problem]},
    )
