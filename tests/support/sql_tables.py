"""For tests of `transport: sql`: a database of each kind with tables of the test's own, and events to write."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg

from bridge.config.model import Subscription
from bridge.sql.database import Limits
from bridge.sql.opening import database_of, dialect_of, tables_of
from schemas.event import event_id
from tests.support.dispatch import SOURCE
from workers.transports.contract import Outgoing
from workers.transports.sql_tables import SqlTables

#: Nobody waits long for a lock in a test.
QUICK = Limits(lock=0.2, statement=5.0, answer=10.0)
PATH = f"/acme/sources/{SOURCE}"


@dataclass(frozen=True)
class Place:
    """A subscription whose database is empty, and connections to it that are not the bridge's."""

    subscription: Subscription
    connect: Callable[[], Any]

    @property
    def dialect(self) -> str:
        return dialect_of(self.subscription)

    def transport(self, limits: Limits = QUICK) -> SqlTables:
        return SqlTables(self.subscription, database_of(self.subscription, limits))

    def do(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in which {attempts}, {events} and {version} are the tables; the rows of the last."""
        tables = tables_of(self.subscription)
        names = {"attempts": tables.attempts, "events": tables.events, "version": tables.version}
        with closing(self.connect()) as connection:
            for statement in statements:
                cursor = connection.execute(statement.format(**names))
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
        return rows


def sqlite_place(path: str, **members: Any) -> Place:
    subscription = Subscription(name="warehouse", transport="sql", url=f"sqlite:///{path}", **members)
    return Place(subscription, lambda: sqlite3.connect(path))


def postgresql_place(url: str, schema: str, **members: Any) -> Place:
    subscription = Subscription(name="warehouse", transport="sql", url=url, schema=schema, **members)
    return Place(subscription, lambda: psycopg.connect(url, autocommit=True))


def made(
    number: int = 1,
    *,
    revision: int = 1,
    voided: bool = False,
    kind: str = "",
    passed: bool | None = True,
    **members: Any,
) -> dict[str, Any]:
    """An event of an attempt. `members`: of `data.candidate`, `result` and `assessment`, as `candidate={...}`."""
    kind = kind or ("attempt.revised" if revision > 1 else "attempt.voided" if voided else "attempt.completed")
    status = "voided" if voided else "completed"
    time = f"2026-11-20T14:{number % 60:02}:00.000Z"
    data = {
        "attempt": {
            "id": f"a{number}",
            "revision": revision,
            "status": status,
            "started_at": "2026-11-20T13:00:00.000Z",
            "completed_at": time,
            "duration_seconds": 1800,
        },
        "candidate": {"id": f"c{number}", "external_id": "E", "email": "sam@example.test", "name": "Zoë Reyes"},
        "assessment": {"id": "t1", "name": "Safety", "group": {"kind": "link", "id": "g1", "name": "Spring"}},
        "result": {"score": 20.5 + revision, "max_score": 30.0, "percentage": 71.6667, "pass_mark_percentage": 60.0},
        "flags": [],
        "extensions": {},
    }
    data["result"] |= {"passed": passed, "grade": None, "grading": "final", "previous": None}
    for name, values in members.items():
        data[name] = {**data[name], **values}
    return {
        "specversion": "1.0",
        "id": event_id(PATH, f"a{number}", kind, revision),
        "source": PATH,
        "type": kind,
        "subject": f"a{number}",
        "time": time,
        "recordedtime": "2026-11-20T15:00:00.000Z",
        "bridgevendor": "classmarker",
        "bridgeorigin": "webhook",
        "data": data,
    }


def notice(number: int = 1) -> dict[str, Any]:
    """An event that is about no attempt."""
    kind = "attempt.overdue"
    known = {name: made(number)[name] for name in ("specversion", "source", "time", "recordedtime", "bridgevendor")}
    watch = {"watch": {"key": f"w{number}", "kind": "expectation"}}
    return {**known, "id": event_id(PATH, f"w{number}", kind, 1), "type": kind, "subject": f"w{number}", "data": watch}


def outgoing(*events: dict[str, Any]) -> list[Outgoing]:
    return [
        Outgoing(each["id"], each["type"], SOURCE, each["subject"], json.dumps(each, ensure_ascii=False).encode())
        for each in events
    ]


def publish(state: Any, journal: str, events: Sequence[dict[str, Any]]) -> None:
    """Append events to a journal."""
    for event in outgoing(*events):
        fields = {
            "id": event.id,
            "type": event.type,
            "source": event.source,
            "attempt": event.attempt,
            "event": event.body,
        }
        state.xadd(journal, fields)
