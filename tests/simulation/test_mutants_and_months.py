"""Three simulated days, and the mutants that the simulation must catch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from bridge.quota import budgets
from bridge.sdk.vendor import Page
from bridge.vendors.thought_industries.cursor import Cursor
from tests.simulation.world import HOUR, VENDORS, Plan, World
from workers.polling import poll

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

#: Busy days of one vendor: many polls, and a budget that is nearly used up.
BUSY = Plan(attempts=20, days=0.35, step=(120.0, 600.0), poll_every=300.0, afterwards=4.0)


@pytest.fixture(autouse=True)
def _real_server(empty_state: Callable[[], redis.Redis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "connect", staticmethod(empty_state))


# More seeds: scripts/simulate.
def test_three_simulated_days_of_all_vendors_miss_nothing_and_publish_nothing_twice() -> None:
    verdict = World(1, VENDORS, plan=Plan(attempts=5, days=3.0)).run()
    assert verdict.lines() == []
    assert verdict.happened["killed"] > 0


def test_a_seed_is_one_history() -> None:
    plan = replace(BUSY, attempts=15, days=0.3, afterwards=2.0)
    assert World(3, ["classmarker"], plan=plan).run() == World(3, ["classmarker"], plan=plan).run()


# Mutants: each breaks one promise, and some seed must notice ---------------------------------------------------------


#: In the first of them each mutant shows.
SEEDS = range(8, 12)


def caught(
    vendor: str,
    *,
    plan: Plan = BUSY,
    seeds: Iterable[int] = SEEDS,
    prepare: Callable[[World], None] = lambda world: None,
) -> list[str]:
    """What the first seed that fails complains of; empty when none does."""
    for seed in seeds:
        world = World(seed, [vendor], plan=plan)
        prepare(world)
        if lines := world.run().lines():
            return lines
    return []


def test_without_a_mutant_nothing_is_noticed() -> None:
    assert caught("classmarker", seeds=SEEDS[:1]) == []


def without_rechecks(world: World) -> None:
    """Thought Industries by polls alone, with grades that come after hours: the low-water mark is all there is."""
    name = "thought-industries"
    vendor, simulator = world.services.vendors[name], world.simulators[name]
    alone = replace(vendor, polls={"attempts": vendor.polls["attempts"]}, recheck=None)
    world.known = {**world.known, name: alone}
    simulator.behaviour = replace(simulator.behaviour, graded_after=6 * HOUR, regraded_share=0.0)
    world.services = world.process()


def test_a_low_water_mark_that_is_ignored_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(BUSY, attempts=40, days=1.5, poll_every=2 * HOUR, step=(HOUR / 2, HOUR))
    assert caught("thought-industries", plan=plan, seeds=SEEDS[:1], prepare=without_rechecks) == []
    after = Cursor.after
    monkeypatch.setattr(Cursor, "after", lambda self, created, still_open, page: after(self, created, (), page))
    assert caught("thought-industries", plan=plan, prepare=without_rechecks)


@pytest.fixture
def no_rewind(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_cursor(declared: Any, position: Any, source: Any, look_back_limit: Any, now: float) -> str:
        fresh = position.cursor is None and position.resume is None
        return (
            original(declared, position, source, look_back_limit, now) if fresh else position.resume or position.cursor
        )

    original = poll.first_cursor
    monkeypatch.setattr(poll, "first_cursor", first_cursor)


@pytest.mark.usefixtures("no_rewind")
def test_an_overlap_of_nothing_is_noticed() -> None:
    assert caught("classmarker")


def test_a_cursor_that_excludes_its_moment_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_cursor(declared: Any, position: Any, *rest: Any) -> str:
        if position.cursor is None:
            return original(declared, position, *rest)
        return declared.start(declared.position(position.cursor) + 2, None)

    original = poll.first_cursor
    monkeypatch.setattr(poll, "first_cursor", first_cursor)
    assert caught("classmarker")


def test_a_cursor_that_is_saved_before_its_page_is_published_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(access: Any, declared: Any, position: Any, report: Any) -> None:
        def pages(*args: Any) -> Iterator[tuple[Page, str | None]]:
            services = access.services
            for page, following in original(*args):
                if page.cursor is not None:
                    services.cursors.save(
                        access.source.name, report.stream, page.cursor, services.now(), midway=page.more
                    )
                yield page, following

        monkeypatch.setattr(poll, "read_pages", pages)
        read(access, declared, position, report)

    original, read = poll.read_pages, poll._read
    monkeypatch.setattr(poll, "_read", hasty)
    monkeypatch.setattr(poll, "first_cursor", lambda item, position, *rest: position.resume or position.cursor or "0")
    # A process must die between the two.
    assert caught("classmarker")


def test_a_budget_that_every_process_counts_for_itself_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(self: Any, source: str, *arguments: Any, **options: Any) -> None:
        take(self, f"{source}-{id(self)}", *arguments, **options)

    take = budgets.Budgets.take
    monkeypatch.setattr(budgets.Budgets, "take", own)
    plan = replace(BUSY, attempts=40, poll_every=60.0, step=(30.0, 120.0), days=0.15)
    assert any("over the quota" in line for line in caught("classmarker", plan=plan))


def test_a_retry_after_that_is_ignored_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.polling.vendor_http.retry_after", lambda headers, now: None)
    # The vendor must ask for time.
    assert any("Retry-After" in line for line in caught("classmarker", seeds=range(10, 14)))
