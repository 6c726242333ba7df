"""The lag of deliveries: seconds from the recording of an event to the end of the try that delivered it. Pure.

Dispatch counts each delivery in the bucket of its lag, so that a percentile of any period is a sum of counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from bridge.delivery.record import Delivery

__all__ = ["BUCKETS", "SHARE", "bucket_of", "percentile"]

#: Upper bounds of the buckets, seconds; what takes longer is in one more.
_BOUNDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0)
#: Names of the buckets in the counts, the shortest lag first. They are stored: only add to them.
BUCKETS = (*(f"lag_{bound:g}" for bound in _BOUNDS), "lag_more")
#: The share of deliveries that a percentile is about.
SHARE = 0.95


def bucket_of(delivery: Delivery, now: float) -> str:
    """The bucket of a delivery that a try ended at `now` (UNIX seconds by the state server's clock).

    "" for a replay, whose event is old on purpose, and for a journal entry of unknown time.
    """
    recorded, _, _ = delivery.entry.partition("-")
    if delivery.replays or not (recorded.isascii() and recorded.isdecimal()):
        return ""
    return BUCKETS[bisect_left(_BOUNDS, now - int(recorded) / 1000)]


def percentile(counts: Mapping[str, int], share: float = SHARE) -> float | None:
    """The lag, seconds, within which `share` of the counted deliveries ended; None without any.

    `counts`: bucket -> deliveries. Within a bucket they are taken to be spread evenly; for one beyond the last
    bound, that bound is returned.
    """
    wanted = share * sum(counts.get(bucket, 0) for bucket in BUCKETS)
    if not wanted:
        return None
    below, lower = 0.0, 0.0
    for bucket, upper in zip(BUCKETS, _BOUNDS, strict=False):
        number = counts.get(bucket, 0)
        if number and below + number >= wanted:
            return lower + (upper - lower) * (wanted - below) / number
        below, lower = below + number, upper
    return lower
