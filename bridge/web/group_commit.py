"""Group commit: webhooks that wait at the same moment are made durable by one call to the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from gevent.lock import Semaphore

from bridge.errors import StateUnavailable
from bridge.journal import Entry, EntryResult
from bridge.web.gate import unanswered

__all__ = ["BatchPublisher", "GroupCommit"]

#: Requests in one call. The script blocks the server for about 13 us each; more gain nothing.
LARGEST = 100


class BatchPublisher(Protocol):
    """The journal."""

    def publish_batch(self, entries: Sequence[Entry], *, now: float) -> list[EntryResult]: ...


class _Waiting:
    """One request's entry and, later, what became of it. `turn` is released when there is something to do for it."""

    __slots__ = ("entry", "error", "now", "turn", "written")

    def __init__(self, entry: Entry, now: float) -> None:
        self.entry = entry
        self.now = now
        self.written: EntryResult | None = None
        self.error: Exception | None = None
        self.turn = Semaphore(0)


class GroupCommit:
    """A `Publisher` for the greenlets of one process.

    Who finds nobody publishing leads: it publishes its own entry and all that wait, at once, then hands the lead to the
    first that came meanwhile. So a lone request is never delayed, and there is no background task to start or to lose.
    `observe` is told the size of every batch. Greenlets change only where they wait, so no lock is needed.
    """

    def __init__(self, journal: BatchPublisher, *, observe: Callable[[float], object] = lambda size: None) -> None:
        self._journal = journal
        self._observe = observe
        self._queue: deque[_Waiting] = deque()
        #: Somebody publishes, or `_heir` is about to.
        self._led = False
        self._heir: _Waiting | None = None

    def publish(self, entry: Entry, *, now: float) -> EntryResult:
        """Make the entry durable; raises what the journal raised for it."""
        mine = _Waiting(entry, now)
        self._queue.append(mine)
        if self._led:
            self._wait(mine)
        if mine.written is None and mine.error is None:
            self._lead()
        if mine.error is not None:
            raise mine.error
        if mine.written is None:
            raise AssertionError("the leader's own entry is in its batch")
        return mine.written

    def _lead(self) -> None:
        """Publish what waits. The caller's own entry is the first of the queue."""
        self._led, self._heir = True, None
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST))]
        try:
            self._commit(batch)
        finally:
            error = batch[-1].error
            if error is not None and unanswered(error):
                # They have waited as long as the batch has; to try again for them would make the last wait for all.
                _fail(self._queue, error)
                batch += self._queue
                self._queue.clear()
            for one in batch[1:]:
                one.turn.release()
            self._hand_on()

    def _wait(self, mine: _Waiting) -> None:
        try:
            mine.turn.acquire()
        except BaseException:
            # Killed while waiting, perhaps just when it was to lead.
            if mine in self._queue:
                self._queue.remove(mine)
            if self._heir is mine:
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        """Let the first of the queue lead; until it runs nobody else may."""
        self._heir = self._queue[0] if self._queue else None
        self._led = self._heir is not None
        if self._heir is not None:
            self._heir.turn.release()

    def _commit(self, batch: list[_Waiting]) -> None:
        self._observe(len(batch))
        try:
            found = self._journal.publish_batch([one.entry for one in batch], now=batch[0].now)
        except Exception as error:  # noqa: BLE001 - handed to every waiting request, which raises it
            if len(batch) > 1 and not unanswered(error):
                self._commit_one_by_one(batch)
            else:
                _fail(batch, error)
        except BaseException:
            # Only the leader is being killed; the others can still answer.
            _fail(batch, StateUnavailable("this process is stopping; send it again"))
            raise
        else:
            for one, written in zip(batch, found, strict=True):
                one.written = written

    def _commit_one_by_one(self, batch: list[_Waiting]) -> None:
        # One entry may have spoiled the call for all; what was done of it already becomes a duplicate.
        for number, one in enumerate(batch):
            self._commit([one])
            if one.error is not None and unanswered(one.error):
                _fail(batch[number + 1 :], one.error)
                return


def _fail(waiting: Iterable[_Waiting], error: Exception) -> None:
    for one in waiting:
        one.error = error
