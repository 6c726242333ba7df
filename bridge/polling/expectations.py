"""Expectations: attempts that operators registered, with a deadline and a label for the event.

Each has a watch with the same key, by which it is rechecked (`bridge/polling/watches.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import cast

import redis

from bridge.polling.watches import EXPECTATION, Watches
from bridge.sdk.records import Pointer
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.negative_cache import NegativeCache
from bridge.text import cleaned

__all__ = ["Expectation", "Expectations"]

#: How long a process may assume that a source has no expectations, seconds. Whoever registers one waits that long
#: before reporting success.
KNOWN_AFTER_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One expectation. Moments are UNIX seconds."""

    #: The attempt id, or a vendor's key that begins with `?`.
    key: str
    #: What the vendor's API needs to find the attempt.
    reference: Mapping[str, str]
    #: The operator's own words.
    label: str | None
    #: When the attempt is rechecked first.
    due: float
    #: When it is announced as overdue.
    deadline: float
    #: When it was registered.
    registered_at: float
    #: `open`; `overdue` (announced; a late attempt still meets it); `expanded` (replaced by one for each candidate).
    state: str = "open"
    #: The bytes that it was read from: the state server compares them.
    stored: bytes | None = field(default=None, compare=False, repr=False)


class Expectations:
    """The expectations of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, watches: Watches) -> None:
        self.client = client
        self._watches = watches
        self._read = scripts.register(client, __file__, "read_expectations")
        self._set_state = scripts.register(client, __file__, "set_expectation_state")
        self._empty = NegativeCache(KNOWN_AFTER_SECONDS)

    def expect(
        self, source: str, pointers: Sequence[Pointer], *, label: str | None, due: float, deadline: float, now: float
    ) -> tuple[Expectation, ...]:
        """Expect the attempts that the pointers name; registering one again replaces label, due time and deadline."""
        expected = tuple(
            Expectation(
                key=pointer.key,
                reference=pointer.reference,
                label=label,
                due=due,
                deadline=deadline,
                registered_at=now,
            )
            for pointer in pointers
        )
        if not expected:
            return ()
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hset(keys.expected(source), mapping={item.key: _json(item) for item in expected})
            pipe.zadd(keys.deadlines(source), {item.key: item.deadline for item in expected})
            pipe.execute()
        self._watches.expect(source, pointers, due=due, deadline=deadline, now=now)
        self._empty.forget(source)
        return expected

    def matching(self, source: str, candidates: Sequence[str], *, now: float) -> dict[str, Expectation]:
        """The expectations under these keys, in one round trip; in none while the source is known to have none."""
        if not candidates or self._empty.is_known_empty(source, now):
            return {}
        with state_errors():
            values = cast("list[bytes | None] | None", self._read(keys=_keys(source), args=list(candidates)))
        self._empty.record(source, now, empty=values is None)
        if values is None:
            return {}
        return {key: _expectation(key, value) for key, value in zip(candidates, values, strict=True) if value}

    def mark_met(self, source: str, met: Sequence[str], *, now: float) -> None:
        """Remove expectations whose attempts have come, and their watches unless a record keeps the attempt open."""
        if not met:
            return
        with state_errors():
            pipe = self.client.pipeline(transaction=True)
            pipe.hdel(keys.expected(source), *met)
            pipe.zrem(keys.deadlines(source), *met)
            pipe.execute()
        self._watches.close_many(source, met, now=now, kind=EXPECTATION)

    def cancel(self, source: str, key: str, *, now: float) -> bool:
        """Remove an expectation; False if there was none."""
        with state_errors():
            known = bool(self.client.hexists(keys.expected(source), key))
        self.mark_met(source, (key,), now=now)
        return known

    def overdue(self, source: str, *, before: float, limit: int = 100) -> tuple[Expectation, ...]:
        """Expectations whose deadline is before a moment and that are not announced as overdue yet."""
        with state_errors():
            late = cast(
                "list[bytes]",
                self.client.zrangebyscore(keys.deadlines(source), "-inf", repr(before), start=0, num=limit),
            )
            values = cast("list[bytes | None]", self.client.hmget(keys.expected(source), late)) if late else []
        return tuple(_expectation(key.decode(), value) for key, value in zip(late, values, strict=True) if value)

    def set_state(self, source: str, expectation: Expectation, state: str) -> bool:
        """Change the state to `overdue` or `expanded`; False if it was met, replaced or cancelled meanwhile."""
        new = _json(replace(expectation, state=state))
        with state_errors():
            stored = expectation.stored or _json(expectation)
            return bool(self._set_state(keys=_keys(source), args=[expectation.key, stored, new]))

    def get(self, source: str, key: str) -> Expectation | None:
        """One expectation in any state, or None."""
        with state_errors():
            value = cast("bytes | None", self.client.hget(keys.expected(source), key))
        return None if value is None else _expectation(key, value)

    def list(self, source: str) -> tuple[Expectation, ...]:
        """All expectations, the earliest deadline first."""
        with state_errors():
            stored = cast("dict[bytes, bytes]", self.client.hgetall(keys.expected(source)))
        expected = (_expectation(key.decode(), value) for key, value in stored.items())
        return tuple(sorted(expected, key=lambda item: (item.deadline, item.key)))

    def forget(self, source: str, *, before: float) -> int:
        """Delete overdue and expanded expectations with a deadline before a moment; the number deleted."""
        old = [item.key for item in self.list(source) if item.state != "open" and item.deadline < before]
        if old:
            with state_errors():
                self.client.hdel(keys.expected(source), *old)
        return len(old)


def _keys(source: str) -> list[str]:
    return [keys.expected(source), keys.deadlines(source)]


def _json(expectation: Expectation) -> str:
    members = asdict(expectation)
    del members["key"], members["stored"]
    return json.dumps({**members, "reference": dict(members["reference"])}, separators=(",", ":"), sort_keys=True)


def _expectation(key: str, value: bytes) -> Expectation:
    facts = json.loads(value)
    # Older versions stored what no event can hold: half a character must cost no attempt.
    facts["label"] = facts["label"] and cleaned(facts["label"])
    facts["reference"] = _cleaned(facts["reference"])
    return Expectation(key=key, stored=value, **facts)


def _cleaned(reference: Mapping[str, str]) -> dict[str, str]:
    return {cleaned(name): cleaned(text) for name, text in reference.items()}
