"""Every vendor through `sources test`: it logs in, reads a little, says what it found, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.sdk.vendor import streams
from tests.support.contract.engine import SOURCE, Bridge
from workers.polling.source_test import steps


@pytest.fixture
def bridge(stage, variant_state):
    return Bridge(stage, variant_state)


def test_it_says_what_each_stream_holds_and_publishes_nothing(bridge, stage):
    for stream in bridge_streams(stage):
        stage.finish(stream, stage.clock.now - 3_600)

    done = list(steps(bridge.services, bridge.services.config.sources[SOURCE]))

    polled = [name for name in bridge_streams(stage) if name]
    assert [step.name for step in done] == ["log in"] * (stage.vendor.probe is not None) + polled
    assert {step.status for step in done} == {"ok"}, done
    assert all(step.records["completed"] >= 1 for step in done if step.name in polled)
    assert bridge.services.budgets.status(SOURCE, bridge.services.config.sources[SOURCE].budget, stage.clock.now).used
    # What it has spent and learned of the budget, the clock that dated the calls, and the names that it has read.
    kept = (b":budget", b"limit", b":clock", b":vendor:")
    assert [key for key in bridge.state.keys("ab:*") if not any(part in key for part in kept)] == []


def test_wrong_credentials_are_one_clear_line(bridge, stage):
    source = bridge.services.config.sources[SOURCE]
    wrong = replace(source, credentials=dict.fromkeys(source.credentials, ("wrong-CANARY",)))

    *before, last = steps(bridge.services, wrong)

    assert last.status == "failure"
    assert "\n" not in last.text
    assert "CANARY" not in last.text
    assert "?" not in last.text
    assert all(step.records == {} for step in before)


def bridge_streams(stage):
    return [name for name, poll in streams(stage.vendor, stage.options).items() if poll.sweep is None] or [""]
