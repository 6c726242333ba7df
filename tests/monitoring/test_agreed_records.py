"""Processes of two versions, whose records differ in one member, agree on alarms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from bridge.monitoring.agreed_records import AgreedRecords
from bridge.monitoring.alarms import Alarm
from bridge.state import keys
from bridge.state.stored_json import log_unreadable

KEY, FIELD = keys.alarms("eu"), "source.poll_failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterAlarm(Alarm):
    """The record of a later version."""

    severity: str = "high"


def alarm(kind: type[Alarm], **members: Any) -> Any:
    plain: dict[str, Any] = {"kind": FIELD, "state": "raised", "since": 1.0, "raised_at": 2.0, "at": 2.0, "repeats": 0}
    return kind(**plain | {"published": False, "fact": "f", "value": "v", "remedy": "r"} | members)


@pytest.fixture(params=[(Alarm, LaterAlarm), (LaterAlarm, Alarm)])
def pair(request: pytest.FixtureRequest, state: redis.Redis) -> tuple[Any, Any, type[Alarm], type[Alarm]]:
    """The records as each of two versions sees them, and their classes."""
    first, second = request.param
    names = {"published": "told"}
    return AgreedRecords(state, first, names), AgreedRecords(state, second, names), first, second


def stored(state: redis.Redis, records: Any) -> Any:
    return records.read(KEY, FIELD, state.hget(KEY, FIELD))


def test_processes_of_two_versions_agree_on_each_decision(pair: Any, state: redis.Redis) -> None:
    first, second, first_kind, second_kind = pair
    # Both decide at once: the second publishes what the first one has decided.
    raised = first.compare_and_set(KEY, FIELD, None, alarm(first_kind))
    assert second.compare_and_set(KEY, FIELD, None, alarm(second_kind, value="other")).value == "v"
    # Each moves on what the other one has written.
    theirs = stored(state, second)
    assert second.compare_and_set(KEY, FIELD, theirs, replace(theirs, published=True)).published
    # The first one is late: it gets the record of now, and goes on from there.
    late = first.compare_and_set(KEY, FIELD, raised, replace(raised, published=True))
    assert late.published
    over = first.compare_and_set(KEY, FIELD, late, replace(late, state="recovered", published=False))
    assert (over.state, over.published, stored(state, second).state) == ("recovered", False, "recovered")


def test_a_member_of_the_later_version_survives_what_the_earlier_one_writes(state: redis.Redis) -> None:
    names = {"published": "told"}
    later, ours = AgreedRecords(state, LaterAlarm, names), AgreedRecords(state, Alarm, names)
    later.compare_and_set(KEY, FIELD, None, alarm(LaterAlarm, severity="low"))
    seen = stored(state, ours)
    ours.compare_and_set(KEY, FIELD, seen, replace(seen, published=True))
    assert (stored(state, later).severity, stored(state, later).published) == ("low", True)


@pytest.mark.parametrize("junk", [b"{}", b"not JSON", b"[]"])
def test_a_record_that_nobody_can_read_is_replaced(state: redis.Redis, junk: bytes) -> None:
    log_unreadable.cache_clear()
    records = AgreedRecords(state, Alarm, {"published": "told"})
    state.hset(KEY, FIELD, junk)
    with capture_logs() as logs:
        assert stored(state, records) is None
        assert records.compare_and_set(KEY, FIELD, None, alarm(Alarm)) == alarm(Alarm)
    assert [line["event"] for line in logs] == ["stored_record_unreadable"]
    assert stored(state, records) == alarm(Alarm)
