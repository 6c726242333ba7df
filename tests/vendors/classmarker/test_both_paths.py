"""ClassMarker by webhook and by poll at once, over HTTP and a state server: each attempt is published once."""

from __future__ import annotations

from collections import Counter

import pytest

from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.sdk.simulator import Faults
from tests.support.classmarker import World, running, settle
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

NAME = "eu-little"


@pytest.mark.parametrize(
    ("options", "behaviour"),
    [
        ({}, {}),
        ({"format": "xml", "signature": "md5"}, {"digest": "md5", "shape": "2016", "inclusive": True}),
        ({}, {"next_below": True, "doubled_header": True, "clock_offset": 4_000.0}),
    ],
    ids=["today", "2016-xml-md5", "low-next"],
)
def test_lost_doubled_late_and_reordered_webhooks_and_polls_make_one_completed_event_per_attempt(
    state, options, behaviour
):
    faults = Faults(lose=0.2, duplicate=0.3, delay=1.0, reorder=True)
    world = World(state, options=options, faults=faults, page_size=20, **behaviour)
    simulator = world.simulator
    with running(world):
        for number in range(150):
            simulator.finish_random(simulator.now() - 300 + number)
        assert poll_once(world.services, NAME).outcome == "done"
        settle(world)
        assert poll_once(world.services, NAME).outcome == "done"

    expected = simulator.expected()
    completed = Counter(event["subject"] for event in world.events if event["type"] == "attempt.completed")
    assert completed == Counter(dict.fromkeys(expected, 1))
    assert len(world.events) == 150
    for event in world.events:
        truth = expected[event["subject"]]
        assert event["data"]["result"]["percentage"] in (None, truth.percentage)
        assert event["data"]["result"]["grading"] == (
            "provisional" if truth.needs_grading else event["data"]["result"]["grading"]
        )
    watched = {watch.key for watch in world.services.watches.list(NAME)}
    assert watched == {attempt_id for attempt_id, attempt in expected.items() if attempt.needs_grading}
    assert world.received["test"] == 1
    assert world.received.keys() <= {"test", "published", "duplicate"}


def test_grading_and_reopening_revise_the_attempt_once_each_in_the_order_they_happened(state):
    world = World(state, verify_on_save=False)
    simulator = world.simulator
    with running(world):
        attempt_id = simulator.finish(
            channel="group",
            test_id=90013,
            points_scored=18.0,
            points_available=30.0,
            pass_mark=65,
            requires_grading=True,
        )
        settle(world)
        early_copy = simulator.webhook(attempt_id)
        simulator.grade(attempt_id, points_scored=27.0)
        world.ahead += 3_700
        assert recheck(world.services, NAME).outcomes["revised"] == 1
        assert not world.services.watches.list(NAME)
        world.ahead += 86_400
        simulator.reopen(attempt_id)
        settle(world)
        poll_once(world.services, NAME)
        late = WebhookRequest(
            id="late",
            body=early_copy[0],
            headers={name.lower(): value for name, value in early_copy[1].items()},
            kept_headers={},
            received_at=world.now(),
        )
        assert receive(world.services.ingest_context(NAME), late).outcome == "duplicate"

    events = world.events
    assert [event["type"] for event in events] == ["attempt.completed", "attempt.revised", "attempt.revised"]
    assert [event["data"]["attempt"]["revision"] for event in events] == [1, 2, 3]
    assert [event["data"]["result"]["grading"] for event in events] == ["provisional", "final", "final"]
    assert [event["data"]["result"]["percentage"] for event in events] == [60.0, 90.0, 90.0]
    assert [event["data"]["result"]["passed"] for event in events] == [None, True, True]
    assert {event["subject"] for event in events} == {attempt_id}


def test_a_used_up_quota_pauses_the_source_and_loses_nothing(state):
    world = World(state, page_size=2, verify_on_save=False, faults=Faults(lose=1.0))
    simulator = world.simulator
    simulator.quota_calls = 5
    with running(world):
        ids = {simulator.finish(time_finished=int(world.now()) - 60 - number) for number in range(24)}
        outcomes = []
        while len(world.events) < 24:
            assert len(outcomes) < 20, outcomes
            outcomes.append(poll_once(world.services, NAME).outcome)
            world.ahead += 3_700

    assert "cut_short" in outcomes
    assert Counter(event["subject"] for event in world.events) == Counter(dict.fromkeys(ids, 1))
    assert simulator.counts()["quota_refusals"] == outcomes.count("cut_short")
