"""Windows and shares: when a window begins and ends, and what each spender leaves to the others."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.config.model import PollConfig
from bridge.quota.windows import BACKFILL, OVERDUE, POINTER, POLL, RECONCILE, REREAD, SPENDERS, TEST, Window, reserved
from bridge.vendors.classmarker import VENDOR as CLASSMARKER

HOUR, DAY = 3600.0, 86_400.0
HALF_PAST_ONE = 13.5 * HOUR
SLIDING = Window(1000, HOUR)
DAILY = Window(3000, DAY, HALF_PAST_ONE)


def at(hour: int, minute: int = 0, second: int = 0, *, day: int = 2) -> float:
    return datetime(2027, 1, day, hour, minute, second, tzinfo=UTC).timestamp()


def test_a_sliding_window_is_longer_than_the_vendors_by_the_time_a_call_may_travel() -> None:
    assert (SLIDING.since(at(12)), SLIDING.available_again_at(at(12), at(11, 30))) == (at(12) - 3601, at(12, 30, 1))
    short = Window(5, 10.0)
    assert (short.since(100.0), short.available_again_at(100.0, 95.0)) == (100 - 10.2, 95 + 10.2)


@pytest.mark.parametrize(
    ("now", "since", "ends"),
    [
        (at(13, 29, 59), at(13, 29, 59, day=1), at(13, 30, 1)),
        # The vendor's clock may still be before the reset: both sides count.
        (at(13, 30, 0), at(13, 29, 59, day=1), at(13, 30, 1)),
        (at(13, 30, 1), at(13, 29, 59), at(13, 30, 1, day=3)),
        (at(0), at(13, 29, 59, day=1), at(13, 30, 1)),
        (at(23, 59, 59), at(13, 29, 59), at(13, 30, 1, day=3)),
    ],
)
def test_a_daily_window_begins_anew_at_its_reset_and_not_at_midnight(now: float, since: float, ends: float) -> None:
    assert (DAILY.since(now), DAILY.available_again_at(now, at(0))) == (since, ends)


@pytest.mark.parametrize(("per", "resets_at"), [(HOUR, HALF_PAST_ONE), (DAY, DAY), (DAY, -1.0)])
def test_only_a_day_begins_anew_at_a_time_of_day(per: float, resets_at: float) -> None:
    with pytest.raises(ValueError, match="cannot reset"):
        Window(3000, per, resets_at)


@pytest.mark.parametrize(
    ("spender", "left_to_others"),
    [
        (OVERDUE, {POINTER: 90, POLL: 400}),
        (POINTER, {OVERDUE: 90, POLL: 400}),
        (POLL, {OVERDUE: 90, POINTER: 90}),
        (TEST, {OVERDUE: 90, POINTER: 90}),
        (REREAD, {OVERDUE: 90, POINTER: 90, POLL: 400}),
        (BACKFILL, {OVERDUE: 90, POINTER: 90, POLL: 400, REREAD: 100}),
        (RECONCILE, {OVERDUE: 90, POINTER: 90, POLL: 400, REREAD: 100, BACKFILL: 100}),
    ],
)
def test_what_each_spender_leaves_to_the_others(spender: str, left_to_others: dict[str, int]) -> None:
    assert reserved(spender, SLIDING, at(12)) == left_to_others


@pytest.mark.parametrize("spender", SPENDERS)
def test_where_nothing_is_polled_nothing_is_left_to_the_poll(spender: str) -> None:
    left = reserved(spender, SLIDING, at(12))
    assert reserved(spender, SLIDING, at(12), polled=False) == {name: n for name, n in left.items() if name != POLL}


@pytest.mark.parametrize(
    ("now", "total"),
    [
        (at(14), 1740),
        (at(10, 30), 1740),
        (at(12, 0, 1), 870),
        (at(13, 15, 1), 144),
        (at(13, 29, 59), 0),
        (at(13, 30, 0), 0),
        (at(13, 30, 1), 1740),
    ],
)
def test_towards_the_reset_rereads_leave_fewer_calls_to_others(now: float, total: int) -> None:
    assert sum(reserved(REREAD, DAILY, now).values()) == total


@pytest.mark.parametrize(
    ("now", "again"),
    [(at(8), at(10, 30, 1)), (at(12), at(12, 1)), (at(13, 29, 30), at(13, 30, 1)), (at(14), at(10, 30, 1, day=3))],
)
def test_a_reserved_call_may_become_free_before_the_reset(now: float, again: float) -> None:
    assert DAILY.reserve_shrinks_at(now, at(0)) == again
    assert SLIDING.reserve_shrinks_at(now, now - 60) == SLIDING.available_again_at(now, now - 60)


def test_the_usual_poll_of_classmarker_fits_beside_what_it_leaves() -> None:
    window, rounds = Window(CLASSMARKER.quota.calls, CLASSMARKER.quota.per_seconds), PollConfig().every
    # Thirteen rounds begin within an hour and a second.
    needed = len(CLASSMARKER.polls) * (int((at(12) - window.since(at(12))) / rounds) + 1)
    assert needed <= window.calls - sum(reserved(POLL, window, at(12)).values())


def test_in_every_window_the_rank_decides_and_one_call_is_never_reserved() -> None:
    draw = random.Random(4)
    ranks = (POLL, OVERDUE, REREAD, BACKFILL, RECONCILE)
    for _ in range(2000):
        calls = draw.choice((1, 2, 3, 5, 9, 10, 30, 99, 3000, 1_000_000)) + draw.randrange(3)
        window = Window(calls, DAY, draw.choice((None, draw.randrange(int(DAY)) * 1.0)))
        now = at(0) + draw.random() * 10 * DAY
        totals = [sum(reserved(spender, window, now).values()) for spender in ranks]
        assert totals == sorted(totals)
        assert 0 <= totals[0] <= totals[-1] < calls
        for spender in SPENDERS:
            assert spender not in reserved(spender, window, now)
            later = now + draw.random() * max(0.0, window.available_again_at(now, now) - now)
            if window.resets_at is not None and later < window.available_again_at(now, now):
                assert sum(reserved(spender, window, later).values()) <= sum(reserved(spender, window, now).values())


def test_the_operations_guide_has_the_shares() -> None:
    lines = (Path(__file__).parents[2] / "docs/operations.md").read_text().splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("| calls for | spender |"))
    others = re.findall(r"`(\w+)`", lines[head])
    told = {}
    for line in lines[head + 2 : head + 2 + len(SPENDERS)]:
        spender, *cells = (cell.strip(" `") for cell in line.split("|")[2:-1])
        told[spender] = {other: int(cell) for other, cell in zip(others, cells, strict=True) if cell != "-"}
    assert told == {spender: reserved(spender, Window(100, HOUR), 0.0) for spender in SPENDERS}
