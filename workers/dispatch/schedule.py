"""When a failed delivery is tried again. Pure: the draw and the moment come in."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.config.model import RetryPolicy

__all__ = ["Limits", "broker_backoff", "fault_backoff", "max_tries", "retry_delay"]

#: A broker that is down is tried again soon; it is ours or the receiver's, and nobody is charged for it.
_BROKER_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of all subscriptions alike; seconds and numbers. The lease is longer than the longest batch of any transport."""

    lease: float = 180.0
    open_after: int = 10
    open_for: float = 30.0
    disable_after: float = 5 * 86_400.0
    #: A process that ended so often while it sent the same event alone ended because of it.
    poison_after: int = 5


def max_tries(policy: RetryPolicy) -> int:
    """How often a delivery is tried in all: at once, and once per step of the schedule."""
    return len(policy.schedule) + 1


def retry_delay(policy: RetryPolicy, tries_done: int, draw: float, retry_after: float | None = None) -> float | None:
    """Seconds until the next try after `tries_done` failed ones (1 or more); None: no try is left.

    `draw`: uniform in [0, 1), moves the time by the policy's jitter. `retry_after`, the receiver's wish in seconds, can
    only stretch a step to at most twice its length: a receiver must not park a delivery for a year.
    """
    if tries_done >= max_tries(policy):
        return None
    step = policy.schedule[tries_done - 1]
    planned = step * (1 + policy.jitter * (2 * draw - 1))
    return planned if retry_after is None else max(planned, min(retry_after, 2 * step))


def broker_backoff(failures: int) -> float:
    """Seconds to wait after the broker has failed so many times in a row (1 or more)."""
    return _BROKER_SECONDS[min(failures, len(_BROKER_SECONDS)) - 1]


def fault_backoff(faults: int) -> float:
    """Seconds to wait after a lane has failed by itself so many times in a row (1 or more): 1 to 30."""
    return min(2.0 ** min(faults - 1, 10), 30.0)
