"""The clock is set back by two hours while sources are read: polls, rechecks and background reading go on."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bridge.config.model import PollConfig
from bridge.errors import VendorThrottled
from bridge.polling.backfill_jobs import Backfill
from bridge.polling.reconciliation import Reconciliation, Reconciliations
from bridge.state.server_clock import ServerClock
from tests.support.clients import clients_over
from tests.support.pointing import World as Pointing
from tests.support.polling import DAY, START, Api, Sitting, make_services, make_vendor
from workers.polling.backfill import BackfillCallbacks, run
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck
from workers.polling.reconcile import nightly
from workers.tasks import Tasks

NAME = "eu-little"
BACK = 7200.0


class World:
    """A source of which the vendor's answer `number` may be a 429 that names seconds."""

    def __init__(self, client: redis.Redis, **options: Any) -> None:
        self.moment = START
        self.throttled: dict[int, float] = {}
        self.api = Api(clock=lambda: START + DAY, page_size=2)
        self.api.before = self.answer
        vendor = make_vendor(self.api)
        self.services = make_services(client, vendor, lambda: self.moment, **options)

    def answer(self, number: int) -> None:
        if number in self.throttled:
            raise VendorThrottled("HTTP 429", retry_at=self.moment + self.throttled[number])

    def poll(self) -> str:
        return poll_once(self.services, NAME, not_within=240.0).outcome


def test_polling_goes_on_when_the_vendors_pause_is_over(state: redis.Redis) -> None:
    world = World(state)
    world.throttled[1] = 600.0
    assert world.poll() == "cut_short"
    world.moment += 100.0 - BACK
    assert world.poll() == "paused"
    # The clock was read at the 429: what passed since is not known.
    world.moment += 600.0
    assert world.poll() == "done"


def test_a_step_in_the_middle_of_a_round_ends_no_pause_early(state: redis.Redis) -> None:
    world = World(state)
    world.api.add(*(Sitting(f"{number}", START - 1000.0 + number) for number in range(9)))
    world.throttled[3] = 600.0
    answer = world.answer

    def steps_back(number: int) -> None:
        world.moment -= BACK if number == 2 else 0.0
        answer(number)

    world.api.before = steps_back
    assert world.poll() == "cut_short"
    world.moment += 599.0
    assert world.poll() == "paused"
    world.moment += 1.0
    assert world.poll() == "done"


def test_a_recheck_comes_when_it_was_planned(state: redis.Redis) -> None:
    world = Pointing(state)
    world.webhook(sitting="1")
    recheck(world.services, NAME)
    (watch,) = world.services.watches.list(NAME)
    world.moment -= BACK
    assert recheck(world.services, NAME).outcome == "idle"
    world.moment += watch.due - START
    assert recheck(world.services, NAME).outcome == "done"


class _App:
    """The part of Celery that `Tasks` uses."""

    def __init__(self, started: list[str]) -> None:
        self._started = started

    def task(self, **_options: Any) -> Any:
        return lambda _function: self

    def apply_async(self, *, args: list[str], expires: float) -> None:
        self._started += args


def test_the_tick_starts_rechecks_after_a_wait_that_was_set_before_the_step(state: redis.Redis) -> None:
    world = Pointing(state)
    started: list[str] = []
    tasks = Tasks(_App(started), world.services, lambda: False)  # type: ignore[arg-type]
    world.services.budgets.pause_until(NAME, world.moment + DAY, "HTTP 429")
    world.webhook(sitting="1")
    tasks.recheck(NAME)
    tasks.start_due_rechecks()
    assert started == []
    world.moment -= BACK
    tasks.start_due_rechecks()
    assert started == [NAME]


def test_the_tick_follows_the_clock_itself(state: redis.Redis) -> None:
    world = Pointing(state)
    started: list[str] = []
    tasks = Tasks(_App(started), world.services, lambda: False)  # type: ignore[arg-type]
    tasks.start_due_rechecks()
    world.webhook(sitting="1")
    world.moment -= BACK
    tasks.start_due_rechecks()
    assert started == [NAME]


@pytest.mark.parametrize("pages_a_minute", [None, 2])
def test_a_backfill_waits_no_longer_than_it_would_have(state: redis.Redis, pages_a_minute: int | None) -> None:
    world = World(state, poll=PollConfig(enabled=False))
    world.api.add(*(Sitting(f"{number}", START - DAY + number) for number in range(9)))
    world.throttled[2] = 300.0
    job = Backfill(id="b", source=NAME, first=START - 2 * DAY, last=START, streams=["results"], rate=pages_a_minute)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.moment += seconds
        if len(slept) in (20, 400):
            world.moment -= BACK

    shown: list[str | None] = []
    run(world.services, job, BackfillCallbacks(sleep=sleep, show=lambda *row: shown.append(row[1]), stopping=bool))
    assert (job.state, job.records) == ("done", 9)
    assert sum(slept) < 301 + 6 * 30


def test_the_nightly_reconciliation_is_due_however_far_in_the_future_the_last_one_was(
    state: redis.Redis,
) -> None:
    world = World(state)
    kept = Reconciliations(state)
    kept.keep(Reconciliation(source=NAME, since=START, until=START + 30 * DAY, made=START + 30 * DAY))
    assert nightly(world.services) == [NAME]
    assert nightly(world.services) == []


def test_a_process_reads_the_clock_of_the_state_server(state: redis.Redis) -> None:
    wrong = [-BACK]
    server = clients_over(state).state.time()
    clock = ServerClock(lambda: float(server[0]) + wrong[0])
    assert clock.now() == server[0] - BACK
    clock.sync(state)
    assert clock.now() == pytest.approx(float(server[0]), abs=5.0)
    wrong[0] = BACK
    clock.sync(state)
    assert clock.now() == pytest.approx(float(server[0]), abs=5.0)
