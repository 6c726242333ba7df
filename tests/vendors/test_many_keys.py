"""Answers of real vendors with more keys than one script call can take: every attempt and candidate is handled."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from bridge.registry import vendors
from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import Clock, connect, contract_of
from workers.polling.recheck import recheck

pytestmark = pytest.mark.long

DAY = 86_400.0


def bridge_of(vendor: str, state: redis.Redis) -> Bridge:
    variants = contract_of(vendors()[vendor]).VARIANTS
    return Bridge(connect(vendors()[vendor], variants["documented"], Clock()), state)


def expect(bridge: Bridge, reference: dict[str, str]) -> None:
    now, vendor = bridge.stage.clock.now, bridge.stage.vendor
    pointer = vendor.expect(reference, bridge.stage.options)
    bridge.services.expectations.expect(SOURCE, [pointer], label="HR-7", due=now + DAY, deadline=now + 2 * DAY, now=now)


def test_coremetrix_publishes_3001_attempts_of_one_window_while_one_is_expected(state):
    bridge = bridge_of("coremetrix", state)
    stage, healthy = bridge.stage, bridge.wire
    stage.finish("attempts", stage.clock.now - 600)
    attempt_id = next(iter(stage.finished))
    path = f"/report/attempts/{attempt_id}?apikey={stage.bench.simulator.api_key}"
    row = json.loads(healthy("GET", path, {}, b"")[2])
    people = [
        {"customId": f"p-{number}", "attempts": [{**row, "id": f"{number:08x}-0000-4000-8000-0000000000aa"}]}
        for number in range(3_001)
    ]
    windows = [people]
    bridge.wire = lambda *_: (200, {}, json.dumps({"results": windows.pop() if windows else []}).encode())
    expect(bridge, {"custom_id": "p-2000"})

    [poll_round] = bridge.poll().rounds

    assert (poll_round.error, poll_round.outcomes["published"]) == (None, 3_001)
    assert bridge.services.expectations.list(SOURCE) == ()
    labels = [event["data"]["extensions"].get("expectation") for event in bridge.events()]
    assert [label for label in labels if label] == ["HR-7"]


@pytest.mark.parametrize("expected", [True, False], ids=["expected", "announced"])
def test_cirrus_watches_9000_candidates_of_a_schedule_and_follows_a_pointer(state, expected):
    bridge = bridge_of("cirrus", state)
    healthy = bridge.wire
    attempt_id = bridge.stage.finish("", bridge.stage.clock.now - 600)
    candidates = [{"ExternalId": f"other-{number}"} for number in range(9_000)]
    schedule = {"Content": {"ExternalId": "BIG-1", "IsActivated": True, "Candidates": candidates}, "Success": True}

    def wire(method: str, path: str, *rest: Any) -> Any:
        if "BIG-1" not in path:
            return healthy(method, path, *rest)
        document: Any = schedule if "/external/schedule/" in path and "attempt-info" not in path else []
        return 200, {}, json.dumps(document).encode()

    bridge.wire = wire
    if expected:
        expect(bridge, {"schedule": "BIG-1"})
        bridge.stage.clock.now += DAY
    else:
        assert bridge.post(b'{"ScheduleExtId": "BIG-1"}', {"content-type": "application/json"}) == (200, "watching")
    assert recheck(bridge.services, SOURCE, limit=1).error is None
    assert len(bridge.services.watches.list(SOURCE)) == 9_001

    if not expected:
        # Announced like the others, it comes after them.
        return
    bridge.push(attempt_id)
    for _ in range(2):
        bridge.stage.clock.now += 5.0
        assert recheck(bridge.services, SOURCE).error is None
    assert bridge.published() == [("completed", attempt_id)]
