"""A webhook may carry an id that the report API does not know: the person's newest attempt is meant."""

from __future__ import annotations

import json

import pytest

from bridge.vendors.coremetrix import VENDOR
from bridge.vendors.coremetrix.contract import VARIANTS
from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import Clock, connect
from tests.support.partitions import entries

UNKNOWN = "5e5e5e5e-0000-4000-8000-0000000000ee"


@pytest.mark.long
@pytest.mark.parametrize("member", ["attemptId", "id"])
def test_an_id_that_the_vendors_api_does_not_know_stands_for_the_newest_attempt_of_the_person(state, member):
    stage = connect(VENDOR, VARIANTS["by-person"], Clock())
    bridge = Bridge(stage, state)
    attempt_id = stage.finish("attempts", stage.clock.now - 600)
    bridge.read()
    raw, headers = stage.bench.webhook(attempt_id)
    bridge.post(json.dumps({**json.loads(raw), member: UNKNOWN}).encode(), headers)

    for _ in range(60):
        bridge.work()
        stage.clock.now += 1_800.0

    assert not any(fields[b"type"] == b"attempt.overdue" for _, fields in entries(bridge.state))
    assert bridge.services.watches.list(SOURCE) == ()
    assert bridge.published() == [("completed", attempt_id)]
