"""Backfill and reconciliation of every vendor folder in every variant: whole periods, and exactly the lost webhooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from bridge.polling.backfill_jobs import Backfill
from bridge.registry import vendors
from bridge.sdk.vendor import streams, whole_streams
from tests.support.contract.engine import DAY, SOURCE, Bridge
from tests.support.contract.stage import Clock, Stage, connect, contract_of
from workers.polling.backfill import BackfillCallbacks, run
from workers.polling.reconcile import ReconcileOptions, reconcile

pytestmark = pytest.mark.long

CASES = [
    pytest.param(vendor, variant, id=f"{vendor.name}-{variant}")
    for vendor in vendors().values()
    for variant in contract_of(vendor).VARIANTS
]
POLLED = [case for case in CASES if case.values[0].polls]


def bridge_over(vendor: Any, variant: str, state: redis.Redis) -> Bridge:
    stage: Stage = connect(vendor, contract_of(vendor).VARIANTS[variant], Clock())
    secrets = (stage.bench.secret,) if vendor.verify else ()
    return Bridge(stage, state, secrets=secrets)


def listing_streams(bridge: Bridge) -> list[str]:
    return whole_streams(streams(bridge.stage.vendor, bridge.stage.options))


def sit(bridge: Bridge, days_ago: float, count: int) -> set[str]:
    """So many finish, ten minutes apart, after sittings of five minutes."""
    names = listing_streams(bridge) or [""]
    first = bridge.stage.clock.now - days_ago * DAY
    return {
        bridge.stage.finish(names[number % len(names)], at, started=at - 300)
        for number in range(count)
        for at in [first + 600 * number]
    }


def ask(bridge: Bridge, **changes: Any) -> ReconcileOptions:
    now = bridge.stage.clock.now
    plain = {"since": now - 3 * DAY, "until": now - 600, "check": lambda: None, "sleep": lambda seconds: None}
    return ReconcileOptions(**{**plain, **changes})


def backfill(bridge: Bridge, first: float, last: float) -> Backfill:
    job = Backfill(
        id=f"{SOURCE}/1",
        source=SOURCE,
        first=first,
        last=last,
        streams=listing_streams(bridge),
        created=bridge.stage.clock.now,
    )
    callbacks = BackfillCallbacks(sleep=lambda seconds: None, show=lambda *_: None, stopping=lambda: False)
    run(bridge.services, job, callbacks)
    return job


@pytest.mark.parametrize(("vendor", "variant"), POLLED)
def test_a_backfill_publishes_everything_that_finished_in_its_period(
    vendor: Any, variant: str, empty_state: Callable[[], redis.Redis]
) -> None:
    bridge = bridge_over(vendor, variant, empty_state())
    sit(bridge, 6, 7)
    within = sit(bridge, 4, 20)
    sit(bridge, 1, 7)
    now = bridge.stage.clock.now

    job = backfill(bridge, now - 4 * DAY, now - 3 * DAY)

    assert (job.state, job.error) == ("done", None)
    published = Counter(attempt for _, attempt in bridge.published())
    assert within <= published.keys()
    assert set(published.values()) == {1}
    # What a client has learned for one page it knows for the next.
    assert job.calls <= job.pages + 4


@pytest.mark.parametrize(("vendor", "variant"), CASES)
def test_the_report_names_exactly_the_attempts_whose_webhook_was_lost(
    vendor: Any, variant: str, empty_state: Callable[[], redis.Redis]
) -> None:
    bridge = bridge_over(vendor, variant, empty_state())
    attempts = sorted(sit(bridge, 1, 8))
    lost, announced = set(attempts[::3]), [attempt for number, attempt in enumerate(attempts) if number % 3]
    for attempt in announced:
        assert bridge.push(attempt)[0] == 200
    bridge.work()
    if not vendor.polls:
        bridge.expect()

    before = reconcile(bridge.services, SOURCE, ask(bridge))
    bridge.read()
    after = reconcile(bridge.services, SOURCE, ask(bridge))

    assert set(before.ids["missing"]) == lost
    assert (before.unreadable, before.ids["unlisted"], before.ids["outdated"]) == (0, [], [])
    assert set(after.ids["poll_only"]) == lost
    assert after.ids["missing"] == []
    assert len(bridge.published()) == 8


@pytest.mark.parametrize(("vendor", "variant"), CASES)
def test_fix_publishes_missing_attempts(vendor: Any, variant: str, empty_state: Callable[[], redis.Redis]) -> None:
    bridge = bridge_over(vendor, variant, empty_state())
    attempts = sit(bridge, 1, 8)
    if not vendor.polls:
        bridge.expect()

    first = reconcile(bridge.services, SOURCE, ask(bridge, fix=True))
    second = reconcile(bridge.services, SOURCE, ask(bridge, fix=True))

    assert set(first.fixed) == attempts
    assert (second.fixed, second.ids["missing"], second.ids["outdated"]) == ([], [], [])
    assert sorted(bridge.published()) == sorted(("completed", attempt) for attempt in attempts)
