"""Budgets over simulated hours and days, on a real server, against vendors that count what arrives."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random

import redis

from bridge.errors import BudgetExhausted
from bridge.polling.expectations import Expectations
from bridge.polling.recheck_schedule import Found, after_recheck
from bridge.polling.watches import EXPECTATION, OpenWatch, Watches
from bridge.quota.budgets import BACKFILL, OVERDUE, POINTER, POLL, REREAD, Budgets, Window
from bridge.sdk.records import Pointer
from tests.support.servers import Server

NAME = "eu-little"
HOUR, DAY = 3600.0, 86_400.0
RESET = 20_000 * DAY + 13.5 * HOUR
WORKERS = 10


@contextmanager
def workers(server: Server) -> Iterator[list[Budgets]]:
    """Ten processes' worth of budgets: nothing in common but the server."""
    clients = [server.client() for _ in range(WORKERS)]
    yield [Budgets(client) for client in clients]
    for client in clients:
        client.close()


def arrivals(server: Server, window: Window, begin: float, seconds: float, *, asked: int) -> list[float]:
    """When the calls of ten greedy workers reach the vendor, in so many seconds from `begin`, sorted.

    Within a step their clocks are as far apart as the step is long, 20 s, and every call travels up to a second.
    """
    step = 20.0
    spenders = (OVERDUE, POINTER, POLL, REREAD, BACKFILL)

    def work(number: int, budgets: Budgets, draw: Random, now: float) -> list[float]:
        granted = []
        for _ in range(asked):
            left = now + draw.random() * step
            try:
                budgets.take(NAME, window, left, spender=spenders[number % len(spenders)])
            except BudgetExhausted:
                continue
            granted.append(left + draw.random())
        return granted

    draws = [Random(number) for number in range(WORKERS)]
    results: list[float] = []
    with workers(server) as crowd, ThreadPoolExecutor(WORKERS) as pool:
        for tick in range(int(seconds / step)):
            rows = pool.map(work, range(WORKERS), crowd, draws, [begin + tick * step] * WORKERS)
            results += [moment for row in rows for moment in row]
    return sorted(results)


def most_in_any(moments: Sequence[float], seconds: float) -> int:
    """The fullest half-open period of that length."""
    return max(place + 1 - bisect_right(moments, moment - seconds) for place, moment in enumerate(moments))


def test_in_twenty_minutes_ten_workers_never_make_one_call_too_many_of_a_sliding_window(server: Server) -> None:
    moments = arrivals(server, Window(37, 60.0), RESET, 20 * 60.0, asked=4)
    assert most_in_any(moments, 60.0) <= 37
    assert len(moments) >= 0.85 * 37 * 20


def test_in_an_hour_over_the_reset_ten_workers_never_make_one_call_too_many_of_a_day(server: Server) -> None:
    moments = arrivals(server, Window(300, DAY, 13.5 * HOUR), RESET - HOUR / 2, HOUR, asked=2)
    before = bisect_right(moments, RESET)
    # Both days are spent to the last call; those that crossed the reset count twice.
    assert 295 <= before <= 300
    assert 280 <= len(moments) - before <= 300


class CirrusDay:
    """Rechecks what is due, as a worker does, with a clock of its own: a call takes 0.2 s, turns begin 5 min apart."""

    window = Window(3000, DAY, 13.5 * HOUR)
    schedule = (6 * HOUR, DAY)

    def __init__(self, state: redis.Redis, draw: Random) -> None:
        self.budgets, self.watches, self.draw = Budgets(state), Watches(state), draw
        self.expectations = Expectations(state, self.watches)
        self.now = RESET + 60
        self.expected: dict[str, float] = {}
        self.rechecks: list[tuple[float, OpenWatch]] = []

    def expect(self, count: int) -> None:
        """Expectations that have become due during the last day, some at the same moment."""
        for first in range(0, count, 10):
            due = self.now - self.draw.randrange(500) * 170.0
            pointers = [Pointer(key=f"?pair:{first + place}", reference={}) for place in range(10)]
            deadline = self.now + 30 * DAY
            self.expectations.expect(NAME, pointers, label=None, due=due, deadline=deadline, now=self.now)
            self.expected |= dict.fromkeys((pointer.key for pointer in pointers), due)

    def add_pointers(self, count: int) -> None:
        pointers = [Pointer(key=f"attempt:{number}", reference={"attempt": f"{number}"}) for number in range(count)]
        self.watches.add_pointers(NAME, pointers, now=self.now)

    def run_until(self, moment: float) -> None:
        while self.now < moment:
            begun = self.now
            while self._turn():
                pass
            self.now = max(self.now, begun + 300)

    def _turn(self) -> bool:
        """Recheck the most urgent; whether one was due."""
        due = self.watches.due(NAME, self.now, 20)
        overdue = [watch.due for watch in due if watch.kind == EXPECTATION]
        assert overdue == sorted(self.expected.values())[: len(overdue)]
        before, spent = len(self.rechecks), set()
        for watch in due:
            spender = OVERDUE if watch.kind == EXPECTATION else POINTER
            try:
                if spender not in spent:
                    self.budgets.take(NAME, self.window, self.now, spender=spender, polled=False)
                    self._recheck(watch)
            except BudgetExhausted:
                spent.add(spender)
        return len(self.rechecks) > before

    def _recheck(self, watch: OpenWatch) -> None:
        self.now += 0.2
        self.rechecks.append((self.now, watch))
        result = self.draw.random() < 0.3 or watch.kind != EXPECTATION
        if result:
            self.expectations.cancel(NAME, [watch.key])
            self.expected.pop(watch.key, None)
        else:
            following = after_recheck(
                watch,
                watch,
                pointer_schedule=(5.0,),
                recheck_schedule=self.schedule,
                answer=Found.NOTHING,
                now=self.now,
            )
            assert self.watches.replace(NAME, watch, following.watch)
            self.expected[watch.key] = self.now + self.schedule[min(watch.rechecks, 1)]


def test_a_day_of_cirrus_with_5000_expectations_takes_under_3000_calls_and_repeats_none_needlessly(
    state: redis.Redis,
) -> None:
    day = CirrusDay(state, Random(3))
    day.expect(5000)
    day.run_until(RESET + 5 * HOUR)
    assert Counter(watch.kind for _, watch in day.rechecks) == {EXPECTATION: 2730}

    # Webhooks come when what is overdue has spent all but what is kept for others.
    day.add_pointers(250)
    day.run_until(RESET + 6 * HOUR)
    assert Counter(watch.kind for _, watch in day.rechecks) == {EXPECTATION: 2730, "pointer": 250}

    day.run_until(RESET + DAY)
    first = Counter(watch.key for _, watch in day.rechecks)
    assert 2980 <= first.total() <= 3000
    assert set(first.values()) == {1}
    assert min(moment for moment, _ in day.rechecks[2730 + 250 :]) > RESET + DAY - 3 * HOUR

    # The next day begins with those that nobody has asked for yet.
    day.run_until(RESET + DAY + HOUR)
    assert len(day.rechecks) - first.total() == 2730
    asked = Counter(watch.key for _, watch in day.rechecks if watch.kind == EXPECTATION)
    assert len(asked) == 5000
    assert set(asked.values()) == {1, 2}
