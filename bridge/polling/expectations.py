"""Expectations: attempts that operators registered, with a deadline and a label for the event.

Each has a watch with the same key, by which it is rechecked (`bridge/polling/watches.py`). One script stores both, so
that they have the same times.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import redis

from bridge.polling.open_watch import plausible_moment, read_reference, reference_json
from bridge.polling.watches import Watches, chunks, watch_keys
from bridge.sdk.records import Pointer
from bridge.sdk.spelling import folded_key
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from bridge.state.negative_cache import NegativeCache
from bridge.state.stored_json import UnreadableRecord, json_object, log_unreadable, to_members
from bridge.text import cleaned

__all__ = ["Expectation", "Expectations"]

#: How long a process may assume that a source has no expectations, seconds. Whoever registers one waits that long
#: before reporting success.
KNOWN_AFTER_SECONDS = 0.25
#: Up to this many expectations of a source are read one by one to count the overdue ones.
_COUNTED = 10_000


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
    #: Key of the expectation that this one is a candidate of; None: an operator registered it.
    parent: str | None = None
    #: Members of a later version, and the bytes that it was read from: the state server compares them.
    later: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    stored: bytes | None = field(default=None, compare=False, repr=False)


class Expectations:
    """The expectations of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, watches: Watches) -> None:
        self.client = client
        self._watches = watches
        self._read = scripts.register(client, __file__, "read_expectations", read_only=True)
        self._set_state = scripts.register(client, __file__, "set_expectation_state")
        self._register, self._meet, self._cancel = (
            scripts.register(client, __file__, "watch_queues", name)
            for name in ("register_expectations", "meet_expectations", "cancel_watches")
        )
        self._empty = NegativeCache(KNOWN_AFTER_SECONDS)

    def expect(
        self,
        source: str,
        pointers: Sequence[Pointer],
        *,
        label: str | None,
        due: float,
        deadline: float,
        now: float,
        parent: str | None = None,
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
                parent=parent,
            )
            for pointer in pointers
        )
        self.register(source, expected, now=now)
        return expected

    def register(self, source: str, expected: Sequence[Expectation], *, now: float) -> None:
        """Store expectations and their watches, in parts: each is stored whole or not at all."""
        for part in chunks(expected):
            args = [repr(now)]
            for item in part:
                args += [item.key, _json(item), repr(item.due), repr(item.deadline), reference_json(item.reference)]
                args.append(folded_key(item.key))
            with state_errors():
                self._register(keys=_keys(source), args=args)
            self._watches.note_opened(source)
            self._empty.forget(source)

    def matching(self, source: str, candidates: Sequence[str], *, now: float) -> dict[str, Expectation]:
        """Key -> the expectation under it or under another spelling of it, which may be another key.

        In few round trips; in none while the source is known to have no expectations.
        """
        result: dict[str, Expectation] = {}
        if self._empty.is_known_empty(source, now):
            return result
        for part in chunks(candidates):
            args = [text for key in part for text in (key, folded_key(key))]
            with state_errors():
                answer = cast(
                    "builtins.list[bytes] | None",
                    self._read(keys=[keys.expected(source), keys.expected_spellings(source)], args=args),
                )
            self._empty.record(source, now, empty=answer is None)
            if answer is None:
                break
            for key, registered, value in zip(part, answer[::2], answer[1::2], strict=True):
                for item in _expectations(source, [(registered.decode(), value or None)]):
                    result[key] = item
        return result

    def mark_met(
        self,
        source: str,
        met: Sequence[Expectation],
        *,
        new: Collection[str] = (),
        as_of: int | None = None,
    ) -> None:
        """Remove expectations whose attempts have come, and their watches unless a record keeps the attempt open.

        One that was registered again since it was read stays. `new`: keys for which something new was published. A
        watch that a webhook announced stays if its key is not in `new`, or if it was urged after version `as_of`.
        """
        for part in chunks(met):
            args: builtins.list[str | bytes] = ["" if as_of is None else str(as_of)]
            for item in part:
                args += [item.key, folded_key(item.key), item.stored or _json(item), "1" if item.key in new else ""]
            with state_errors():
                self._meet(keys=_keys(source), args=args)

    def cancel(self, source: str, cancelled: Sequence[str]) -> builtins.list[bool]:
        """Remove expectations and watches with these keys; for each key whether there was one."""
        known: builtins.list[bool] = []
        for part in chunks(cancelled):
            with state_errors():
                args = [text for key in part for text in (key, folded_key(key))]
                *answers, _left = cast("builtins.list[int]", self._cancel(keys=_keys(source), args=args))
            known += map(bool, answers)
        return known

    def overdue(self, source: str, *, before: float, limit: int = 100) -> tuple[Expectation, ...]:
        """Expectations whose deadline is before a moment and that have not been announced as overdue."""
        with state_errors():
            late = cast(
                "builtins.list[bytes]",
                self.client.zrangebyscore(keys.deadlines(source), "-inf", repr(before), start=0, num=limit),
            )
            values = cast("builtins.list[bytes | None]", self.client.hmget(keys.expected(source), late)) if late else []
            result = tuple(_expectations(source, zip((key.decode() for key in late), values, strict=True)))
            if len(result) < len(late):
                # An unreadable one would be overdue for ever, ahead of all others.
                readable = {item.key.encode() for item in result}
                self.client.zrem(keys.deadlines(source), *(key for key in late if key not in readable))
        return result

    def set_state(self, source: str, expectation: Expectation, state: str) -> bool:
        """Change the state to `overdue` or `expanded`; False if it was met, replaced or cancelled meanwhile."""
        new = _json(replace(expectation, state=state))
        with state_errors():
            stored = expectation.stored or _json(expectation)
            return bool(
                self._set_state(
                    keys=[keys.expected(source), keys.deadlines(source)], args=[expectation.key, stored, new]
                )
            )

    def get(self, source: str, key: str) -> Expectation | None:
        """One expectation in any state, or None."""
        with state_errors():
            value = cast("bytes | None", self.client.hget(keys.expected(source), key))
        return next(_expectations(source, [(key, value)]), None)

    def list(self, source: str) -> tuple[Expectation, ...]:
        """All expectations, the earliest deadline first. An unreadable one is left out and logged."""
        with state_errors():
            stored = cast("dict[bytes, bytes]", self.client.hgetall(keys.expected(source)))
        expected = _expectations(source, ((key.decode(), value) for key, value in stored.items()))
        return tuple(sorted(expected, key=lambda item: (item.deadline, item.key)))

    def counts(self, sources: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(open, overdue) of each source. Of more than `_COUNTED`, overdue includes those that others have replaced."""
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for source in sources:
                pipe.hlen(keys.expected(source))
                pipe.zcard(keys.deadlines(source))
            sizes = iter(cast("builtins.list[int]", pipe.execute() if sources else []))
        return {
            source: self._counted(source, *sizes_of) for source, *sizes_of in zip(sources, sizes, sizes, strict=True)
        }

    def _counted(self, source: str, every: int, waiting: int) -> tuple[int, int]:
        late = max(every - waiting, 0)
        if late and every <= _COUNTED:
            late = sum(item.state == "overdue" for item in self.list(source))
        return waiting, late

    def forget(self, source: str, *, before: float) -> int:
        """Delete overdue and expanded expectations with a deadline before a moment; returns the number deleted."""
        old = [item.key for item in self.list(source) if item.state != "open" and item.deadline < before]
        for part in chunks(old):
            with state_errors():
                pipe = self.client.pipeline(transaction=True)
                pipe.hdel(keys.expected(source), *part)
                pipe.hdel(keys.expected_spellings(source), *map(folded_key, part))
                pipe.execute()
        return len(old)


_MEMBERS = frozenset(member.name for member in fields(Expectation))


def _keys(source: str) -> builtins.list[str]:
    return [*watch_keys(source), keys.expected_spellings(source)]


def _json(expectation: Expectation) -> str:
    members = to_members(expectation)
    del members["key"], members["stored"]
    if members["parent"] is None:
        del members["parent"]
    return json.dumps({**members, "reference": dict(members["reference"])}, separators=(",", ":"), sort_keys=True)


def _expectations(source: str, stored: Iterable[tuple[str, bytes | None]]) -> Iterator[Expectation]:
    for key, value in stored:
        try:
            if value is not None:
                yield _expectation(key, value)
        except UnreadableRecord as error:
            # Without its key, which may hold a person's address.
            log_unreadable(keys.expected(source), str(error))


def _expectation(key: str, value: bytes) -> Expectation:
    """A stored expectation, whichever version stored it. Raises `UnreadableRecord` for an unreadable value."""
    facts = json_object(value)
    label, parent = facts.get("label"), facts.get("parent")
    return Expectation(
        key=key,
        reference=read_reference(facts.get("reference")),
        # Earlier versions stored what no event can hold: a lone surrogate must not cost an attempt.
        label=cleaned(label) if isinstance(label, str) else None,
        due=plausible_moment(facts.get("due")),
        deadline=plausible_moment(facts.get("deadline")),
        registered_at=plausible_moment(facts.get("registered_at")),
        state=str(facts.get("state", "open")),
        parent=parent if isinstance(parent, str) else None,
        later={name: member for name, member in facts.items() if name not in _MEMBERS},
        stored=value,
    )
