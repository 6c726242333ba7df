"""The table behind a simulated vendor: one sitting, how the API is queried, and which rows answer a call.

Used by `bridge.sdk.table_simulator`, which explains how to begin. Nothing here is shared with the code that reads a
vendor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from werkzeug.exceptions import BadRequest, NotFound

__all__ = ["Sitting", "Table", "answer_to", "iso", "spoilt"]


@dataclass(slots=True, kw_only=True)
class Sitting:
    """One attempt, as `Table.row` gets it."""

    #: From 1, in the order in which attempts were added.
    number: int
    #: Number of the person who sits.
    person: int
    #: UNIX seconds, like all times here.
    started: int
    #: None: not yet.
    finished: int | None
    #: The last change of any kind.
    changed: int
    #: A person has graded it, or nobody needs to.
    graded: bool
    #: Percent, 0-100.
    score: int
    #: With `Table.per`: the item that lists it, such as a form.
    item: str = ""
    #: 1, then one higher with each change.
    revision: int = 1
    #: The vendor has withdrawn it.
    voided: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How the API is queried, and how it answers. Parameters that are None do not exist; unknown ones are ignored."""

    #: Address of the list, below the address of the API. With `per`: `/forms/{item}/results` is a list for each item.
    path: str
    #: Where the rows are in an answer; "": the answer is the list of rows.
    rows: str
    #: How a sitting is printed.
    row: Callable[[Sitting], dict[str, Any]]
    #: Header and value without which a call is answered with 401.
    key: tuple[str, str]
    #: The credentials of a source that reads this account.
    credentials: Mapping[str, str]
    #: Its options.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Row -> the id under which the attempt is published.
    attempt_id: Callable[[Mapping[str, Any]], str] = lambda row: str(row["id"])
    #: As in `Poll`: the option that lists the items.
    per: str | None = None
    #: Member of `Sitting` by which rows are selected and sorted, oldest first: finished, started, changed or number.
    sort: str = "finished"
    #: Parameter: rows from this time on.
    since: str | None = None
    #: Parameter: rows up to this time.
    until: str | None = None
    #: `since` includes its own moment.
    inclusive: bool = True
    #: How times are written in parameters: unix, unix_ms or iso.
    time: str = "unix"
    #: Parameter -> place in a row: only rows in which that member has this value.
    filters: Mapping[str, str] = field(default_factory=dict)
    #: Parameter: the number of the page, from 1. It or one of the next three asks for further pages; otherwise `since`.
    page: str | None = None
    #: Parameter: the number of rows before the page.
    offset: str | None = None
    #: Parameter: the attempt id of the last row read.
    after: str | None = None
    #: Parameter: the text at `next_at` in the previous answer.
    token: str | None = None
    #: Where an answer that has a next page has the text for requesting it.
    next_at: str = "next"
    #: Where the answer says whether there are more rows; None: nowhere.
    more_at: str | None = None
    #: Maximum number of rows in an answer; a bench has 3.
    page_size: int = 100
    #: Calls allowed in every `per_seconds`, any more get a 429; None: not limited, as on a bench.
    calls: int | None = None
    #: Length of that window, which slides.
    per_seconds: float = 60.0
    #: Address of one row, up to its attempt id, such as `/results/` or, with `per`, `/forms/{item}/results/`; None:
    #: there is no such call.
    one: str | None = None
    #: Where the row is in that answer, such as `data`; "": the answer is the row; None: a list of one row at `rows`.
    one_at: str | None = None
    #: Row and time of sending, UNIX seconds -> body and headers of the webhook about it; None: there are no webhooks.
    webhook: Callable[[Mapping[str, Any], float], tuple[bytes, Mapping[str, str]]] | None = None
    #: Seconds from the finish to the grade, in the demo; None: results are final at once.
    graded_after: float | None = None
    #: Rows may appear this many seconds after others that finished later: `rewind` must go back at least as far.
    visible_after: float = 0.0

    def __post_init__(self) -> None:
        """Raises `ValueError` for an address with a placeholder that nothing fills in."""
        for name in ("path", "one"):
            address = getattr(self, name) or ""
            rest = address.replace("{item}", "", 1) if self.per else address
            if "{" in rest:
                known = "{item}, once" if self.per else "none without `per`"
                raise ValueError(f"Table.{name}: {address}: this part is not filled in. Known parts: {known}")


