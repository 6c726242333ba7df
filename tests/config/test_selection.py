"""Which events a filter takes, and what a list of fields leaves of an event."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.config.model import Filter
from bridge.query import NumberRange
from schemas.projection import field_problem, only, sends_persons

EVENT: dict[str, Any] = {
    "id": "e1",
    "bridgevendor": "northwind",
    "data": {
        "attempt": {"id": "a1", "revision": 2, "status": "voided", "duration_seconds": 5},
        "candidate": {"id": "c1", "external_id": None, "email": "ada@example.org", "name": "Ada Example"},
        "assessment": {"id": "t1", "name": "Test", "group": None},
        "result": {"percentage": 49.5, "passed": False, "grading": "final", "previous": None},
        "flags": ["id-mismatch"],
        "vendor": {"name": "northwind", "source": "eu", "status": None, "ids": {"test": "1", "link": "2"}},
        "links": {"report": "https://example.org/r", "certificate": None},
        "extensions": {"answers": ["Ada Example"], "expectation": "order-1"},
    },
}
NOTICE = {"bridgevendor": "northwind", "data": {"alarm": {"state": "raised"}}}


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Filter(when={"percentage": NumberRange(None, 50.0, True)}), True),
        (Filter(when={"percentage": NumberRange(None, 49.5, True)}), False),
        (Filter(when={"passed": False, "grading": "final"}), True),
        (Filter(when={"passed": None}), False),
        (Filter(when={"flags": ("late", "id-*")}), True),
        (Filter(when={"flags": ("late",)}), False),
        (Filter(vendor=("north*",)), True),
        (Filter(vendor=("south*",)), False),
        (Filter(vendor=("north*",), when={"passed": True}), False),
    ],
)
def test_a_filter_takes_what_meets_every_condition(selection: Filter, taken: bool) -> None:
    assert selection.reads_event
    assert selection.takes_event(EVENT) is taken


def test_a_notice_is_compared_by_vendor_and_not_by_result() -> None:
    assert Filter(when={"passed": True}).takes_event(NOTICE)
    assert not Filter(vendor=("south",)).takes_event(NOTICE)


def test_a_list_of_fields_leaves_nothing_else_but_what_identifies_the_attempt() -> None:
    sent = only(
        EVENT, ("result.passed", "vendor.ids.test", "assessment.group.id", "extensions.expectation", "vendor.ids")
    )
    assert sent == {
        "id": "e1",
        "bridgevendor": "northwind",
        "data": {
            "attempt": {"id": "a1", "revision": 2, "status": "voided"},
            "result": {"passed": False},
            "vendor": {"ids": {"test": "1", "link": "2"}},
            "assessment": {"group": None},
            "extensions": {"expectation": "order-1"},
        },
    }
    assert "Ada" not in str(sent)
    assert EVENT["data"]["attempt"]["duration_seconds"] == 5  # the event itself is unchanged
    assert only(NOTICE, ("result.passed",)) == NOTICE
    assert only(EVENT, ("links.report",))["data"]["links"] == {"report": "https://example.org/r"}


def test_fields_are_known_by_the_schema() -> None:
    assert [field_problem(name) for name in ("candidate", "result.previous.score", "extensions.a.b")] == [None] * 3
    assert "is not a field below data" in (field_problem("candidate.mail") or "")


def test_what_sends_persons_is_known() -> None:
    assert [sends_persons(each) for each in ("full", "minimal", ("candidate.id",), ("candidate",))] == [
        True,
        False,
        False,
        True,
    ]
