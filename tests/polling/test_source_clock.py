"""The clock is set back: what a source waits for is due as soon as it would have been, and no quota is exceeded."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis
from structlog.testing import capture_logs

from bridge.errors import BudgetExhausted, VendorThrottled
from bridge.polling.expectations import Expectations
from bridge.polling.source_clock import SourceClock
from bridge.polling.watches import Watches
from bridge.quota.budgets import POLL, Budgets, VendorLimit, Window
from bridge.sdk.records import Pointer, Watch
from bridge.state import keys
from tests.support.mutants import change_script

NAME = "eu-little"
NOW, HOUR, DAY = 2_000_000_000.0, 3600.0, 86_400.0
WINDOW = Window(10, HOUR)


class Source:
    """The stores of one source, whose clock the test sets."""

    def __init__(self, state: redis.Redis) -> None:
        self.state, self.now = state, NOW
        self.clock, self.budgets, self.watches = SourceClock(state), Budgets(state), Watches(state)
        self.expectations = Expectations(state, self.watches)
        self.clock.follow(NAME, self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        assert self.clock.follow(NAME, self.now) == 0

    def steps(self, seconds: float) -> int:
        self.now += seconds
        return self.clock.follow(NAME, self.now)

    def calls(self) -> int:
        """How many more calls are granted."""
        granted = 0
        try:
            while True:
                self.budgets.take(NAME, WINDOW, self.now, spender=POLL)
                granted += 1
        except BudgetExhausted:
            return granted

    def due(self) -> dict[str, float]:
        return {watch.key: watch.due - self.now for watch in self.watches.list(NAME)}

    def expect(self, key: str, *, due: float, deadline: float) -> None:
        pointer = Pointer(key=key, reference={"id": "1"})
        self.expectations.expect(NAME, [pointer], label=key, due=due, deadline=deadline, now=self.now)


@pytest.fixture
def source(state: redis.Redis) -> Source:
    return Source(state)


HOURS = pytest.mark.parametrize("hours", [2, 24 * 365 * 50])


@HOURS
def test_a_pause_ends_after_the_seconds_that_the_vendor_asked_for(source: Source, hours: int) -> None:
    source.budgets.pause_until(NAME, source.now + 600.0, "HTTP 429: slow down")
    source.passes(100.0)
    assert source.steps(-hours * HOUR) == hours * HOUR
    with pytest.raises(VendorThrottled) as paused:
        source.budgets.check(NAME, source.now)
    assert paused.value.retry_at == source.now + 500.0
    assert "HTTP 429: slow down" in str(paused.value)
    assert source.steps(0.0) == 0
    source.passes(500.0)
    source.budgets.check(NAME, source.now)


def test_a_stopped_source_stays_stopped(source: Source) -> None:
    source.budgets.pause(NAME)
    source.steps(-2 * HOUR)
    pause = source.budgets.paused(NAME, source.now)
    assert pause is not None
    assert (pause.indefinite, pause.by_operator) == (True, True)


@HOURS
def test_the_vendors_own_reset_comes_when_it_was_stated(source: Source, hours: int) -> None:
    source.budgets.record_vendor_limit(NAME, 0, source.now + 600.0, source.now, limit=100)
    source.steps(-hours * HOUR)
    limit = source.budgets.status(NAME, WINDOW, source.now).vendor_limit
    assert limit == VendorLimit(remaining=0, limit=100, resets_at=source.now + 600.0)
    assert source.calls() == 0
    source.passes(601.0)
    assert source.calls() > 0


@HOURS
def test_calls_leave_their_window_after_its_length_and_not_before(source: Source, hours: int) -> None:
    granted = source.calls()
    source.passes(1000.0)
    source.steps(-hours * HOUR)
    assert source.calls() == 0
    source.passes(HOUR - 1000.0 - 5.0)
    assert source.calls() == 0
    source.passes(10.0)
    assert source.calls() == granted > 0


def test_a_clock_that_went_forward_for_a_while_makes_no_call_older(source: Source) -> None:
    source.calls()
    # Wrong by an hour and a half for half a minute, then right again: the vendor has counted all calls.
    assert source.steps(1.5 * HOUR) == 0
    source.passes(30.0)
    assert source.steps(-1.5 * HOUR) == 1.5 * HOUR
    before = source.budgets.status(NAME, WINDOW, source.now).used
    assert before == source.state.zcount(keys.budget(NAME), source.now - HOUR, source.now)
    assert source.calls() == 0


def _attempt(source: Source) -> None:
    watch = Watch(reference={"id": "1"}, due_in=6 * HOUR, give_up_at=source.now + 30 * DAY)
    source.watches.open(NAME, "a:1", watch, now=source.now)


def _reread(source: Source) -> None:
    watch = Watch(reference={"id": "1"}, due_in=6 * HOUR, give_up_at=source.now + 30 * DAY, reread=True)
    source.watches.open(NAME, "a:1", watch, now=source.now)


def _pointer(source: Source) -> None:
    source.watches.add_pointers(NAME, [Pointer(key="a:1", reference={"id": "1"})], now=source.now)
    _replan(source)


def _expectation_under_way(source: Source) -> None:
    source.expect("a:1", due=source.now, deadline=source.now + 30 * DAY)
    _replan(source)


def _replan(source: Source) -> None:
    """A recheck that found nothing: the next one is due in six hours."""
    for queue in ("due", "pointers"):
        source.state.zadd(keys.watch_due(NAME, queue), {"a:1": source.now + 6 * HOUR}, xx=True)


@HOURS
@pytest.mark.parametrize("open_watch", [_attempt, _reread, _pointer, _expectation_under_way])
def test_a_recheck_is_due_after_the_seconds_that_were_planned(
    source: Source, open_watch: Callable[[Source], None], hours: int
) -> None:
    open_watch(source)
    source.passes(HOUR)
    source.steps(-hours * HOUR)
    assert source.due() == {"a:1": 5 * HOUR}
    assert source.watches.due(NAME, source.now + 5 * HOUR, 10)[0].reference == {"id": "1"}


def test_a_pointer_is_given_up_after_its_time_and_is_not_from_the_future(source: Source) -> None:
    source.watches.add_pointers(NAME, [Pointer(key="a:1", reference={}, give_up_after=7 * DAY)], now=source.now)
    source.steps(-2 * HOUR)
    (watch,) = source.watches.list(NAME)
    times = (watch.announced, watch.give_up_at, watch.opened_at)
    assert times == (source.now + 7 * DAY, source.now + 7 * DAY, source.now)


def test_what_an_operator_registered_and_the_dates_of_attempts_stay(source: Source) -> None:
    due, deadline = NOW + 5 * HOUR, NOW + 9 * HOUR
    source.expect("a:1", due=due, deadline=deadline)
    watch = Watch(reference={"id": "2"}, due_in=HOUR, give_up_at=deadline)
    source.watches.open(NAME, "a:2", watch, now=source.now)
    source.steps(-2 * HOUR)
    expected, opened = sorted(source.watches.list(NAME), key=lambda item: item.key)
    assert (expected.due, expected.give_up_at, expected.expected_deadline) == (due, deadline, deadline)
    assert opened.give_up_at == deadline
    assert source.expectations.overdue(NAME, before=deadline - 1.0) == ()
    assert [item.deadline for item in source.expectations.overdue(NAME, before=deadline + 1.0)] == [deadline]


def test_the_last_recheck_of_an_expectation_stays_at_its_deadline(source: Source) -> None:
    deadline = NOW + 9 * HOUR
    source.expect("a:1", due=NOW, deadline=deadline)
    source.state.zadd(keys.watch_due(NAME), {"a:1": deadline})
    source.steps(-2 * HOUR)
    assert source.due() == {"a:1": deadline - source.now}


def test_a_step_forward_and_back_lets_nothing_wait_longer(source: Source) -> None:
    _attempt(source)
    source.budgets.pause_until(NAME, source.now + 3 * HOUR, "HTTP 429")
    assert source.steps(2 * HOUR) == 0
    source.watches.add_pointers(NAME, [Pointer(key="a:2", reference={})], now=source.now)
    assert source.steps(-2 * HOUR) == 2 * HOUR
    assert source.due() == {"a:1": 4 * HOUR, "a:2": 0.0}
    pause = source.budgets.paused(NAME, source.now)
    assert pause is not None
    assert pause.until <= source.now + 3 * HOUR


def test_a_step_is_noticed_by_a_process_that_starts_after_it(source: Source) -> None:
    _attempt(source)
    with capture_logs() as logs:
        assert SourceClock(source.state).follow(NAME, NOW - 2 * HOUR) == 2 * HOUR
        assert SourceClock(source.state).follow(NAME, NOW - 2 * HOUR) == 0
    assert logs == [{"event": "clock_was_set_back", "log_level": "warning", "source": NAME, "seconds": 7200}]


def test_a_clock_that_goes_on_or_differs_a_little_moves_nothing(source: Source) -> None:
    _attempt(source)
    for moment in (0.0, 5.0, -1.0, 100.0, -150.0, 90_000.0):
        assert SourceClock(source.state).follow(NAME, NOW + moment) == 0
        assert source.due() == {"a:1": 6 * HOUR}
        source.state.set(keys.source_clock(NAME), repr(NOW))


def test_the_clock_is_stored_every_ten_seconds_and_a_step_is_noticed_at_once(source: Source) -> None:
    source.passes(9.0)
    assert float(source.state.get(keys.source_clock(NAME)) or 0) == NOW  # type: ignore[arg-type]  # not asynchronous
    source.passes(2.0)
    assert float(source.state.get(keys.source_clock(NAME)) or 0) == NOW + 11.0  # type: ignore[arg-type]  # not asynchronous
    assert source.steps(-2 * HOUR) == 2 * HOUR


def test_other_sources_and_what_nobody_can_read_are_left_alone(source: Source) -> None:
    source.watches.add_pointers("other", [Pointer(key="a:9", reference={})], now=source.now)
    source.state.hset(keys.watch(NAME), "odd", "junk")
    source.state.zadd(keys.watch_due(NAME), {"odd": NOW + HOUR, "gone": NOW + HOUR})
    source.state.hset(keys.expected(NAME), "odd", "[")
    source.steps(-2 * HOUR)
    assert source.watches.list("other")[0].due == NOW
    assert source.state.zscore(keys.watch_due(NAME), "odd") == NOW - HOUR
    assert source.state.hget(keys.watch(NAME), "odd") == b"junk"


@pytest.mark.long
def test_many_watches_are_moved_together(source: Source) -> None:
    watch = Watch(reference={"id": "1"}, due_in=6 * HOUR, give_up_at=NOW + 30 * DAY)
    source.watches.open_many(NAME, {f"a:{number}": watch for number in range(1300)}, now=source.now)
    expected = json.dumps({"due": NOW + HOUR, "deadline": NOW + DAY, "state": "overdue"})
    source.state.hset(keys.expected(NAME), "a:7", expected)
    source.steps(-2 * HOUR)
    assert set(source.due().values()) == {6 * HOUR}


#: What is broken -> the text of `follow_clock.lua`, what replaces it, and the tests that notice it.
MUTANTS: dict[str, tuple[str, str, Callable[[Source], None]]] = {
    "the clock is not remembered": (
        'redis.call("SET", KEYS[8], ARGV[1])',
        "",
        lambda source: test_a_pause_ends_after_the_seconds_that_the_vendor_asked_for(source, 2),
    ),
    "every difference is a step": (
        "seen - tonumber(ARGV[2])",
        "seen",
        test_a_clock_that_goes_on_or_differs_a_little_moves_nothing,
    ),
    "registered times move": (
        "if due ~= registered.due and due ~= registered.deadline then",
        "if true then",
        test_what_an_operator_registered_and_the_dates_of_attempts_stay,
    ),
    "rechecks stay": (
        "for i = 2, 4 do",
        "for i = 2, 2 do",
        lambda source: test_a_recheck_is_due_after_the_seconds_that_were_planned(source, _pointer, 2),
    ),
    "announcements stay": (
        "watch.announced = moved(watch.announced)",
        "",
        test_a_pointer_is_given_up_after_its_time_and_is_not_from_the_future,
    ),
    "deadlines of pointers stay": (
        "watch.deadline = moved(watch.deadline)",
        "",
        test_a_pointer_is_given_up_after_its_time_and_is_not_from_the_future,
    ),
    "all calls become older": (
        '"(" .. ARGV[1]',
        '"-inf"',
        test_a_clock_that_went_forward_for_a_while_makes_no_call_older,
    ),
    "calls stay in the future": (
        '"(" .. ARGV[1]',
        '"+inf"',
        lambda source: test_calls_leave_their_window_after_its_length_and_not_before(source, 2),
    ),
    "the pause stays": (
        "moved(till) .. reason",
        "till .. reason",
        lambda source: test_a_pause_ends_after_the_seconds_that_the_vendor_asked_for(source, 2),
    ),
    "the vendor's reset stays": (
        "moved(reset)",
        "reset",
        lambda source: test_the_vendors_own_reset_comes_when_it_was_stated(source, 2),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_script_is_noticed(mutant: str, state: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, notices = MUTANTS[mutant]
    change_script(monkeypatch, "follow_clock", old, new)
    with pytest.raises((AssertionError, redis.ResponseError, pytest.fail.Exception)):
        notices(Source(state))
