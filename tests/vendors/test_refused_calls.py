"""Every vendor: a call that is refused alone stops what needs it, by name; what other calls can read is published."""

from __future__ import annotations

import re
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.registry import vendors
from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import Clock, connect, contract_of
from workers.polling.recheck import recheck

pytestmark = pytest.mark.long

#: Vendor, variant, pattern of the refused calls, name of the call in the log, and what still publishes an attempt.
CALLS = {
    "cirrus: attempts of a pair": ("cirrus", "documented", r"/attempt-info", "attempt-info", "webhook"),
    "cirrus: schedule": ("cirrus", "documented", r"/external/schedule/[^/?]+(?:\?|$)", "", "webhook"),
    "cirrus: results of one": ("cirrus", "documented", r"/results\?.*ScheduleExtId", "results", ""),
    "coremetrix: person": ("coremetrix", "by-person", r"[?&]customId=", "report/attempts", "poll"),
    "coremetrix: attempt": ("coremetrix", "by-id", r"/report/attempts/", "report/attempts", "poll"),
    "coremetrix: window": ("coremetrix", "by-person", r"[?&]from=", "report/attempts", "webhook"),
    "thought-industries: user": ("thought-industries", "", r"[?&]userId=", "assessmentAttempts", "poll"),
    "classmarker: groups": ("classmarker", "", r"/v1/groups/", "groups", "webhook"),
    "classmarker: links": ("classmarker", "", r"/v1/links/", "links", "webhook"),
    "mettl: schedules": ("mettl", "today", r"/v2/schedules(?:\?|$)", "list of schedules", "webhook"),
    "mettl: candidate": ("mettl", "today", r"/candidates/[^?]", "schedule", "poll"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_that_is_refused_alone_stops_only_what_needs_it(empty_state, case):
    name, variant, pattern, call, other_path = CALLS[case]
    vendor = vendors()[name]
    variants = contract_of(vendor).VARIANTS
    stage = connect(vendor, variants.get(variant) or next(iter(variants.values())), Clock())
    bridge, refused = Bridge(stage, empty_state()), list[str]()
    healthy = bridge.wire

    def wire(method: str, path: str, *rest: Any) -> Any:
        if re.search(pattern, path):
            refused.append(path)
            return 403, {}, b""
        return healthy(method, path, *rest)

    streams = [stream for stream, poll in vendor.polls.items() if poll.sweep is None] or [""]
    stream = "groups" if call == "groups" else streams[-1]
    # Only without a result Cirrus is asked for more than results.
    attempt_id = stage.finish(stream, stage.clock.now - 600, graded=name != "cirrus")
    reference = {"attempt_id": attempt_id} if case == "coremetrix: attempt" else stage.bench.expectation(attempt_id)
    expected = vendor.expect(reference, stage.options)

    def turn() -> None:
        if other_path != "webhook" and vendor.polls:
            bridge.poll()
        for _ in range(4):
            recheck(bridge.services, SOURCE)
            stage.clock.now += 30.0

    bridge.wire = wire
    with capture_logs() as logs:
        now = stage.clock.now
        bridge.services.expectations.expect(
            SOURCE, [expected], label="x", due=now, deadline=now + 9 * 86_400.0, now=now
        )
        recheck(bridge.services, SOURCE)
        if name == "cirrus":
            stage.bench.grade(attempt_id)
        if other_path != "poll":
            bridge.push(attempt_id)
        turn()
        bridge.poll()

    assert refused
    assert bridge.services.budgets.paused(SOURCE, stage.clock.now) is None
    if other_path:
        assert ("completed", attempt_id) in bridge.published()
    if call:
        assert any(call in entry.get("problem", "") for entry in logs if entry["log_level"] == "error")

    bridge.wire = healthy
    bridge.live(3.0)
    assert [event for event in bridge.published() if event[0] == "completed"] == [("completed", attempt_id)]
