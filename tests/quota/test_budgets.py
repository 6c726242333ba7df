"""Budgets, pauses and what vendors say of their limits, on a fake and on a real server."""

from __future__ import annotations

import math

import pytest
import redis

from bridge.errors import BudgetExhausted, VendorRefused, VendorThrottled
from bridge.quota.budgets import BACKFILL, OVERDUE, POINTER, POLL, RECONCILE, REREAD, Budgets, VendorLimit, Window
from bridge.state import keys

pytestmark = pytest.mark.cluster_too

NAME = "eu-little"
SMALL = Window(3, 60.0)
#: Large enough for shares: a call is 1 %.
SHARED = Window(100, 60.0)
DAY = 86_400.0
RESET = 20_000 * DAY + 13.5 * 3600


def _take(budgets: Budgets, now: float, *, spender: str = POLL, window: Window = SMALL) -> bool:
    try:
        budgets.take(NAME, window, now, spender=spender)
    except BudgetExhausted:
        return False
    return True


def _many(budgets: Budgets, now: float, spender: str, window: Window = SHARED, *, asked: int = 200) -> int:
    """How many calls are granted."""
    return sum(_take(budgets, now, spender=spender, window=window) for _ in range(asked))


def test_the_window_slides_and_tells_when_the_next_call_is_free(state: redis.Redis) -> None:
    budgets = Budgets(state)
    assert [_take(budgets, moment) for moment in (1000.0, 1010.5, 1020.0, 1030.0)] == [True, True, True, False]
    with pytest.raises(BudgetExhausted) as exhausted:
        budgets.take(NAME, SMALL, 1060.9, spender=POLL)
    assert exhausted.value.retry_at == 1061.0
    assert "all 3 calls of its budget" in str(exhausted.value)

    assert _take(budgets, 1061.0)
    assert not _take(budgets, 1061.0)
    assert _take(budgets, 1071.5)


def test_a_daily_window_begins_anew_at_its_reset_and_counts_what_was_on_its_way_on_both_sides(
    state: redis.Redis,
) -> None:
    budgets, window = Budgets(state), Window(3, DAY, 13.5 * 3600)
    assert [_take(budgets, RESET + moment, window=window) for moment in (-5.0, -0.5, 0.5, 0.9)] == [True] * 3 + [False]
    with pytest.raises(BudgetExhausted) as exhausted:
        budgets.take(NAME, window, RESET + 0.9, spender=POLL)
    assert exhausted.value.retry_at == RESET + 1

    # Of the three, two may have reached the vendor after its reset.
    assert [_take(budgets, RESET + moment, window=window) for moment in (1.0, 2.0)] == [True, False]
    assert not _take(budgets, RESET + DAY - 60, window=window)
    assert _take(budgets, RESET + DAY + 1, window=window)


def test_a_process_whose_clock_lags_counts_what_the_others_have_spent(state: redis.Redis) -> None:
    budgets = Budgets(state)
    for moment in (1000.0, 1010.0, 1020.0, 1080.0):
        assert _take(budgets, moment)
    # For this one the window reaches back to before the first call.
    assert not _take(budgets, 1060.0)


def test_sources_do_not_share_a_budget(state: redis.Redis) -> None:
    budgets = Budgets(state)
    budgets.take(NAME, Window(1, 60.0), 1000.0, spender=POLL)
    budgets.take("us-little", Window(1, 60.0), 1000.0, spender=POLL)


def test_a_call_that_is_repeated_after_a_lost_reply_is_charged_once(state: redis.Redis) -> None:
    budgets, window = Budgets(state), Window(2, 60.0)
    budgets.record_vendor_limit(NAME, 2, 1060.0, 1000.0)
    for _ in range(3):
        budgets.take(NAME, window, 1000.0, spender=POLL, token="same")
    status = budgets.status(NAME, window, 1000.0)
    assert status.used == 1
    assert status.vendor_limit == VendorLimit(remaining=1, limit=2, resets_at=1060.0)


@pytest.mark.long
def test_each_spender_leaves_a_share_to_those_above_it_and_they_spend_it_all(state: redis.Redis) -> None:
    budgets = Budgets(state)
    order = (RECONCILE, BACKFILL, REREAD, POLL, OVERDUE, POINTER)
    assert [_many(budgets, 1000.0, spender) for spender in order] == [22, 10, 10, 40, 9, 9]
    assert budgets.status(NAME, SHARED, 1000.0).left == 0


