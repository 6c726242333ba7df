"""Every vendor with calls that only supply names: whatever such a call answers, results are published without them."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.support.contract.engine import SOURCE, Bridge

pytestmark = pytest.mark.long

DAY = 86_400.0
#: What the call answers instead of names; None: the connection breaks.
FAULTS = {
    "500": (500, {}, b"oops"),
    "503 for an hour": (503, {"Retry-After": "3600"}, b""),
    "429": (429, {}, b""),
    "429 for an hour": (429, {"Retry-After": "3600"}, b""),
    "401": (401, {}, b""),
    "403": (403, {}, b""),
    "404": (404, {}, b""),
    "redirect": (302, {"Location": "https://elsewhere.example/"}, b""),
    "html": (200, {}, b"<html>We are busy</html>"),
    "empty": (200, {}, b""),
    "empty object": (200, {}, b"{}"),
    "odd": (200, {}, b'{"status": "SUCCESS", "assessments": {"a": 1}, "schedule": ["b"]}'),
    "nothing": (200, {}, b'{"status": "SUCCESS", "assessments": null, "schedule": null}'),
    "broken connection": None,
    "refusal": "refusal",
}


@pytest.mark.spread("fault", FAULTS)
def test_a_call_that_only_supplies_names_never_holds_up_pauses_or_stops_publishing(named, stream, variant_state, fault):
    stage = named
    bridge = Bridge(stage, variant_state)
    failing = _with_fault(bridge, FAULTS[fault])
    finished = [stage.finish(stream, stage.clock.now - 600 * number) for number in range(1, 5)]

    if stage.vendor.split is not None:
        bridge.push(finished[0])
        bridge.work()
    bridge.read()

    assert sorted(subject for _, subject in bridge.published()) == sorted(finished)
    assert failing, "no such call was made"
    assert bridge.services.budgets.paused(SOURCE, stage.clock.now) is None

    failing.clear()
    for _ in range(8):
        stage.clock.now += 1_800.0
        finished.append(stage.finish(stream, stage.clock.now - 60))
        bridge.read()
    assert sorted(subject for _, subject in bridge.published()) == sorted(finished)
    # Without a growing wait there would be one or two at each round.
    assert len(failing) <= 7, "names are asked for less and less often"

    bridge.wire = bridge.wire.healthy
    stage.clock.now += 2 * DAY
    later = stage.finish(stream, stage.clock.now - 60)
    bridge.read()
    [named_at_last] = [event for event in bridge.events() if event["subject"] == later]
    assert named_at_last["data"]["assessment"]["name"]


def _with_fault(bridge: Bridge, fault: Any) -> list[str]:
    """Calls for names answer with the fault from now on; their paths."""
    healthy, bench, paths = bridge.wire, bridge.stage.bench, []
    answer = (200, {}, bench.refusal) if fault == "refusal" else fault

    def wire(method: str, path: str, *rest: Any) -> Any:
        if not bench.names_only.match(path):
            return healthy(method, path, *rest)
        paths.append(path)
        if answer is None:
            raise requests.ConnectionError
        return answer

    wire.healthy = healthy
    bridge.wire = wire
    return paths
