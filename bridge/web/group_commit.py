"""Group commit: webhooks that arrive together are made durable by one call to the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from gevent.lock import Semaphore

from bridge.errors import StateUnavailable
from bridge.journal import Entry, EntryResult
from bridge.web.gate import unanswered

__all__ = ["BatchPublisher", "GroupCommit", "PartitionedCommit"]

#: Entries in one call. The script blocks the server for about 13 us per entry; larger batches gain nothing.
MAX_BATCH = 100


class BatchPublisher(Protocol):
    """The part of the journal that is used here."""

    def publish_batch(self, entries: Sequence[Entry], *, now: float) -> list[EntryResult]: ...


class PartitionedPublisher(BatchPublisher, Protocol):
    """A journal that tells where an entry is written."""

    def places(self, entry: Entry) -> tuple[int, ...]: ...


class _PendingEntry:
    """An entry and, later, its result or error. `wake_up` is released when its greenlet may go on."""

    __slots__ = ("entry", "error", "now", "result", "wake_up")

    def __init__(self, entry: Entry, now: float) -> None:
        self.entry = entry
        self.now = now
        self.result: EntryResult | None = None
        self.error: Exception | None = None
        self.wake_up = Semaphore(0)


class GroupCommit:
    """A `Publisher` for the greenlets of one process.

    A greenlet that finds no leader becomes the leader: it publishes its own entry and all waiting ones in one call,
    then passes the lead to the first entry that arrived meanwhile. So a lone request is never delayed, and there is no
    background task that could die. `observe` gets the size of every batch. Greenlets switch only where they wait, so no
    lock is needed.
    """

    def __init__(self, journal: BatchPublisher, *, observe: Callable[[float], object] = lambda size: None) -> None:
        self._journal = journal
        self._observe = observe
        self._queue: deque[_PendingEntry] = deque()
        #: A greenlet is publishing, or `_next_leader` is about to.
        self._has_leader = False
        self._next_leader: _PendingEntry | None = None

    def publish(self, entry: Entry, *, now: float) -> EntryResult:
        """Make the entry durable; its result. Raises what the journal raised for it."""
        pending = _PendingEntry(entry, now)
        self._queue.append(pending)
        if self._has_leader:
            self._wait(pending)
        if pending.result is None and pending.error is None:
            self._lead()
        if pending.error is not None:
            raise pending.error
        if pending.result is None:
            raise AssertionError("the leader's own entry is in its batch")
        return pending.result

    def _lead(self) -> None:
        """Publish the waiting entries; the caller's own entry is the first of the queue."""
        self._has_leader, self._next_leader = True, None
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
        try:
            self._commit(batch)
        finally:
            error = batch[-1].error
            if error is not None and unanswered(error):
                # These waited as long as the batch did; one more try each would add up for the last of them.
                _fail(self._queue, error)
                batch += self._queue
                self._queue.clear()
            for pending in batch[1:]:
                pending.wake_up.release()
            self._pass_lead()

    def _wait(self, pending: _PendingEntry) -> None:
        try:
            pending.wake_up.acquire()
        except BaseException:
            # Killed while waiting, perhaps just before it was to lead.
            if pending in self._queue:
                self._queue.remove(pending)
            if self._next_leader is pending:
                self._pass_lead()
            raise

    def _pass_lead(self) -> None:
        """Make the first of the queue the next leader; until it runs no other greenlet leads."""
        self._next_leader = self._queue[0] if self._queue else None
        self._has_leader = self._next_leader is not None
        if self._next_leader is not None:
            self._next_leader.wake_up.release()

    def _commit(self, batch: list[_PendingEntry]) -> None:
        self._observe(len(batch))
        try:
            results = self._journal.publish_batch([pending.entry for pending in batch], now=batch[0].now)
        except Exception as error:  # noqa: BLE001 - every waiting request raises it
            if len(batch) > 1 and not unanswered(error):
                self._commit_one_by_one(batch)
            else:
                _fail(batch, error)
        except BaseException:
            # Only the leader is being killed; the others can still answer.
            _fail(batch, StateUnavailable("this process is stopping. Remedy: send it again"))
            raise
        else:
            for pending, result in zip(batch, results, strict=True):
                pending.result = result

    def _commit_one_by_one(self, batch: list[_PendingEntry]) -> None:
        # One bad entry may have failed the whole call; entries that it did publish become duplicates.
        for number, pending in enumerate(batch):
            self._commit([pending])
            if pending.error is not None and unanswered(pending.error):
                _fail(batch[number + 1 :], pending.error)
                return


class PartitionedCommit:
    """A group commit for each partition: one whose server is away delays and refuses no others.

    An entry of several partitions is published alone. `observe`: see `GroupCommit`.
    """

    def __init__(
        self, journal: PartitionedPublisher, *, observe: Callable[[float], object] = lambda size: None
    ) -> None:
        self._journal, self._observe = journal, observe
        self._groups: dict[int, GroupCommit] = {}

    def publish(self, entry: Entry, *, now: float) -> EntryResult:
        """Make the entry durable; its result. Raises what the journal raised for it."""
        places = self._journal.places(entry)
        if len(places) > 1:
            return self._journal.publish_batch([entry], now=now)[0]
        group = self._groups.get(places[0])
        if group is None:
            group = self._groups[places[0]] = GroupCommit(self._journal, observe=self._observe)
        return group.publish(entry, now=now)


def _fail(waiting: Iterable[_PendingEntry], error: Exception) -> None:
    for pending in waiting:
        pending.error = error