def answer_to(
    table: Table,
    path: str,
    asked: Mapping[str, str],
    sittings: Mapping[str, Sitting],
    shown: Callable[[str], dict[str, Any]],
) -> Any:
    """The API's answer to a call of `path`. `sittings`: those that it lists, by attempt id. `shown` prints a row.

    Raises `NotFound` and `BadRequest`.
    """
    if table.one is not None and (parts := _split(table.one, path)) is not None:
        item, attempt_id = parts
        if attempt_id not in sittings or item not in (None, sittings[attempt_id].item):
            raise NotFound
        row = shown(attempt_id)
        return placed({}, table.rows, [row]) if table.one_at is None else placed({}, table.one_at, row)
    parts = _split(table.path, path)
    if parts is None or parts[1]:
        raise NotFound
    listed = {attempt_id: sitting for attempt_id, sitting in sittings.items() if parts[0] in (None, sitting.item)}
    return page_of(table, listed, asked, shown)


def _split(address: str, path: str) -> tuple[str | None, str] | None:
    """The item in a path, if the address has one, and what comes after the address; None: it is another address."""
    before, per_item, behind = address.partition("{item}")
    if not path.startswith(before):
        return None
    rest = path.removeprefix(before)
    if not per_item:
        return None, rest
    item, separator, rest = rest.partition(behind) if behind else (rest, "yes", "")
    return (item, rest) if separator else None


def page_of(
    table: Table, sittings: Mapping[str, Sitting], asked: Mapping[str, str], shown: Callable[[str], dict[str, Any]]
) -> Any:
    """The answer to a call: a page of these sittings, by attempt id. `shown` prints a row. Raises `BadRequest`."""
    listed = {attempt_id: sitting for attempt_id, sitting in sittings.items() if _is_asked_for(table, sitting, asked)}
    ids = sorted(listed, key=lambda attempt_id: _place(table, listed[attempt_id]))
    first = _rows_before(table, ids, listed, asked)
    page, more = ids[first : first + table.page_size], len(ids) > first + table.page_size
    document = placed({}, table.rows, [shown(attempt_id) for attempt_id in page])
    if table.more_at is not None:
        placed(document, table.more_at, more)
    if table.token is not None and more:
        placed(document, table.next_at, "-".join(map(str, _place(table, listed[page[-1]]))).encode().hex())
    return document


def placed(document: dict[str, Any], place: str, value: Any) -> Any:
    """The document with a value at a place such as `data.items`; the value itself if the place is ""."""
    if not place:
        return value
    *outer, name = place.split(".")
    inner = document
    for part in outer:
        inner = inner.setdefault(part, {})
    inner[name] = value
    return document


def iso(moment: float | None) -> str | None:
    """ISO 8601 in UTC, such as 2026-01-01T11:29:54Z."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def spoilt(value: Any, attempt_id: str) -> Any:
    """A member that cannot be read; objects keep their members, so that the id inside of one stays."""
    if isinstance(value, dict):
        return {name: spoilt(member, attempt_id) for name, member in value.items()}
    return value if str(value) == attempt_id else {"odd": True}


def _place(table: Table, sitting: Sitting) -> tuple[int, int]:
    return getattr(sitting, table.sort) or 0, sitting.number


def _is_asked_for(table: Table, sitting: Sitting, asked: Mapping[str, str]) -> bool:
    since, until = (_moment(asked.get(name or ""), table.time) for name in (table.since, table.until))
    at, row = _place(table, sitting)[0], table.row(sitting)
    return (
        (since is None or at > since or (table.inclusive and at == since))
        and (until is None or at <= until)
        and all(asked.get(name) in (None, str(_at(row, place))) for name, place in table.filters.items())
    )


def _rows_before(table: Table, ids: list[str], listed: Mapping[str, Sitting], asked: Mapping[str, str]) -> int:
    """How many rows the page leaves out, because they were read before."""
    page, offset, after, token = (
        asked.get(name or "") for name in (table.page, table.offset, table.after, table.token)
    )
    try:
        if token:
            key, number = map(int, bytes.fromhex(token).decode().split("-"))
            return sum(_place(table, listed[attempt_id]) <= (key, number) for attempt_id in ids)
        if after:
            return ids.index(after) + 1
        return int(offset or 0) if page is None else (int(page) - 1) * table.page_size
    except ValueError as error:
        raise BadRequest from error


def _moment(text: str | None, kind: str) -> float | None:
    """UNIX seconds of a parameter."""
    if not text:
        return None
    try:
        if kind == "iso":
            return datetime.fromisoformat(text).timestamp()
        return float(text) / (1000 if kind == "unix_ms" else 1)
    except ValueError as error:
        raise BadRequest from error


def _at(row: Any, place: str) -> Any:
    for name in place.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row
