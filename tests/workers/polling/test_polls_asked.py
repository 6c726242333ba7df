"""A poll that an operator asked for: the next short tick starts it, whatever the interval, and it is not lost."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from bridge.services import Services
from bridge.state.lease import Lease
from tests.support.polling import START, Api, Sitting, journal, make_services, make_vendor
from workers.polling.poll import poll_once
from workers.tasks import Tasks

NAME = "eu-little"


class App:
    """The part of Celery that `Tasks` uses."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def task(self, **_options: Any) -> Any:
        return lambda _function: self

    def apply_async(self, *, args: list[str], expires: float) -> None:
        self.started += args


class World:
    def __init__(self, client: redis.Redis) -> None:
        self.api = Api(clock=lambda: START)
        self.services: Services = make_services(client, make_vendor(self.api), lambda: START)
        self.app = App()
        self.tasks = Tasks(self.app, self.services, lambda: False)  # type: ignore[arg-type]
        assert poll_once(self.services, NAME).outcome == "done"
        self.api.add(Sitting("new", START - 10))


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


def test_it_begins_with_the_next_tick_and_ignores_the_interval(world: World, state: redis.Redis) -> None:
    world.tasks.start_due_rechecks()
    assert world.app.started == []
    world.tasks.poll(NAME)  # within the interval: nothing
    assert journal(state) == []
    world.services.polls_asked.ask(NAME)
    world.tasks.start_due_rechecks()
    assert world.app.started == [NAME]
    world.tasks.poll(NAME)
    assert journal(state) == [("attempt.completed", "a:new")]
    world.tasks.start_due_rechecks()
    assert world.app.started == [NAME]


def test_it_is_asked_for_again_if_another_process_reads_the_source(world: World, state: redis.Redis) -> None:
    world.services.polls_asked.ask(NAME)
    lease = Lease(state, f"poll:{NAME}", "another", seconds=60)
    lease.hold()
    world.tasks.poll(NAME)
    assert world.services.polls_asked.all() == (NAME,)
    lease.release()
    world.tasks.poll(NAME)
    assert journal(state) == [("attempt.completed", "a:new")]
    assert world.services.polls_asked.all() == ()


def test_the_short_tick_starts_open_jobs_until_they_have_ended(world: World) -> None:
    world.services.open_jobs.add("backfill", f"{NAME}/1")
    for _ in range(2):
        world.tasks.start_due_rechecks()
    assert world.app.started == ["backfill", f"{NAME}/1"] * 2
    # There is no such backfill.
    world.tasks.job("backfill", f"{NAME}/1")
    world.tasks.start_due_rechecks()
    assert world.app.started == ["backfill", f"{NAME}/1"] * 2
