"""The idle lanes of a process wait together: one blocking read of the journals and one poll, not one each.

A lane arms its wait, checks once more that there is nothing to do, and then waits. The watch wakes lanes when a journal
has changed, when a retry is due that they may not have seen, and when their subscription is paused or resumed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, cast

import redis
import structlog

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["POLL_SECONDS", "IdleLane", "IdleLanes"]

#: Seconds from one poll to the next, also while a lane waits for the end of a pause.
POLL_SECONDS, POLL_STOPPED_SECONDS = 2.0, 1.0
_AFTER_FAULT_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class IdleLane:
    """The wait of one lane, for its thread."""

    def __init__(self, watch: IdleLanes, subscription: str, partition: int, lane: str) -> None:
        """`lane`: how it confirms a pause (see admit.lua)."""
        self.subscription, self.partition, self.lane = subscription, partition, lane
        #: Whether it waits for the end of a pause, not for events.
        self.stopped = False
        self._watch = watch
        self._rung, self._by_journal = threading.Event(), False
        #: Whether the lane has something else to do: until this is reset, `wait` returns immediately.
        self.urged = False

    def arm(self, *, stopped: bool = False) -> None:
        """Let whatever happens from now on end `wait`. `stopped`: the subscription is paused or disabled."""
        self.stopped, self._by_journal = stopped, False
        self._rung.clear()
        self._watch.add(self)
        if self.urged:
            self._rung.set()

    def disarm(self) -> None:
        """Note that there is something to do, so no `wait` follows."""
        self._watch.discard(self)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; whether a journal has changed."""
        self._rung.wait(seconds)
        self._watch.discard(self)
        return self._by_journal

    def urge(self) -> None:
        """End the wait, or the next one, for something other than events. Thread-safe."""
        self.urged = True
        self._rung.set()

    def ring(self, *, by_journal: bool = False) -> None:
        """End the wait. Thread-safe."""
        self._by_journal = self._by_journal or by_journal
        self._rung.set()


class IdleLanes:
    """The watch over all `partitions`. `run` needs its own thread; the other methods are thread-safe."""

    def __init__(
        self, *, state: redis.Redis, blocking_client: redis.Redis, partitions: int, now: Callable[[], float]
    ) -> None:
        """`now`: UNIX seconds of the state server."""
        self._state, self._client, self._now = state, blocking_client, now
        self._journals = [keys.journal(partition) for partition in range(partitions)]
        self._armed: set[IdleLane] = set()
        self._changed, self._ended = threading.Condition(), False
        #: Journal -> its newest entry; empty if it has to be read.
        self._newest: dict[str, bytes] = {}
        self._polled = -POLL_SECONDS

    def add(self, lane: IdleLane) -> None:
        with self._changed:
            self._armed.add(lane)
            self._changed.notify_all()
            ended = self._ended
        if ended:
            lane.ring()

    def discard(self, lane: IdleLane) -> None:
        with self._changed:
            self._armed.discard(lane)

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop`; then call `end`."""
        while not stop.is_set():
            try:
                with state_errors():
                    self.step()
                continue
            except StateUnavailable:
                pass  # each lane meets the error itself, and reports it
            except Exception as error:  # noqa: BLE001 - without the watch no idle lane would see an event in time
                _log.error("idle_watch_failed", exc_info=error)
            self._ring_readers(self._journals)
            stop.wait(_AFTER_FAULT_SECONDS)

    def end(self) -> None:
        """Let no lane wait any longer."""
        with self._changed:
            self._ended = True
        self._ring(self._waiting())

    def step(self, *, block: float = POLL_SECONDS) -> None:
        """Poll if it is time to; wait for an event, or for a lane that waits for one, for at most `block` seconds.

        Raises the errors of redis-py.
        """
        lanes = self._waiting()
        stopped = sum(lane.stopped for lane in lanes)
        reading = len(lanes) > stopped
        block = min(block, POLL_STOPPED_SECONDS if stopped else POLL_SECONDS)
        if lanes and (clock.monotonic() - self._polled >= block or (reading and not self._newest)):
            self._poll(lanes)
        if not reading:
            with self._changed:
                self._changed.wait_for(lambda: any(not lane.stopped for lane in self._armed), block)
            return
        positions = cast("dict[Any, Any]", self._newest)
        answer = self._client.xread(positions, count=1, block=max(1, int(block * 1000)))
        if answer:
            # Much may come until a lane is idle again: the ends of the journals are then read again.
            self._newest.clear()
            self._ring_readers({name.decode() for name, _ in cast("list[tuple[bytes, object]]", answer)})

    def _poll(self, lanes: Sequence[IdleLane]) -> None:
        self._polled = clock.monotonic()
        pipe = self._state.pipeline(transaction=False)
        for journal in self._journals:
            pipe.xrevrange(journal, count=1)
        for lane in lanes:
            pipe.zrange(keys.retry(lane.subscription, lane.partition), 0, 0, withscores=True)
            pipe.hmget(keys.subscription_state(lane.subscription), "paused", "disabled")
            if lane.stopped:
                pipe.hexists(keys.pauses(lane.subscription), lane.lane)
        # On a cluster, what a server that is away does not answer is an error in its place.
        answers = iter(pipe.execute(raise_on_error=False))
        newest = {journal: _end(next(answers), self._newest.get(journal)) for journal in self._journals}
        changed = {journal for journal, entry in newest.items() if entry != self._newest.get(journal)}
        # Including lanes that armed meanwhile: lanes that arm later find these entries themselves.
        self._newest = newest
        self._ring_readers(changed)
        now = self._now()
        for lane in lanes:
            first, marks = next(answers), next(answers)
            confirmed = lane.stopped and next(answers)
            if any(isinstance(answer, Exception) for answer in (first, marks, confirmed)):
                # The lane meets the error itself.
                self._ring([lane])
                continue
            paused, disabled = marks
            unconfirmed = lane.stopped and not confirmed and paused
            halted = bool(paused or disabled)
            if unconfirmed or halted != lane.stopped or (not halted and first and first[0][1] <= now):
                self._ring([lane])

    def _waiting(self) -> list[IdleLane]:
        with self._changed:
            return list(self._armed)

    def _ring_readers(self, journals: Collection[str]) -> None:
        lanes = (lane for lane in self._waiting() if not lane.stopped and keys.journal(lane.partition) in journals)
        self._ring(lanes, by_journal=True)

    def _ring(self, lanes: Iterable[IdleLane], *, by_journal: bool = False) -> None:
        for lane in lanes:
            self.discard(lane)
            lane.ring(by_journal=by_journal)


def _end(answer: Any, before: bytes | None) -> bytes:
    """The newest entry of a journal; as before if its server is away."""
    if isinstance(answer, Exception):
        return before or b"0-0"
    return bytes(answer[0][0]) if answer else b"0-0"
