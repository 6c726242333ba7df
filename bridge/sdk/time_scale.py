"""A quicker bridge for the sandbox: the same vendor with every waiting time of ours shortened.

A setting of the process that only a demo's configuration allows; sources know nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bridge.sdk.vendor import NormalisedAttempt, Record, Vendor

__all__ = ["with_time_scale"]

#: Not quicker than this: a look costs a call, seconds.
_SHORTEST = 1.0


def with_time_scale(vendor: Vendor, scale: float) -> Vendor:
    """`vendor` with looks and re-reads `scale` times as often. What the vendor itself allows stays."""

    def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        news = vendor.normalise(record, now, options)
        if news.watch is None:
            return news
        return replace(news, watch=replace(news.watch, due_in=_shorter(news.watch.due_in, scale)))

    return replace(
        vendor,
        normalise=normalise,
        recheck_schedule=tuple(_shorter(step, scale) for step in vendor.recheck_schedule),
        pointer_schedule=tuple(_shorter(step, scale) for step in vendor.pointer_schedule),
        polls={
            name: poll if poll.every is None else replace(poll, every=_shorter(poll.every, scale))
            for name, poll in vendor.polls.items()
        },
    )


def _shorter(seconds: float, scale: float) -> float:
    return min(seconds, max(seconds / scale, _SHORTEST))
