"""What operators expect: attempts that should be completed by a deadline, each with a label for the event.

The rechecks themselves are watches under the same key (`bridge/polling/watches.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast

import redis

from bridge.polling.watches import Watches
from bridge.sdk.records import Pointer
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.negative_cache import KnownEmpty

__all__ = ["Expectation", "Expectations"]

#: For how long a process may believe that nothing is expected before it asks again, seconds. Whoever registers an
#: expectation waits as long before saying that it is done.
KNOWN_AFTER_SECONDS = 0.25

# KEYS[1] hash key -> JSON, KEYS[2] sorted set key -> deadline of those not yet met, overdue or expanded.
# ARGV: keys. Answer: none at all -> false, otherwise their values (or false each).
_READ = """
if redis.call("HLEN", KEYS[1]) == 0 then return false end
return redis.call("HMGET", KEYS[1], unpack(ARGV))
"""

# ARGV: key, the JSON it must still have, the new JSON. Answer: changed? The deadline no longer counts.
_SETTLE = """
if redis.call("HGET", KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[3])
redis.call("ZREM", KEYS[2], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One expectation. `due`, `deadline`, `registered_at`: UNIX seconds. `label`: the operator's own words, if any.

    `state`: `open`, `overdue` (announced, and still recognised when it comes), or `expanded` (a schedule whose
    candidates are expected one by one).
    """

    key: str
    reference: Mapping[str, str]
    label: str | None
    due: float
    deadline: float
    registered_at: float
    state: str = "open"


class Expectations:
    """The expectations of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, watches: Watches) -> None:
        self.client = client
        self._watches = watches
        self._read = client.register_script(_READ)
        self._settle = client.register_script(_SETTLE)
        self._empty = KnownEmpty(KNOWN_AFTER_SECONDS)

    def expect(
        self, source: str, pointers: Sequence[Pointer], *, label: str | None, due: float, deadline: float, now: float
    ) -> tuple[Expectation, ...]:
        """Expect what the pointers name; expecting the same again takes the new label, due time and deadline."""
        made = tuple(
            Expectation(
                key=one.key, reference=one.reference, label=label, due=due, deadline=deadline, registered_at=now
            )
            for one in pointers
        )
        if not made:
            return ()
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.expected(source), mapping={one.key: _json(one) for one in made})
            pipe.zadd(keys.deadlines(source), {one.key: one.deadline for one in made})
            pipe.execute()
        self._watches.expect(source, pointers, due=due, deadline=deadline, now=now)
        self._empty.forget(source)
        return made

    def matching(self, source: str, found: Sequence[str], *, now: float) -> dict[str, Expectation]:
        """Those of the keys that are expected, in one round trip or, where nothing is expected, mostly none."""
        if not found or self._empty.believed(source, now):
            return {}
        with state_errors():
            values = cast("list[bytes | None] | None", self._read(keys=_keys(source), args=list(found)))
        self._empty.heard(source, now, empty=values is None)
        if values is None:
            return {}
        return {key: _expectation(key, value) for key, value in zip(found, values, strict=True) if value}

    def mark_met(self, source: str, found: Sequence[str], *, now: float) -> None:
        """These have come: no longer expected, and no longer looked for unless a record keeps them open."""
        if not found:
            return
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hdel(keys.expected(source), *found)
            pipe.zrem(keys.deadlines(source), *found)
            pipe.execute()
        self._watches.close_many(source, found, now=now, kind="expectation")

    def cancel(self, source: str, key: str, *, now: float) -> bool:
        """Expect it no longer; False when it was not expected."""
        with state_errors():
            known = bool(self.client.hexists(keys.expected(source), key))
        self.mark_met(source, (key,), now=now)
        return known

    def overdue(self, source: str, *, before: float, limit: int = 100) -> tuple[Expectation, ...]:
        """Those whose deadline lies before a moment and that nobody has announced as overdue."""
        with state_errors():
            late = cast(
                "list[bytes]",
                self.client.zrangebyscore(keys.deadlines(source), "-inf", repr(before), start=0, num=limit),
            )
            values = cast("list[bytes | None]", self.client.hmget(keys.expected(source), late)) if late else []
        return tuple(_expectation(key.decode(), value) for key, value in zip(late, values, strict=True) if value)

    def settle(self, source: str, expectation: Expectation, state: str) -> bool:
        """Note `overdue` or `expanded`; False when it was met, renewed or cancelled meanwhile."""
        new = _json(replace(expectation, state=state))
        with state_errors():
            return bool(self._settle(keys=_keys(source), args=[expectation.key, _json(expectation), new]))

    def get(self, source: str, key: str) -> Expectation | None:
        """One expectation, open or overdue."""
        with state_errors():
            value = cast("bytes | None", self.client.hget(keys.expected(source), key))
        return None if value is None else _expectation(key, value)

    def list(self, source: str) -> tuple[Expectation, ...]:
        """All expectations, the earliest deadline first."""
        with state_errors():
            found = cast("dict[bytes, bytes]", self.client.hgetall(keys.expected(source)))
        every = (_expectation(key.decode(), value) for key, value in found.items())
        return tuple(sorted(every, key=lambda one: (one.deadline, one.key)))

    def forget(self, source: str, *, before: float) -> int:
        """Drop what was overdue or expanded and has a deadline before a moment; how many."""
        old = [one.key for one in self.list(source) if one.state != "open" and one.deadline < before]
        if old:
            with state_errors():
                self.client.hdel(keys.expected(source), *old)
        return len(old)


def _keys(source: str) -> list[str]:
    return [keys.expected(source), keys.deadlines(source)]


def _json(expectation: Expectation) -> str:
    facts = asdict(expectation)
    del facts["key"]
    return json.dumps({**facts, "reference": dict(facts["reference"])}, separators=(",", ":"), sort_keys=True)


def _expectation(key: str, value: bytes) -> Expectation:
    return Expectation(key=key, **json.loads(value))
