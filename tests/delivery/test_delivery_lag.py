"""The lag of deliveries: in which bucket one is counted, and what the buckets of a period say. Pure."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.delivery_lag import _BOUNDS, BUCKETS, bucket_of, percentile
from bridge.delivery.record import Delivery

NOW = 1_800_000_000.0


def delivery(lag: float, **changes: object) -> Delivery:
    plain = {"id": "e", "type": "t", "source": "eu", "attempt": "a", "entry": f"{round((NOW - lag) * 1000)}-0"}
    return Delivery(**{**plain, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lag", "bucket"),
    [(-5.0, "lag_0.02"), (0.0, "lag_0.02"), (0.02, "lag_0.02"), (0.021, "lag_0.05"), (86_401.0, "lag_more")],
)
def test_a_delivery_is_counted_in_the_bucket_of_its_lag(lag: float, bucket: str) -> None:
    assert bucket_of(delivery(lag), NOW) == bucket


@pytest.mark.parametrize("changes", [{"replays": 1}, {"entry": ""}, {"entry": "x-1"}, {"entry": "\u0664-0"}])
def test_a_replay_and_an_entry_of_unknown_time_have_no_lag(changes: dict[str, object]) -> None:
    assert bucket_of(delivery(1.0, **changes), NOW) == ""


@given(st.lists(st.floats(0, 80_000), min_size=1, max_size=60))
def test_the_percentile_is_in_the_bucket_of_the_true_one(lags: list[float]) -> None:
    counts: dict[str, int] = {}
    for lag in lags:
        bucket = bucket_of(delivery(lag), NOW)
        counts[bucket] = counts.get(bucket, 0) + 1
    true = sorted(lags)[math.ceil(0.95 * len(lags)) - 1]
    place = BUCKETS.index(bucket_of(delivery(true), NOW))
    shown = percentile(counts)
    assert shown is not None
    assert (0.0, *_BOUNDS)[place] <= shown <= _BOUNDS[place]


def test_without_deliveries_there_is_none_and_beyond_the_last_bound_it_is_that_bound() -> None:
    assert percentile({}) is None
    assert percentile({"lag_0.02": 1, "lag_more": 99}) == 86_400.0
    assert percentile({"lag_0.02": 100}) == pytest.approx(0.019)
