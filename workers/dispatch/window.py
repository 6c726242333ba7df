"""The sliding window of a lane: which of the events that it holds may be sent now. Pure.

The events of one attempt are sent one after another, in the order in which they were read; those of other attempts
pass them. New events pass retries: a replay of thousands must not delay what happens now. An event that may have ended
processes is sent when nothing else is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from workers.dispatch.settlement import Item
from workers.transports.contract import Outgoing

__all__ = ["Slot", "Window"]


@dataclass(frozen=True, slots=True)
class Slot:
    """An event that the window holds."""

    item: Item
    outgoing: Outgoing
    #: The claim of a retry, "" for a new event.
    claim: str = ""
    #: Whether it may have ended processes.
    alone: bool = False

    @property
    def attempt(self) -> tuple[str, str]:
        """Source and id of its attempt."""
        return self.outgoing.source, self.outgoing.attempt


class Window:
    """`limit`: most events handed to the transport; `capacity`: most events held, including those that wait."""

    def __init__(self, limit: int, capacity: int) -> None:
        self.limit, self.capacity = limit, capacity
        self._waiting: deque[Slot] = deque()
        self._under_way: dict[int, Slot] = {}
        self._attempts: set[tuple[str, str]] = set()
        self._answered: dict[int, Slot] = {}
        self._last = 0

    @property
    def sending(self) -> int:
        """Events under way."""
        return len(self._under_way)

    @property
    def waiting(self) -> int:
        """Events that were read and not yet sent."""
        return len(self._waiting)

    @property
    def retries(self) -> int:
        """Retries that are held, waiting or under way."""
        return sum(1 for slot in (*self._waiting, *self._under_way.values()) if slot.claim)

    @property
    def room(self) -> int:
        """How many events may be added; none next to one that must be sent on its own."""
        held = len(self._waiting) + len(self._under_way)
        return 0 if self._holds_one_alone() else max(0, self.capacity - held)

    def entries(self) -> set[str]:
        """The journal entries that are held, or answered and not settled."""
        held = (*self._waiting, *self._under_way.values(), *self._answered.values())
        return {slot.item.entry for slot in held if slot.item.entry}

    def add(self, slots: Sequence[Slot]) -> None:
        """Hold events, in the order in which they were read."""
        self._waiting += slots

    def startable(self, limit: int) -> list[Slot]:
        """The events that may be sent now, at most `limit`: new events in order, then retries in order."""
        free = min(limit, self.limit - len(self._under_way))
        unsettled = (*self._under_way.values(), *self._answered.values())
        if any(slot.alone for slot in unsettled):
            return []
        ready: list[Slot] = []
        busy = set(self._attempts)
        for slot in self._waiting:
            if slot.alone and (ready or unsettled):
                break
            if slot.attempt not in busy:
                ready.append(slot)
                busy.add(slot.attempt)
            if slot.alone:
                break
        return sorted(ready, key=lambda slot: bool(slot.claim))[: max(0, free)]

    def start(self, slots: Sequence[Slot]) -> list[tuple[int, Slot]]:
        """Mark the events as under way; returns (number, event) of each."""
        started = []
        chosen = {id(slot) for slot in slots}
        self._waiting = deque(slot for slot in self._waiting if id(slot) not in chosen)
        for slot in slots:
            self._last += 1
            self._under_way[self._last] = slot
            self._attempts.add(slot.attempt)
            started.append((self._last, slot))
        return started

    def answer(self, number: int) -> Slot:
        """Mark an event as answered; it is held until `settled`."""
        slot = self._under_way.pop(number)
        self._attempts.discard(slot.attempt)
        self._answered[number] = slot
        return slot

    def settled(self, numbers: Sequence[int]) -> None:
        """Drop these events, whose results are recorded."""
        for number in numbers:
            self._answered.pop(number, None)

    def recall(self, withdrawn: Sequence[int] = ()) -> list[Slot]:
        """Take out what waits here, and what waits at the transport (`withdrawn`, by number)."""
        taken = [self._under_way.pop(number) for number in withdrawn]
        self._attempts.difference_update(slot.attempt for slot in taken)
        recalled, self._waiting = [*taken, *self._waiting], deque()
        return recalled

    def recall_claims(self, before: float) -> list[Slot]:
        """Take out the waiting retries whose claim ends before this moment (UNIX seconds)."""
        old = [slot for slot in self._waiting if slot.claim and float(slot.claim) < before]
        self._waiting = deque(slot for slot in self._waiting if slot not in old) if old else self._waiting
        return old

    def _holds_one_alone(self) -> bool:
        return any(slot.alone for slot in (*self._waiting, *self._under_way.values()))