@pytest.mark.long
@pytest.mark.parametrize(("first", "then"), [(OVERDUE, POINTER), (POINTER, OVERDUE)])
def test_many_urgent_calls_starve_neither_each_other_nor_the_poll(state: redis.Redis, first: str, then: str) -> None:
    budgets = Budgets(state)
    assert (_many(budgets, 1000.0, first), _many(budgets, 1000.0, then), _many(budgets, 1000.0, POLL)) == (51, 9, 40)


def test_calls_that_more_urgent_spenders_have_used_are_not_reserved_again(state: redis.Redis) -> None:
    budgets = Budgets(state)
    assert _many(budgets, 1000.0, OVERDUE, asked=4) == 4
    assert _many(budgets, 1000.0, POINTER, asked=30) == 30
    # Five are still kept for what is overdue, none for pointers.
    assert _many(budgets, 1000.0, POLL) == 100 - 34 - 5
    assert _many(budgets, 1000.0, OVERDUE) == 5


def test_near_the_reset_of_a_day_what_is_left_is_spent_on_rereads(state: redis.Redis) -> None:
    budgets, window = Budgets(state), Window(100, DAY, 13.5 * 3600)
    assert _many(budgets, RESET - 6 * 3600, REREAD, window) == 42
    with pytest.raises(BudgetExhausted) as exhausted:
        budgets.take(NAME, window, RESET - 6 * 3600, spender=REREAD)
    assert exhausted.value.retry_at == RESET + 1 - 3 * 3600
    assert _many(budgets, RESET - 3600, REREAD, window) == 39  # a third of 9, 9 and 40 is kept
    assert _many(budgets, RESET - 1, REREAD, window) == 19
    with pytest.raises(BudgetExhausted) as exhausted:
        budgets.take(NAME, window, RESET - 1, spender=REREAD)
    assert exhausted.value.retry_at == RESET + 1


@pytest.mark.parametrize("spender", [OVERDUE, POINTER, POLL, REREAD, BACKFILL, RECONCILE])
def test_even_the_last_in_rank_may_spend_the_only_call(state: redis.Redis, spender: str) -> None:
    assert _take(Budgets(state), 1000.0, spender=spender, window=Window(1, 60.0))


def test_the_vendors_own_count_holds_until_its_reset_where_it_is_smaller(state: redis.Redis) -> None:
    budgets, window = Budgets(state), Window(9, 60.0)
    budgets.record_vendor_limit(NAME, 2, 1030.0, 1000.0, limit=9)
    assert [_take(budgets, 1001.0, window=window) for _ in range(3)] == [True, True, False]
    with pytest.raises(BudgetExhausted, match="the vendor's limit") as exhausted:
        budgets.take(NAME, window, 1001.0, spender=POLL)
    assert exhausted.value.retry_at == 1030.0
    assert budgets.status(NAME, window, 1001.0).left == 0

    assert sum(_take(budgets, 1030.0, window=window) for _ in range(9)) == 7
    assert budgets.status(NAME, window, 1030.0).vendor_limit is None


def test_the_window_applies_where_the_vendors_limit_is_higher(state: redis.Redis) -> None:
    budgets = Budgets(state)
    budgets.record_vendor_limit(NAME, 600, 1030.0, 1000.0)
    assert sum(_take(budgets, 1001.0) for _ in range(9)) == 3
    assert budgets.status(NAME, SMALL, 1001.0).vendor_limit == VendorLimit(remaining=597, limit=600, resets_at=1030.0)


def test_a_share_of_the_vendors_limit_is_reserved_too(state: redis.Redis) -> None:
    budgets, window = Budgets(state), Window(1000, 60.0)
    budgets.record_vendor_limit(NAME, 100, 1050.0, 1000.0)
    order = (BACKFILL, POLL, OVERDUE, POINTER)
    assert [_many(budgets, 1000.0, spender, window) for spender in order] == [32, 50, 9, 9]


