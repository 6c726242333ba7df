"""The queries of docs/outputs-sql.md, run in both databases over known attempts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.dispatch import SOURCE, outcomes
from tests.support.postgresql import PostgreSQLServer
from tests.support.sql_tables import Place, made, notice, outgoing, postgresql_place, sqlite_place

GUIDE = (Path(__file__).parents[3] / "docs/outputs-sql.md").read_text()
#: Title -> its rows.
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "Pass rate by assessment": [("Safety", 3, 66.7), ("Hygiene", 1, 0.0)],
    "All results of one candidate": [("Safety", 80.0, True, "final"), ("Safety", 40.0, False, "final")],
    "The best attempt of each candidate at each assessment": [
        ("c1", "Safety", "a2", 80.0),
        ("c3", "Hygiene", "a3", 95.0),
        ("c4", "Safety", "a4", None),
        ("c6", "Safety", "a6", 71.0),
    ],
    "How the results are distributed": [("0-49", 1), ("70-89", 2), ("90-100", 1)],
    "Attempts on each day": [("2020-01-01", 1), ("2026-11-20", 4)],
    "Attempts that no webhook announced, rescued by a poll or a backfill": [(SOURCE, 6, 1)],
    "Seconds from completion to publication, by source": [(SOURCE, 3408, 3540)],
    "Results that changed after they were published": [("a6", 2, "65.5", "71.0")],
    "Not graded a week after completion": [(SOURCE, "a4", "Safety")],
    "Expected attempts that are overdue and have not come since": [(SOURCE, "order-2", "2026-11-21T12:00:00.000Z")],
}


def attempts() -> list[dict[str, Any]]:
    sam = {"id": "c1", "external_id": "E-20417"}
    hygiene = {"id": "t2", "name": "Hygiene"}
    late = [notice(1), notice(2)]
    for number, event in enumerate(late, start=1):
        event["data"]["watch"] |= {"label": f"order-{number}", "deadline": f"2026-11-2{number - 1}T12:00:00.000Z"}
    polled = made(3, candidate={"id": "c3"}, assessment=hygiene, result={"percentage": 95.0, "passed": False})
    ungraded = {"percentage": None, "passed": None, "grading": "pending"}
    old = made(4, attempt={"completed_at": "2020-01-01T10:00:00.000Z"}, result=ungraded)
    return [
        made(1, candidate=sam, result={"percentage": 40.0, "passed": False}, extensions={"expectation": "order-1"}),
        made(2, candidate=sam, result={"percentage": 80.0}),
        {**polled, "bridgeorigin": "poll"},
        {**old, "recordedtime": "2020-01-01T10:56:00.000Z"},
        made(5, voided=True),
        made(6, result={"percentage": 65.5}),
        made(6, revision=2, result={"percentage": 71.0, "previous": {"percentage": 65.5}}),
        *late,
    ]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield sqlite_place(str(tmp_path / "attempts.db"))
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    with closing(server.connect()) as connection:
        connection.execute("DROP SCHEMA IF EXISTS queries CASCADE; CREATE SCHEMA queries")
    yield postgresql_place(server.url, "queries")


def queries(dialect: str) -> dict[str, str]:
    """Title -> query, of one dialect."""
    section = GUIDE.partition("\n## Ten queries\n")[2].partition("\n## ")[0]
    by_title = {}
    for title, blocks in re.findall(r"^\*\*(.+?)\*\*.*?\n\n((?:```sql\n.+?```\n*)+)", section, re.M | re.S):
        for block in re.findall(r"```sql\n(.+?)```", blocks, re.S):
            only = re.match(r"-- (\w+)\n", block)
            if only is None or only[1].lower() == dialect:
                assert title not in by_title, title
                by_title[title] = block
    return by_title


def plain(row: tuple[Any, ...], wanted: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values in one form: numbers as floats, booleans where some are expected, days and numbers of JSON as text."""
    values = [value for value in row if not _is_moment(value)]
    return tuple(
        bool(value)
        if isinstance(expected, bool)
        else str(value)
        if isinstance(expected, str)
        else float(value)
        if isinstance(value, Decimal | float)
        else value
        for value, expected in zip(values, wanted, strict=True)
    )


def _is_moment(value: object) -> bool:
    """A time of completion; deadlines are text of JSON in both."""
    return hasattr(value, "hour") or (
        isinstance(value, str) and bool(re.fullmatch(r"20\d\d-\d\d-\d\dT1[04]:.+", value))
    )


def test_the_queries_of_the_guide_give_what_their_titles_say(place: Place) -> None:
    events = attempts()
    transport = place.transport()
    assert set(outcomes(transport, outgoing(*events))) == {None}
    transport.close()
    of_guide = queries(place.dialect)
    assert list(of_guide) == [title for title in of_guide if title in EXPECTED]
    assert set(of_guide) == set(EXPECTED)
    with closing(place.connect()) as connection:
        if place.dialect == "postgresql":
            connection.execute("SET search_path TO queries; SET timezone TO 'UTC'")
        for title, wanted in EXPECTED.items():
            rows = [tuple(row) for row in connection.execute(of_guide[title]).fetchall()]
            assert len(rows) == len(wanted), (title, rows)
            assert [plain(row, expected) for row, expected in zip(rows, wanted, strict=True)] == wanted, title
