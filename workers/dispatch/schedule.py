"""When a failed delivery is retried. Pure: randomness and time come in as arguments."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.config.model import RetryPolicy

__all__ = ["Limits", "Repeated", "broker_backoff", "fault_backoff", "max_tries", "retry_delay"]

#: A broker that is down is tried again soon; its failures use up no try.
_BROKER_BACKOFF = (1.0, 2.0, 5.0, 10.0, 30.0)
_MAX_FAULT_BACKOFF = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that all subscriptions share."""

    #: Seconds until another process may claim a retry; longer than any transport takes for a batch.
    lease: float = 180.0
    #: Failures of the receiver in a row that open the circuit.
    open_after: int = 10
    #: The same for a receiver that answered within the last `recent` seconds.
    open_after_recent_answer: int = 50
    #: Seconds for which an answer is recent.
    recent: float = 60.0
    #: Seconds from one probe of an open circuit to the next.
    open_for: float = 5.0
    #: Seconds without an answer after which the subscription is disabled.
    disable_after: float = 5 * 86_400.0
    #: Processes that may end while sending an event on its own before the event is given up as their cause.
    poison_after: int = 5


class Repeated:
    """When to log a problem: at first, then every `every` seconds, or after a sixtieth of that if it has changed."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._last: tuple[str, float] | None = None

    def is_due(self, problem: str, now: float) -> bool:
        """Whether to log it at `now` (UNIX seconds); if so, it counts as logged."""
        if self._last is not None:
            last, at = self._last
            # The clock may have been set back.
            if 0 <= now - at < (self._every if problem == last else self._every / 60):
                return False
        self._last = (problem, now)
        return True

    def ended(self) -> None:
        """The problem is over: the next one is a new one."""
        self._last = None


def max_tries(policy: RetryPolicy) -> int:
    """The number of tries of a delivery: the first one, and one per step of the schedule."""
    return len(policy.schedule) + 1


def retry_delay(policy: RetryPolicy, tries_done: int, draw: float, retry_after: float | None = None) -> float | None:
    """Seconds until the next try after `tries_done` failed tries (1 or more); None if no try is left.

    `draw`: uniform in [0, 1), applies the policy's jitter. `retry_after`: seconds that the receiver asks for; they
    extend a step to at most twice its length, so that a receiver cannot postpone a delivery by a year.
    """
    if tries_done >= max_tries(policy):
        return None
    step = policy.schedule[tries_done - 1]
    planned = step * (1 + policy.jitter * (2 * draw - 1))
    return planned if retry_after is None else max(planned, min(retry_after, 2 * step))


def broker_backoff(failures: int) -> float:
    """Seconds to wait after this many failures of the broker in a row (1 or more)."""
    return _BROKER_BACKOFF[min(failures, len(_BROKER_BACKOFF)) - 1]


def fault_backoff(faults: int) -> float:
    """Seconds to wait after this many internal faults of a lane in a row (1 or more): 1 to 30."""
    return min(2.0 ** min(faults - 1, 10), _MAX_FAULT_BACKOFF)
