"""A lane for messages to people: few at a time, and events beyond that together in one message, a digest.

What the rate does not let through is scheduled for the end of the digest's period, as a retry that uses no try; what
is due at the same time is one message. So a digest is gathered in the state: neither a stop nor `kill -9` loses any of
it, and pauses, erasures and lists of deliveries include its events. Without a digest, events wait for the rate.

At least once: if the process ends between a message and its settling, the message is sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from bridge.state.errors import state_errors
from workers.dispatch.lane import Lane
from workers.dispatch.rate import RateLimit
from workers.dispatch.reading import Batch
from workers.dispatch.settlement import Item, postpone_row

__all__ = ["MOST_TOGETHER", "NOTIFY_CRASH_POINTS", "NotifyLane"]

#: Points between two effects, besides `CRASH_POINTS`, at which a test may end the process.
NOTIFY_CRASH_POINTS = ("gathered",)
#: Most events in one message; further ones are in the next.
MOST_TOGETHER = 1_000
#: Events read at once: most of them are excluded by the filter.
_READ = 200
#: While the rate lets nothing through, a step ends after this many seconds, so that a pause can be confirmed.
_STEP_SECONDS = 1.0


class NotifyLane(Lane):
    """Serves one subscription in one partition, like `Lane`; each step sends at most one message."""

    #: A chat needs no history: a new subscription begins with the next event.
    _begins = "$"
    #: The events of a digest are claimed together again after a process has ended with them.
    _suspect_after = 2

    def __init__(self, *args: Any, **options: Any) -> None:
        """The arguments of `Lane`."""
        super().__init__(*args, **options)
        rate = self.subscription.rate
        self._rate = None if rate is None else RateLimit(self._state, self.subscription.name, rate)
        self._digest = self.subscription.digest
        #: New events that the filter includes; they stay pending until they are settled.
        self._held: deque[Item] = deque()
        #: UNIX seconds before which the rate lets nothing through.
        self._not_before = 0.0

    def recover(self) -> None:
        """Drop what is held: it is pending, and read again."""
        self._held.clear()
        super().recover()

    def step(self, now: Callable[[], float], draw: Callable[[], float], *, block: float = 0.0) -> float:
        """Send at most one message; returns the seconds to wait. Arguments and errors are those of `Lane.step`."""
        with state_errors():
            self._join()
            word, failing = self._circuit.admit(now())
            if word not in ("go", "probe"):
                self._release()
                return self._rest(word, block)
            moment = now()
            if self._rate is not None and 0 < self._not_before - moment <= 2 * self._rate.per:
                return min(self._not_before - moment, _STEP_SECONDS)
            probe = word == "probe"
            batch, next_due = self._reader.due_retries(moment, 1 if self._digest is None else MOST_TOGETHER)
            if not batch.items:
                wait = self._read(now, 0.0 if probe else min(block, max(0.0, next_due - moment)))
                if not self._held:
                    self._waits.forget(now())
                    if probe:
                        # There is no event to probe with: let the next one be the probe immediately.
                        self._circuit.probe_again()
                    return min(max(0.5 if probe else 0.0, wait), max(0.0, next_due - moment))
                batch = Batch([self._held[0]])
            if not self._may_send(batch, now()):
                return 0.0
            if not batch.claim:
                self._held.popleft()
            # One draw, so that the events of one message are retried as one message.
            drawn = draw()
            handle = partial(self._handle, batch, now, lambda: drawn, failing=failing, probe=probe)
            return self._guarding(batch, now, lambda: drawn, handle)

    def _read(self, now: Callable[[], float], block: float) -> float:
        """Hold new events that the filter includes, settle the others; returns the seconds to wait if none is held."""
        if self._held:
            return 0.0
        batch = self._reader.next_batch(now(), _READ, block, most_retries=0)
        prepared, rows = self._guarded.prepare(batch.items, now())
        self._settle(rows, "", now())
        self._held.extend(item for item, _ in prepared)
        return 0.0 if batch.items or batch.must_drain else batch.wait

    def _may_send(self, batch: Batch, moment: float) -> bool:
        """Whether this message may go out now; if not, its events are gathered, or wait."""
        is_new = not batch.claim
        if self._rate is not None:
            granted, wait = self._rate.take(1, moment)
            if granted:
                return True
            due = moment + wait
        elif is_new and self._digest is not None:
            due = moment
        else:
            return True
        if not is_new:
            self._settle([postpone_row(item, due) for item in batch.items], batch.claim, moment)
        elif self._digest is not None:
            ends = (moment // self._digest + 1) * self._digest
            self._settle([postpone_row(item, ends) for item in self._held], "", moment)
            self._held.clear()
            self._crash("gathered")
        else:
            self._not_before = due
            self._release()
        return False

    def _release(self) -> None:
        """Give back what is held: an erasure, or another process, may take it."""
        if self._held:
            self._member.keep([item.entry for item in self._held])
            self._held.clear()
            self._reader.may_have_pending = True
