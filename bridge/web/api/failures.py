"""Failed logins: after too many from one address, or in all, further ones are refused for the rest of the minute."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import redis

from bridge.errors import StateUnavailable
from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["FailedLogins"]

#: Failures a minute.
PER_ADDRESS, OVERALL = 30, 300
_SECONDS = 60
_ALL = "all"


class FailedLogins:
    """Counts failures in the state, for all processes. A correct login costs no call.

    A process learns what the others have counted with the first failure that it sees itself.
    """

    def __init__(self, client: redis.Redis, now: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._minute = 0
        self._counts: dict[str, int] = {}

    def wait(self, address: str) -> int:
        """Seconds for which logins from this address are not checked; 0: they are."""
        return self._left() if self._count(_digest(address)) >= PER_ADDRESS else 0

    def record(self, address: str) -> int:
        """Count a failure, and return the seconds for which further ones are refused, 0 if they are not yet."""
        names = (_digest(address), _ALL)
        stored = self._stored(names)
        for name, number in zip(names, stored, strict=True):
            self._counts[name] = max(self._count(name) + 1, number)
        limited = self._counts[names[0]] > PER_ADDRESS or self._counts[_ALL] > OVERALL
        return self._left() if limited else 0

    def _stored(self, names: tuple[str, ...]) -> list[int]:
        minute = int(self._now()) // _SECONDS
        try:
            with state_errors():
                pipeline = self._client.pipeline(transaction=True)
                for name in names:
                    pipeline.incr(keys.failed_logins(minute, name))
                    pipeline.expire(keys.failed_logins(minute, name), 2 * _SECONDS)
                return [int(number) for number in pipeline.execute()[::2]]
        except StateUnavailable:
            # Refusing works without the state: this process still counts its own.
            return [0] * len(names)

    def _count(self, name: str) -> int:
        minute = int(self._now()) // _SECONDS
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        return self._counts.get(name, 0)

    def _left(self) -> int:
        return _SECONDS - int(self._now()) % _SECONDS


def _digest(address: str) -> str:
    # An address identifies a person's connection: the state holds only its digest.
    return sha256(address.encode()).hexdigest()[:16]
