"""Counts of the last steps, kept in memory: those of a finished step do not change, so they are read once."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import redis

from bridge.state import counts
from bridge.state.errors import state_errors

__all__ = ["CountedSteps", "Resolution"]

#: A step is finished this long after its end, seconds: the clocks of processes differ.
_SETTLED_SECONDS = 60.0
#: Hashes that one round trip reads.
_HASHES = 240


@dataclass(frozen=True, slots=True)
class Resolution:
    """Steps of `fold` minutes, hours or days; `number` of them are kept."""

    step: counts.Step
    fold: int
    number: int

    @property
    def seconds(self) -> int:
        """Length of a step."""
        return counts.SECONDS[self.step] * self.fold


@dataclass(slots=True)
class _Ring:
    """Field of a count -> a number for each place; the step in each place, None for none or one in progress."""

    numbers: dict[str, array[int]] = field(default_factory=dict)
    held: list[int | None] = field(default_factory=list)


class CountedSteps:
    """The counts of one web process, by their names in the state server and by resolution. Any thread may ask."""

    def __init__(self) -> None:
        self._rings: dict[tuple[counts.Name, Resolution], _Ring] = {}
        self._lock = threading.Lock()

    def read(
        self, client: redis.Redis, name: counts.Name, resolution: Resolution, *, until: float, partitions: int
    ) -> dict[str, list[int]]:
        """Field -> its numbers, oldest step first; the last step is that of `until` (UNIX seconds).

        Raises `StateUnavailable`.
        """
        last = int(until // resolution.seconds)
        steps = range(last - resolution.number + 1, last + 1)
        with self._lock:
            ring = self._rings.setdefault((name, resolution), _Ring(held=[None] * resolution.number))
            unknown = [step for step in steps if ring.held[step % resolution.number] != step]
            for step, sums in _read(client, name, resolution, unknown, partitions):
                is_finished = until >= (step + 1) * resolution.seconds + _SETTLED_SECONDS
                _keep(ring, step, sums, is_finished=is_finished)
            first = steps[0] % resolution.number
            return {field: [*numbers[first:], *numbers[:first]] for field, numbers in ring.numbers.items()}


def _read(
    client: redis.Redis, name: counts.Name, resolution: Resolution, steps: Sequence[int], partitions: int
) -> Iterator[tuple[int, dict[str, int]]]:
    """(step, field -> number) of each step."""
    per_step = resolution.fold * partitions
    at_once = max(1, _HASHES // per_step)
    for start in range(0, len(steps), at_once):
        part = steps[start : start + at_once]
        with state_errors():
            pipe = client.pipeline(transaction=False)
            for step in part:
                for place in range(step * resolution.fold, (step + 1) * resolution.fold):
                    for partition in range(partitions):
                        pipe.hgetall(name(partition, place, resolution.step))
            answers: list[dict[bytes, bytes]] = pipe.execute()
        for index, step in enumerate(part):
            yield step, _sums(answers[index * per_step : (index + 1) * per_step])


def _sums(hashes: Sequence[dict[bytes, bytes]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in hashes:
        for raw, number in each.items():
            name = raw.decode()
            sums[name] = sums.get(name, 0) + int(number)
    return sums


def _keep(ring: _Ring, step: int, sums: dict[str, int], *, is_finished: bool) -> None:
    place = step % len(ring.held)
    for numbers in ring.numbers.values():
        numbers[place] = 0
    for name, number in sums.items():
        if name not in ring.numbers:
            ring.numbers[name] = array("q", bytes(8 * len(ring.held)))
        ring.numbers[name][place] = number
    ring.held[place] = step if is_finished else None
