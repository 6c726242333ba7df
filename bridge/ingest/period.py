"""Whether an attempt finished in a period: lists of vendors have pages that begin before it and end after it."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.sdk.vendor import NormalisedAttempt

__all__ = ["OUTSIDE_PERIOD", "Period"]

#: The outcome of a record that is read and left alone because of its period.
OUTSIDE_PERIOD = "outside_period"


@dataclass(frozen=True, slots=True)
class Period:
    """A period in which attempts finished, both ends included. UNIX seconds."""

    first: float
    last: float

    def leaves_out(self, attempt: NormalisedAttempt) -> bool:
        """Whether the attempt certainly did not finish in the period.

        Without a finish, only one thing is certain: it did not finish before it began. A finish that was only observed
        (`NormalisedAttempt.completed_at_is_observed`) is the latest possible one: the true one may be earlier. Vendors
        give whole seconds.
        """
        first, last = int(self.first), self.last
        if attempt.started_at is not None and attempt.started_at.timestamp() > last:
            return True
        if attempt.completed_at is None:
            return False
        finished = attempt.completed_at.timestamp()
        return finished < first or (finished > last and not attempt.completed_at_is_observed)
