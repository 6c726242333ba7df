"""Tries of deliveries as they end, for those who watch: stored only while somebody watches, for about a minute.

Each is stored with an event id and fixed words, and without personal data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis

from bridge.query import Field, Fields, Glob, Number
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.stored_json import record_or_none

__all__ = ["DEAD", "DELIVERED", "FAILED", "HANDED_OVER", "EndedTry", "TryFeed", "TryReader", "try_fields"]

#: What became of a try: delivered; handed over, its receipt is awaited; failed, another one follows; given up.
DELIVERED, HANDED_OVER, FAILED, DEAD = "delivered", "handed_over", "failed", "dead"
#: Tries that are kept for readers that are behind, and seconds after which they are gone.
_MAX_KEPT, _KEPT_SECONDS = 1000, 60
#: How long a reader counts as present after its last read, and how often writers check for one, seconds.
_WATCHED_SECONDS, _CHECK_SECONDS = 10, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTry:
    """One try that ended. `at`: UNIX seconds."""

    at: float
    subscription: str
    event_id: str
    type: str
    source: str
    #: One of the four words above.
    outcome: str
    #: Why it failed, a fixed word; empty for a success.
    reason: str
    #: Status of the HTTP answer; None if there was none, or another transport.
    status: int | None
    #: How long it took.
    seconds: float
    #: Which try of the delivery it was.
    tries: int


class TryFeed:
    """Where a lane shows its tries. Raises the errors of redis-py."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._script = scripts.register(client, __file__, "show_tries")
        self._checked = 0.0
        self._is_watched = False

    def is_watched(self, now: float) -> bool:
        """Whether somebody watches; asked once a second. `now`: UNIX seconds."""
        if not 0 <= now - self._checked < _CHECK_SECONDS:
            self._checked, self._is_watched = now, bool(self._client.exists(keys.ended_tries("watched")))
        return self._is_watched

    def show(self, tries: Sequence[EndedTry]) -> None:
        """Show the tries to those who watch."""
        args: list[str | int] = [_MAX_KEPT, _KEPT_SECONDS, *(json.dumps(asdict(ended)) for ended in tries)]
        self._script(keys=[keys.ended_tries()], args=args)


class TryReader:
    """Reads what lanes show. `client`: one that may block. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._position = "0-0"

    def begin(self) -> None:
        """Make lanes show their tries, beginning within a second."""
        with state_errors():
            self._client.set(keys.ended_tries("watched"), 1, ex=_WATCHED_SECONDS)
            newest = cast("list[tuple[bytes, Any]]", self._client.xrevrange(keys.ended_tries(), count=1))
        self._position = newest[0][0].decode() if newest else "0-0"

    def read(self, block_seconds: float) -> list[EndedTry]:
        """The next tries; empty if there was none for `block_seconds`, which is less than ten."""
        with state_errors():
            self._client.set(keys.ended_tries("watched"), 1, ex=_WATCHED_SECONDS)
            positions = cast("Any", {keys.ended_tries(): self._position})
            answer = self._client.xread(positions, count=_MAX_KEPT, block=int(block_seconds * 1000))
        tries = []
        for _, items in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", answer or []):
            for entry, members in items:
                self._position = entry.decode()
                ended = record_or_none(EndedTry, members.get(b"try", b""), place=keys.ended_tries())
                if ended is not None:
                    tries.append(ended)
        return tries


def try_fields() -> Fields:
    """The fields by which tries are filtered."""
    return Fields(
        Field("subscription", Glob(), lambda ended: ended.subscription, "name of the subscription"),
        Field("event", Glob(), lambda ended: ended.event_id, "event id"),
        Field("type", Glob(), lambda ended: ended.type, "type of the event"),
        Field("source", Glob(), lambda ended: ended.source, "name of the source"),
        Field("outcome", Glob(), lambda ended: ended.outcome, "what became of it"),
        Field("reason", Glob(), lambda ended: ended.reason or None, "why it failed"),
        Field("status", Number(), lambda ended: ended.status, "status of the answer"),
        Field("seconds", Number(), lambda ended: ended.seconds, "how long it took"),
        search=lambda ended: (ended.event_id, ended.reason),
    )
