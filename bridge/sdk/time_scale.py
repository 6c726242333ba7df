"""A vendor with all the bridge's waiting times shortened, for the sandbox.

The scale is a setting of the process, allowed only with a demo's configuration; sources do not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bridge.sdk.vendor import NormalisedAttempt, Record, Vendor

__all__ = ["with_time_scale"]

#: Lower limit of a scaled waiting time, seconds: a recheck costs a call.
_SHORTEST = 1.0


def with_time_scale(vendor: Vendor, scale: float) -> Vendor:
    """`vendor` with rechecks and rereads `scale` times as often. The vendor's own limits stay."""

    def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        attempt = vendor.normalise(record, now, options)
        if attempt.watch is None:
            return attempt
        return replace(attempt, watch=replace(attempt.watch, due_in=_scaled(attempt.watch.due_in, scale)))

    return replace(
        vendor,
        normalise=normalise,
        recheck_schedule=tuple(_scaled(step, scale) for step in vendor.recheck_schedule),
        pointer_schedule=tuple(_scaled(step, scale) for step in vendor.pointer_schedule),
        polls={
            name: poll if poll.every is None else replace(poll, every=_scaled(poll.every, scale))
            for name, poll in vendor.polls.items()
        },
    )


def _scaled(seconds: float, scale: float) -> float:
    return min(seconds, max(seconds / scale, _SHORTEST))
