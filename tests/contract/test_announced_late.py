"""Every vendor that only points: what is announced during a recheck, or before the API has it, comes seconds later."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import require
from workers.polling.recheck import recheck

pytestmark = [pytest.mark.long, pytest.mark.needs("grade")]

DAY = 86_400.0


def expect(bridge: Bridge, attempt_id: str, *, due_in: float) -> None:
    stage, now = bridge.stage, bridge.stage.clock.now
    pointer = stage.vendor.expect(stage.bench.expectation(attempt_id), stage.options)
    bridge.services.expectations.expect(
        SOURCE, [pointer], label="HR-7", due=now + due_in, deadline=now + 5 * DAY, now=now
    )


def gradings(bridge: Bridge) -> list[str]:
    return [event["data"]["result"]["grading"] for event in bridge.events()]


def recheck_for(bridge: Bridge, seconds: int) -> None:
    for _ in range(seconds):
        recheck(bridge.services, SOURCE)
        bridge.stage.clock.now += 1.0


@pytest.mark.parametrize("expected", [True, False], ids=["expected", "not expected"])
def test_a_result_that_is_announced_during_a_recheck_is_read_at_once(unsigned, stream, variant_state, expected):
    stage, bridge = unsigned, Bridge(unsigned, variant_state)
    attempt_id = stage.finish(stream, stage.clock.now - 60, graded=False)
    if expected:
        require(stage, "expect")
        expect(bridge, attempt_id, due_in=0.0)
    else:
        bridge.push(attempt_id)
    healthy, announced = bridge.wire, list[str]()

    def wire(*call: Any) -> Any:
        answer = healthy(*call)
        if not announced:
            announced.append(attempt_id)
            stage.clock.now += 4.0
            stage.bench.grade(attempt_id)
            bridge.push(attempt_id)
        return answer

    bridge.wire = wire
    recheck_for(bridge, 4)

    assert "final" in gradings(bridge)


@pytest.mark.parametrize("expected", [True, False], ids=["expected", "not expected"])
def test_a_result_that_is_announced_two_seconds_before_the_api_shows_it_comes_seconds_later(
    unsigned, stream, variant_state, expected
):
    stage, bridge = unsigned, Bridge(unsigned, variant_state)
    attempt_id = stage.finish(stream, stage.clock.now - 60, graded=False)
    if expected:
        require(stage, "expect")
        expect(bridge, attempt_id, due_in=DAY)
    shown_at, late = stage.clock.now + 2.0, [attempt_id]
    healthy = bridge.wire

    def wire(*call: Any) -> Any:
        if late and stage.clock.now >= shown_at:
            stage.bench.grade(late.pop())
        return healthy(*call)

    bridge.wire = wire
    bridge.push(attempt_id)
    recheck_for(bridge, 70)

    assert gradings(bridge)[-1] == "final"
