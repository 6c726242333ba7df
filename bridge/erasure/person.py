"""Whose data an erasure removes, and what was learned about that person from the journal. Pure.

A candidate is given by id or by e-mail address. The events found that way name the attempts, and further ids,
addresses and names of the same person. Such a value is used to search other places only if no event of another person
has it too: an address may be shared by a whole class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.audit import digest_of
from bridge.erasure.texts import SHORTEST, core_of, fold, holds, may_hold, named_values, readings

__all__ = ["ATTEMPT", "EMAIL", "EVENT", "ID", "NAME", "SHARED", "Matcher", "Person", "Trace"]

#: Kinds of what was learned. `SHARED`: kind and value of one that belongs to others too.
ATTEMPT, EVENT, ID, EMAIL, NAME, SHARED = "attempt", "event", "id", "email", "name", "shared"
#: (kind, value).
Trace = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose data an erasure removes: a candidate id or an e-mail address at one source. Empty: not given."""

    source: str
    candidate: str = ""
    email: str = field(default="", repr=False)

    @property
    def digest(self) -> str:
        """Stands for the person where nothing personal may be: of the id, or of the address in NFC and lower case."""
        return digest_of(self.candidate or fold(self.email))


class Matcher:
    """Decides what is about a person. `traces`: what was learned so far."""

    def __init__(self, person: Person, traces: Iterable[Trace] = ()) -> None:
        self.person = person
        self.traces: set[Trace] = set(traces)
        self._given_email = fold(person.email)
        self._arrange()

    def _arrange(self) -> None:
        shared = {value for kind, value in self.traces if kind == SHARED}
        known: dict[str, set[str]] = {kind: set() for kind in (ATTEMPT, EVENT, ID, EMAIL, NAME)}
        for kind, value in self.traces:
            if kind != SHARED and f"{kind}|{value}" not in shared:
                known[kind].add(value)
        known[ID] |= {self.person.candidate} - {""}
        known[EMAIL] |= {self._given_email} - {""}
        self.attempts, self.events = known[ATTEMPT], known[EVENT]
        self._ids, self._emails = known[ID], known[EMAIL]
        self._names = {each for each in known[NAME] if len(each) >= SHORTEST}
        #: Ids that are not mere numbers, which mean other things elsewhere.
        self._distinct = {each for each in self._ids if len(each) >= SHORTEST and not each.isdigit()}
        self._plain = {each for each in self._ids if len(each) >= SHORTEST}
        self._cores = {core_of(each) for each in self._ids | self._emails}
        self._all_cores = self._cores | {core_of(each) for each in self._names}
        self._named_attempts = {each for each in self.attempts if len(each) >= SHORTEST}

    def learn(self, traces: Iterable[Trace]) -> None:
        """Add what was learned."""
        self.traces |= set(traces)
        self._arrange()

    def traces_of(self, attempt: str, raw: bytes) -> list[Trace] | None:
        """What an event reveals about the person, None if it is about somebody else. `attempt`: field of its entry."""
        known = attempt in self.attempts
        if not known and not may_hold(attempt.encode() + b" " + raw, self._cores, foreign=False):
            return None
        data = _data(raw)
        own = _mapping(data.get("attempt")).get("id")
        attempt = attempt or (own if isinstance(own, str) else "")
        if not (self._is_named(data) or attempt in self.attempts or holds(fold(attempt), {self._given_email} - {""})):
            return None
        candidate = _mapping(data.get("candidate"))
        learned = [(ATTEMPT, attempt)] if attempt else []
        learned += [(ID, candidate[name]) for name in ("id", "external_id") if _is_text(candidate.get(name))]
        learned += [(kind, fold(candidate[kind])) for kind in (EMAIL, NAME) if _is_text(candidate.get(kind))]
        return learned

    def names_another(self, raw: bytes) -> bool:
        """Whether an event has a candidate with another id, or another address, than the one that was given."""
        candidate = _mapping(_data(raw).get("candidate"))
        names = ("email",) if self._given_email else ("id", "external_id")
        return any(_is_text(candidate.get(name)) for name in names) and self.traces_of("", raw) is None

    def shared_with(self, raw: bytes) -> list[Trace]:
        """What another person's event has in common with what was learned."""
        if not may_hold(raw, self._all_cores, foreign=False):
            return []
        candidate = _mapping(_data(raw).get("candidate"))
        theirs = {(ID, candidate.get("id")), (ID, candidate.get("external_id"))}
        theirs |= {(kind, fold(candidate[kind])) for kind in (EMAIL, NAME) if _is_text(candidate.get(kind))}
        return [(SHARED, f"{kind}|{value}") for kind, value in theirs if (kind, value) in self.traces]

    def _is_named(self, data: Mapping[str, Any]) -> bool:
        """Whether `data` is about the person, by the value that was given and not by what was learned."""
        candidate = _mapping(data.get("candidate"))
        if self._given_email:
            if _is_text(candidate.get("email")) and fold(candidate["email"]) == self._given_email:
                return True
        elif self.person.candidate in (candidate.get("id"), candidate.get("external_id")):
            return True
        # Notices have no candidate.
        return any(self.is_person_value(value) for value in _notice_values(data))

    def is_person_value(self, value: str) -> bool:
        """Whether a whole value is an id or an address of the person."""
        return value in self._ids or fold(value) in self._emails

    def in_body(self, raw: bytes) -> bool:
        """Whether foreign bytes mention the person. A number counts only next to a name that says whose it is."""
        if not may_hold(raw, self._cores):
            return False
        values = named_values(raw)
        if values is None:
            ids = self._plain
        else:
            if any(self.is_person_value(value) for value in values):
                return True
            ids = self._distinct
        return any(holds(text, ids) or holds(fold(text), self._emails) for text in readings(raw))

    def in_stored(self, raw: bytes) -> bool:
        """Whether what the bridge stored in its own words mentions the person, by name too."""
        return self.in_body(raw) or any(self.in_text(text) for text in readings(raw))

    def in_key(self, key: str) -> bool:
        """Whether an id of ours contains one of the person's: mere numbers in it may be a test's or a schedule's."""
        return holds(key, self._distinct) or holds(fold(key), self._emails)

    def in_text(self, text: str, *, names: bool = True) -> bool:
        """Whether a text of the bridge or of an operator mentions the person, an attempt of theirs, or the name."""
        folded = fold(text)
        if holds(folded, self._emails) or (names and holds(folded, self._names)):
            return True
        return holds(text, self._plain) or holds(text, self._named_attempts)


def _data(raw: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(_mapping(json.loads(raw)).get("data"))
    except (ValueError, RecursionError):
        return {}


def _notice_values(data: Mapping[str, Any]) -> Iterator[str]:
    for outer, inner in (("consent", "subject"), ("watch", "reference")):
        for value in _mapping(_mapping(data.get(outer)).get(inner)).values():
            if isinstance(value, str):
                yield value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
