"""A step of an erasure that a process with other partitions continues leaves nothing unread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bridge.erasure.places import Batch, Hit, Units


class Listed(Units):
    """Two batches in each unit; `partitions` says how many units each of two subscriptions has."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def units(self) -> Sequence[Any]:
        return [f"{name}{number}" for name in ("crm", "desk") for number in range(self._partitions)]

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        return Batch([Hit("events", unit, unit + (cursor or "first"))], None if cursor else "second", 1)


def read(place: Listed, at: str | None, steps: int = 1000) -> tuple[set[str], str | None]:
    """What the next steps read, and the position behind them."""
    hits: set[str] = set()
    while at is not None and steps:
        batch = place.read(at, 10)
        hits |= {hit.key for hit in batch.hits}
        at, steps = batch.after, steps - 1
    return hits, at


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4), (3, 3)])
def test_whatever_was_read_before_all_is_read_in_the_end(before: int, after: int) -> None:
    everything, _ = read(Listed(after), "")
    assert len(everything) == 4 * after
    for steps in range(4 * before):
        seen, at = read(Listed(before), "", steps)
        rest, end = read(Listed(after), at)
        assert (everything - seen - rest, end) == (set(), None), steps
    # Of a process of the earlier version.
    assert read(Listed(after), "1|second")[0] == everything - {"crm0first", "crm0second", "crm1first"}
