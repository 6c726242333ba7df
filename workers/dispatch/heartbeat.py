"""The heartbeat of a dispatch process: one in each partition, next to the entries that others adopt if it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import redis

from bridge import clock
from bridge.delivery.consumers import is_alive
from bridge.state import keys
from bridge.state.cluster.slot_map import LOST

__all__ = ["Heartbeat", "raise_unless_away"]

#: Expiry of the heartbeat of the whole part, which `doctor` shows.
_PART_SECONDS = 30.0


class Heartbeat:
    """Written by one thread. Methods raise the errors of redis-py, but skip servers of a cluster that are away."""

    def __init__(
        self,
        client: redis.Redis,
        consumer: str,
        *,
        partitions: int,
        silent: float,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        """`silent`: seconds without a heartbeat after which the process counts as dead."""
        self._client, self._consumer, self._silent = client, consumer, silent
        self._own = [keys.alive(partition, consumer) for partition in range(partitions)]
        self._monotonic = monotonic
        self._beats = 0
        #: Partitions whose server did not answer the last heartbeat.
        self.away: frozenset[int] = frozenset()
        #: When each last failed to answer.
        self._unanswered: dict[int, float] = {}

    def beat(self, now: float) -> float:
        """Write it. `now`: UNIX seconds by the state server, as far as is known. Returns the state server's time."""
        milliseconds = int(self._silent * 1000)
        pipe = self._client.pipeline(transaction=False)
        for key in self._own:
            pipe.set(key, 1, px=milliseconds)
        pipe.time()
        # For people, and for processes of the version before this one; half as often is enough.
        if self._beats % 2 == 0:
            pipe.set(keys.heartbeat("dispatch"), f"{now:.3f}", px=max(milliseconds, int(_PART_SECONDS * 1000)))
            pipe.set(keys.heartbeat(f"dispatch:{self._consumer}"), 1, px=milliseconds)
        try:
            answers = pipe.execute(raise_on_error=False)
        except LOST as error:
            self._note([error] * len(self._own))
            raise
        self._note(answers[: len(self._own)])
        raise_unless_away(answers)
        self._beats += 1
        moment = answers[len(self._own)]
        seconds, micros = self._client.time() if isinstance(moment, Exception) else moment
        return float(seconds + micros / 1e6)

    def _note(self, answers: Sequence[object]) -> None:
        self.away = frozenset(place for place, answer in enumerate(answers) if isinstance(answer, Exception))
        self._unanswered |= dict.fromkeys(self.away, self._monotonic())

    def may_adopt(self, partition: int) -> bool:
        """Whether consumers without a heartbeat are dead: after an outage, all get time to write theirs."""
        lost = self._unanswered.get(partition)
        return lost is None or self._monotonic() - lost >= self._silent

    def is_alive(self, consumer: str, partition: int) -> bool:
        """Whether the process of a consumer has a current heartbeat."""
        return is_alive(self._client, consumer, partition, self._silent)

    def leave(self) -> None:
        """Remove it, so that others adopt pending entries at once."""
        pipe = self._client.pipeline(transaction=False)
        for key in (*self._own, keys.heartbeat(f"dispatch:{self._consumer}")):
            pipe.delete(key)
        pipe.execute()


def raise_unless_away(answers: Sequence[object]) -> None:
    """Raise an error among the answers of a pipeline, unless only some servers of a cluster are away."""
    problems = [answer for answer in answers if isinstance(answer, Exception)]
    for problem in problems:
        if len(problems) == len(answers) or not isinstance(problem, LOST):
            raise problem