def test_within_one_window_of_the_vendor_a_late_answer_gives_no_call_back(state: redis.Redis) -> None:
    budgets, window = Budgets(state), Window(100, 60.0)
    budgets.record_vendor_limit(NAME, 5, 1030.0, 1000.0, limit=10)
    _take(budgets, 1001.0, window=window)
    budgets.record_vendor_limit(NAME, 7, 1031.0, 1002.0)  # it left first, and tells of the same reset in whole seconds
    vendor_limit = budgets.status(NAME, window, 1002.0).vendor_limit
    assert vendor_limit == VendorLimit(remaining=4, limit=10, resets_at=1030.0)

    budgets.record_vendor_limit(NAME, 9, 1090.0, 1031.0)
    assert budgets.status(NAME, window, 1031.0).vendor_limit == VendorLimit(remaining=9, limit=9, resets_at=1090.0)
    budgets.record_vendor_limit(NAME, 0, 1030.0, 1032.0)  # of the window that is over
    assert budgets.status(NAME, window, 1032.0).vendor_limit == VendorLimit(remaining=9, limit=9, resets_at=1090.0)


def test_status_tells_what_is_left_when_it_resets_and_who_spent_it(state: redis.Redis) -> None:
    budgets = Budgets(state)
    assert budgets.status(NAME, SMALL, 1000.0).resets_at is None
    _take(budgets, 1000.0)
    _take(budgets, 1005.0, spender=OVERDUE)

    status = budgets.status(NAME, SMALL, 1060.0)
    assert (status.used, status.left, status.resets_at) == (2, 1, 1061.0)
    assert status.spenders == {POLL: 1, OVERDUE: 1}
    assert (status.pause, status.vendor_limit, status.window) == (None, None, SMALL)
    assert budgets.status(NAME, SMALL, 1061.0).used == 1


def test_status_of_a_daily_window_counts_since_the_reset(state: redis.Redis) -> None:
    budgets, window = Budgets(state), Window(3, DAY, 13.5 * 3600)
    _take(budgets, RESET - 60, window=window)
    assert budgets.status(NAME, window, RESET - 30).used == 1
    status = budgets.status(NAME, window, RESET + 30)
    assert (status.used, status.left, status.resets_at) == (0, 3, RESET + DAY + 1)


def test_nothing_is_left_behind_by_an_idle_source(state: redis.Redis) -> None:
    budgets = Budgets(state)
    for moment in range(1000, 1600, 30):
        _take(budgets, float(moment))
    assert state.zcard(keys.budget(NAME)) <= 6
    budgets.record_vendor_limit(NAME, 5, 1630.0, 1600.0)
    for key in (keys.budget(NAME), keys.vendor_limit(NAME)):
        assert 0 < state.ttl(key) <= 180


def test_a_pause_holds_for_paid_and_free_calls_until_its_moment(state: redis.Redis) -> None:
    budgets = Budgets(state)
    budgets.pause_until(NAME, 1500.25, "HTTP 429")
    for call in (
        lambda: budgets.take(NAME, SMALL, 1500.0, spender=POLL),
        lambda: budgets.check(NAME, 1500.0),
    ):
        with pytest.raises(VendorThrottled, match="HTTP 429") as throttled:
            call()
        assert throttled.value.retry_at == 1500.25
        assert throttled.value.reason == "paused"

    budgets.check(NAME, 1500.25)
    assert _take(budgets, 1500.25)
    assert budgets.paused(NAME, 1500.25) is None


def test_a_shorter_pause_does_not_replace_a_longer_one(state: redis.Redis) -> None:
    budgets = Budgets(state)
    budgets.pause_until(NAME, 2000.0, "longer")
    budgets.pause_until(NAME, 1500.0, "shorter")
    pause = budgets.paused(NAME, 1000.0)
    assert pause is not None
    assert (pause.until, pause.reason) == (2000.0, "longer")


def test_a_stopped_source_stays_stopped_until_it_is_resumed(state: redis.Redis) -> None:
    budgets = Budgets(state)
    budgets.pause_until(NAME, math.inf, "apiKeyInactive")
    budgets.pause_until(NAME, 5000.0, "HTTP 429")
    with pytest.raises(VendorRefused, match=r"apiKeyInactive.*sources resume eu-little"):
        budgets.take(NAME, SMALL, 1e12, spender=POLL)
    with pytest.raises(VendorRefused):
        budgets.check(NAME, 1e12)

    assert budgets.resume(NAME)
    assert not budgets.resume(NAME)
    budgets.check(NAME, 1000.0)
