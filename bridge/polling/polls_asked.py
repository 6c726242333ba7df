"""Polls that operators have asked for: the worker starts them with its next short tick."""

from __future__ import annotations

from typing import cast

import redis

from bridge.state import keys
from bridge.state.errors import state_errors

__all__ = ["PollsAsked"]


class PollsAsked:
    """The sources to poll now. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def ask(self, source: str) -> None:
        """Have the source polled as soon as a worker can."""
        with state_errors():
            self._client.sadd(keys.polls_asked(), source)

    def all(self) -> tuple[str, ...]:
        """The names of the sources whose poll has not begun."""
        with state_errors():
            names = cast("set[bytes]", self._client.smembers(keys.polls_asked()))
        return tuple(sorted(name.decode() for name in names))

    def take(self, source: str) -> bool:
        """Whether a poll of the source was asked for; if so, it now counts as begun."""
        with state_errors():
            return bool(self._client.srem(keys.polls_asked(), source))
