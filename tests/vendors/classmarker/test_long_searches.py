"""A search for an expected result that takes several hours of the budget: found ungraded, it is graded in the end."""

from __future__ import annotations

from bridge.quota.windows import Window
from bridge.vendors.classmarker import VENDOR
from bridge.vendors.classmarker.contract import VARIANTS
from bridge.vendors.classmarker.reference import READ_UNTIL
from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import Clock, connect
from workers.polling.recheck import recheck

HOUR = 3_600.0


def test_a_result_that_a_search_in_parts_finds_ungraded_is_published_with_its_label_and_then_its_grade(state):
    stage = connect(VENDOR, VARIANTS["today"], Clock())
    bridge = Bridge(stage, state, window=Window(12, HOUR))
    for number in range(60):
        stage.finish("links", stage.clock.now - 4_000 + 10 * number)
    attempt_id = stage.finish("links", stage.clock.now - 60, graded=False)
    now = stage.clock.now
    pointer = VENDOR.expect(stage.bench.expectation(attempt_id), stage.options)
    bridge.services.expectations.expect(SOURCE, [pointer], label="HR-7", due=now, deadline=now + 5e5, now=now)

    resumed = 0
    for _ in range(48):
        recheck(bridge.services, SOURCE)
        resumed += any(READ_UNTIL in watch.reference for watch in bridge.services.watches.list(SOURCE))
        if bridge.published():
            break
        stage.clock.now += HOUR
    [event] = bridge.events()
    assert resumed, "the search took one turn"
    assert (event["subject"], event["data"]["extensions"]["expectation"]) == (attempt_id, "HR-7")
    [watch] = bridge.services.watches.list(SOURCE)
    assert (watch.kind, READ_UNTIL in watch.reference) == ("ungraded", False)

    stage.bench.grade(attempt_id)
    for _ in range(48):
        stage.clock.now += HOUR
        recheck(bridge.services, SOURCE)
    assert bridge.published() == [("completed", attempt_id), ("revised", attempt_id)]
    assert bridge.services.watches.list(SOURCE) == ()
