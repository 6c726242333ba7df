"""A list that is asked by time is read whole, whichever way the API is asked for further pages and spells times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.sdk.compiled_schema import IsoTime, UnixMillis, UnixTime
from bridge.sdk.json_api import key_in_header, rows_of
from bridge.sdk.table_simulator import Sitting, Table, TableSimulator, iso
from bridge.sdk.time_cursor import TimeCursor, poll_by_time
from tests.support.contract.wire import Facts, calls_over, wsgi

NOW = 1_795_000_000
FACTS = Facts(name="eu", credentials={"token": ("invented",)}, options={})
#: Kind of time -> its field, and how it is written.
TIMES = {"unix": (UnixTime(), int), "unix_ms": (UnixMillis(), lambda at: 1000 * at), "iso": (IsoTime(), iso)}


def row(sitting: Sitting) -> dict[str, Any]:
    return {"id": sitting.number, **{kind: write(sitting.finished) for kind, (_, write) in TIMES.items()}}


TABLE = Table(
    path="/results",
    rows="data.items",
    row=row,
    key=("x-token", "invented"),
    credentials={"token": "invented"},
    since="since",
    more_at="data.more",
    page_size=3,
)


def by_number(at, answer):
    return int(at.page or 1) + 1 if answer["data"]["more"] else None


def by_offset(at, answer):
    return int(at.page or 0) + len(answer["data"]["items"]) if answer["data"]["more"] else None


def by_token(_at, answer):
    return answer.get("next")


STYLES = {"page": by_number, "offset": by_offset, "token": by_token, "time alone": None}


def fetch_in(style: str, time: str, *, inclusive: bool):
    """What the folder of a vendor would have."""
    field, write = TIMES[time]

    def fetch(api, cursor):
        at = TimeCursor.read(cursor)
        since = (at.asked if STYLES[style] is None else at.since) - (not inclusive)
        asked = {
            "since": write(since),
            **({style: at.page} if at.page and style in ("page", "offset", "token") else {}),
        }
        answer = api.get("results", asked)
        rows = rows_of(answer, "data.items")
        if STYLES[style] is None:
            return at.page_by_time("result", rows, (time, field), api.now(), more=answer["data"]["more"])
        return at.page_of("result", rows, (time, field), STYLES[style](at, answer), api.now())

    return fetch


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("time", "inclusive"), [("unix", True), ("unix_ms", True), ("iso", False)])
def test_every_row_is_read_also_where_pages_end_inside_a_second(style, time, inclusive):
    parameter = {style: style} if style in ("page", "offset", "token") else {}
    simulator = TableSimulator(replace(TABLE, time=time, inclusive=inclusive, **parameter), lambda: NOW)
    for seconds in (900, *[800] * (2 if style == "time alone" else 7), *range(700, 0, -60)):
        simulator.add(NOW - seconds)
    api = key_in_header("x-token", "token")(FACTS, calls_over(wsgi(simulator.wsgi), FACTS, lambda: NOW))
    poll = poll_by_time(fetch_in(style, time, inclusive=inclusive))

    cursor, read = poll.start(NOW - 900, None), []
    for _ in range(20):
        page = poll.fetch(api, cursor)
        read += [record.body["id"] for record in page.records]
        cursor = page.cursor
        if not page.more:
            break

    assert set(read) == set(range(1, len(simulator.sittings) + 1))
    assert cursor == str(NOW - 40)


def test_a_second_that_cannot_be_listed_by_time_alone_is_reported_and_left_behind():
    simulator = TableSimulator(TABLE, lambda: NOW)
    for seconds in (900, *[800] * 7, 700):
        simulator.add(NOW - seconds)
    api = key_in_header("x-token", "token")(FACTS, calls_over(wsgi(simulator.wsgi), FACTS, lambda: NOW))
    fetch = fetch_in("time alone", "unix", inclusive=True)

    pages = [fetch(api, str(NOW - 900))]
    while pages[-1].more:
        pages.append(fetch(api, pages[-1].cursor))

    records = [record.body for page in pages for record in page.records]
    assert [body for body in records if "id" not in body] == [
        {"problem": f"second {NOW - 800} has more rows than the API lists"}
    ]
    assert records[-1]["id"] == 9
