"""Budgets and pauses, on a fake and on a real server; the race for the last calls on the real one."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from bridge.budgets import Budgets
from bridge.errors import BudgetExhausted, VendorRefused, VendorThrottled

NAME = "eu-little"


def _take(budgets: Budgets, now: float, *, spender: str = "poll", reserve: int = 0, calls: int = 3) -> bool:
    try:
        budgets.take(NAME, calls, 60.0, now, spender=spender, reserve=reserve)
    except BudgetExhausted:
        return False
    return True


def test_the_window_slides_and_says_when_the_next_call_is_free(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    assert [_take(budgets, moment) for moment in (1000.0, 1010.5, 1020.0, 1030.0)] == [True, True, True, False]
    with pytest.raises(BudgetExhausted) as exhausted:
        budgets.take(NAME, 3, 60.0, 1059.9, spender="poll")
    assert exhausted.value.retry_at == 1060.0
    assert "all 3 calls of its budget" in str(exhausted.value)

    assert _take(budgets, 1060.0)
    assert not _take(budgets, 1060.0)
    assert _take(budgets, 1070.5)


def test_sources_do_not_share_a_budget(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    budgets.take(NAME, 1, 60.0, 1000.0, spender="poll")
    budgets.take("us-little", 1, 60.0, 1000.0, spender="poll")


def test_a_call_that_is_repeated_after_a_lost_reply_is_charged_once(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    for _ in range(3):
        budgets.take(NAME, 1, 60.0, 1000.0, spender="poll", token="same")
    assert budgets.status(NAME, 1, 60.0, 1000.0).used == 1


def test_calls_in_reserve_stay_for_the_others_and_what_they_used_counts(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    polls = [_take(budgets, 1000.0, reserve=2, calls=5) for _ in range(5)]
    assert polls == [True, True, True, False, False]
    assert _take(budgets, 1001.0, spender="watch", reserve=2, calls=5)
    assert not _take(budgets, 1001.0, reserve=2, calls=5)
    assert _take(budgets, 1001.0, spender="watch", reserve=2, calls=5)
    assert not _take(budgets, 1002.0, spender="watch", calls=5)


def test_a_reserve_as_large_as_the_budget_leaves_one_call(any_state: redis.Redis) -> None:
    assert _take(Budgets(any_state), 1000.0, reserve=3)


def test_status_tells_what_is_left_when_it_resets_and_who_spent_it(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    assert budgets.status(NAME, 3, 60.0, 1000.0).resets_at is None
    _take(budgets, 1000.0)
    _take(budgets, 1005.0, spender="watch")

    status = budgets.status(NAME, 3, 60.0, 1059.0)
    assert (status.used, status.left, status.resets_at) == (2, 1, 1060.0)
    assert status.spenders == {"poll": 1, "watch": 1}
    assert budgets.status(NAME, 3, 60.0, 1060.0).used == 1


def test_a_pause_holds_for_paid_and_free_calls_until_its_moment(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    budgets.pause_until(NAME, 1500.25, "HTTP 429")
    for call in (
        lambda: budgets.take(NAME, 3, 60.0, 1500.0, spender="poll"),
        lambda: budgets.check(NAME, 1500.0),
    ):
        with pytest.raises(VendorThrottled, match="HTTP 429") as throttled:
            call()
        assert throttled.value.retry_at == 1500.25
        assert throttled.value.reason == "paused"

    budgets.check(NAME, 1500.25)
    assert _take(budgets, 1500.25)
    assert budgets.paused(NAME, 1500.25) is None


def test_a_shorter_pause_does_not_replace_a_longer_one(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    budgets.pause_until(NAME, 2000.0, "longer")
    budgets.pause_until(NAME, 1500.0, "shorter")
    pause = budgets.paused(NAME, 1000.0)
    assert pause is not None
    assert (pause.until, pause.reason) == (2000.0, "longer")


def test_a_stopped_source_stays_stopped_until_it_is_resumed(any_state: redis.Redis) -> None:
    budgets = Budgets(any_state)
    budgets.pause_until(NAME, math.inf, "apiKeyInactive")
    budgets.pause_until(NAME, 5000.0, "HTTP 429")
    with pytest.raises(VendorRefused, match=r"apiKeyInactive.*sources resume eu-little"):
        budgets.take(NAME, 3, 60.0, 1e12, spender="poll")
    with pytest.raises(VendorRefused):
        budgets.check(NAME, 1e12)

    assert budgets.resume(NAME)
    assert not budgets.resume(NAME)
    budgets.check(NAME, 1000.0)


@pytest.mark.server
def test_ten_workers_at_once_never_make_one_call_too_many(server, state: redis.Redis) -> None:  # type: ignore[no-untyped-def]
    clients = [server.client() for _ in range(10)]

    def work(client: redis.Redis) -> int:
        budgets = Budgets(client)
        return sum(
            _take(budgets, 1000.0 + number / 100, calls=37, reserve=number % 2, spender="poll") for number in range(50)
        )

    with ThreadPoolExecutor(10) as pool:
        taken = sum(pool.map(work, clients))
    for client in clients:
        client.close()

    assert taken == 37
    assert state.zcard("ab:budget:eu-little") == 37
