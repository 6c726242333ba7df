"""Every vendor whose list has parts: trouble of one part stops that part alone, is an alarm, and loses nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.contract.engine import SOURCE, Bridge
from tests.support.partitions import entries
from workers.polling.recheck import recheck
from workers.polling.watchdog import check_sources

pytestmark = pytest.mark.long

#: What calls about the part answer.
FAULTS = {
    "500": (500, {}, b"oops"),
    "html": (200, {}, b"<html>We are busy</html>"),
    "empty": (200, {}, b""),
    "redirect": (302, {"Location": "https://elsewhere.example/"}, b""),
    "refusal": "refusal",
}


@pytest.mark.spread("fault", FAULTS)
def test_one_part_that_cannot_be_read_holds_up_no_other_and_is_read_from_where_it_was(parted, variant_state, fault):
    stage, bench = parted, parted.bench
    streams = [name for name, poll in stage.vendor.polls.items() if poll.sweep is None]
    bridge = Bridge(stage, variant_state)
    healthy = bridge.wire

    def wire(method: str, path: str, *rest: Any) -> Any:
        if not bench.part.match(path):
            return healthy(method, path, *rest)
        return (200, {}, bench.refusal) if FAULTS[fault] == "refusal" else FAULTS[fault]

    def everybody_finishes() -> list[str]:
        at = stage.clock.now - 60
        return [stage.finish(stream, at - 10 * number) for stream in streams for number in range(3)]

    def turn() -> None:
        bridge.poll()
        recheck(bridge.services, SOURCE)
        check_sources(bridge.services)

    finished = everybody_finishes()
    turn()
    assert {subject for _, subject in bridge.published()} == set(finished)

    bridge.wire = wire
    for _ in range(2):
        finished += everybody_finishes()
        for _ in range(8):
            stage.clock.now += 55.0
            turn()
    others = {attempt_id for attempt_id in finished[3 * len(streams) :] if not attempt_id.startswith(bench.part_ids)}
    assert others
    assert others <= {subject for _, subject in bridge.published()}
    assert len(bridge.published()) < len(finished)
    assert bridge.services.budgets.paused(SOURCE, stage.clock.now) is None
    raised = [event for event in _notices(bridge) if event["type"] == "source.poll_failing"]
    assert len(raised) == 1
    assert bench.part_name in json.dumps(raised[0]["data"])

    # Longer than any overlap, so only a place of its own brings the part's attempts back.
    for _ in range(4):
        stage.clock.now += 6 * 3_600.0
        finished += everybody_finishes()
        turn()
        turn()
    bridge.wire = healthy
    for _ in range(3):
        stage.clock.now += 600.0
        turn()
    assert sorted(subject for _, subject in bridge.published()) == sorted(finished)


def _notices(bridge: Bridge) -> list[dict[str, Any]]:
    return [json.loads(fields[b"event"]) for _, fields in entries(bridge.state)]
