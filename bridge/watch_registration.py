"""Registering, listing and cancelling watches, as the API does it. Its shapes: `bridge/web/api/watch_shapes.py`."""

from __future__ import annotations

import base64
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Any, NamedTuple

from marshmallow import ValidationError

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.polling.expectations import Expectation
from bridge.polling.watches import ATTEMPT, EXPECTATION, POINTER, REREAD, UNGRADED, OpenWatch, chunks
from bridge.services import Services
from bridge.text import did_you_mean
from schemas.event import format_time

__all__ = [
    "KINDS",
    "STATES",
    "Listed",
    "PartlyRegistered",
    "cancel",
    "check",
    "count",
    "find",
    "following",
    "listed",
    "parse_watch_id",
    "read_again",
    "register",
    "watch_id",
]

#: Time from due to deadline of an expectation that is registered without a deadline, seconds.
DEFAULT_DEADLINE_SECONDS = 7 * 86_400.0
STATES = ("open", "overdue", "expanded")
KINDS = (ATTEMPT, EXPECTATION, POINTER, UNGRADED, REREAD)
#: The members of a row, in this order.
_MEMBERS = (
    *("id", "source", "key", "kind", "state", "reference", "label"),
    *("due", "deadline", "next_look", "looks", "opened_at"),
)


def watch_id(source: str, key: str) -> str:
    """The id of a watch: source and key in URL-safe base64."""
    return base64.urlsafe_b64encode(f"{source}/{key}".encode()).decode().rstrip("=")


def parse_watch_id(text: str) -> tuple[str, str] | None:
    """Source and key of a watch id, or None if the text is not one."""
    try:
        source, _, key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition("/")
    except ValueError:
        return None
    return (source, key) if source and key else None


class PartlyRegistered(StateUnavailable):
    """The state server failed after `registered` of the documents were registered."""

    def __init__(self, message: str, registered: int) -> None:
        super().__init__(message)
        self.registered = registered

    @property
    def members(self) -> dict[str, int]:
        """What a response about it has besides its message."""
        return {"registered": self.registered}


def check(services: Services, documents: Sequence[Mapping[str, Any]], *, now: float) -> list[dict[str, Any]]:
    """The rows that loaded `NewWatch` documents would have; registers none.

    Raises `ValidationError` with the position of each invalid document as key.
    """
    return [_row(source, expected, None) for source, expected in _all_checked(services, documents, now)]


def register(services: Services, documents: Sequence[Mapping[str, Any]], *, now: float) -> list[dict[str, Any]]:
    """Register the loaded `NewWatch` documents, or none if one of them is wrong; returns their rows.

    Every process of the bridge sees them after `bridge.polling.expectations.KNOWN_AFTER_SECONDS`. Raises
    `ValidationError` as `check` does; `StateUnavailable` if nothing was registered, `PartlyRegistered` if the state
    server failed midway: they are stored in order, a few hundred at a time.
    """
    checked = _all_checked(services, documents, now)
    # The rows are made before anything is stored: a watch that cannot be shown cannot be cancelled.
    registered = [_row(source, expected, None) for source, expected in checked]
    done = 0
    for part in chunks(checked):
        for name in dict.fromkeys(source for source, _ in part):
            expected = [item for source, item in part if source == name]
            try:
                services.expectations.register(name, expected, now=now)
            except StateUnavailable as error:
                if not done:
                    raise
                raise PartlyRegistered(
                    f"{error}. At least {done} of {len(checked)} attempts are registered. Remedy: do the same again "
                    "when it answers; what is registered already is only replaced",
                    done,
                ) from error
            done += len(expected)
    return registered


class Listed(NamedTuple):
    """A watch in the list of all: what sorts it, then what its row is made from."""

    next_recheck: float
    source: str
    #: Of the key, and used instead of it for sorting and in cursors: a key may hold an e-mail address.
    digest: str
    key: str
    expected: Expectation | None
    watch: OpenWatch | None

    @property
    def position(self) -> tuple[str, str, str]:
        """Where it is in the list, for a cursor."""
        return repr(self.next_recheck), self.source, self.digest

    @property
    def kind(self) -> str:
        """Why it is watched."""
        return EXPECTATION if self.watch is None else self.watch.kind

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return "open" if self.expected is None else self.expected.state

    def matches(self, state: str | None, kind: str | None) -> bool:
        """Whether it is of this state and of this kind; None: any."""
        return state in (None, self.state) and kind in (None, self.kind)

    @property
    def row(self) -> dict[str, Any]:
        """The watch as the API shows it."""
        return _row(self.source, self.expected, self.watch)


def listed(services: Services, sources: Sequence[str]) -> list[Listed]:
    """The watches of the sources, overdue ones first, then by their next recheck."""
    results = []
    for source in sources:
        expected = {expectation.key: expectation for expectation in services.expectations.list(source)}
        watches = {watch.key: watch for watch in services.watches.list(source)}
        for key in expected.keys() | watches.keys():
            promise, watch = expected.get(key), watches.get(key)
            results.append(Listed(_next_recheck(promise, watch), source, _digest(key), key, promise, watch))
    return sorted(results, key=itemgetter(0, 1, 2))


def count(watches: Iterable[Listed]) -> dict[str, dict[str, int]]:
    """How many watches have each of the `states` and `kinds`: name -> number."""
    states, kinds = Counter(dict.fromkeys(STATES, 0)), Counter(dict.fromkeys(KINDS, 0))
    for watch in watches:
        states[watch.state] += 1
        kinds[watch.kind] += 1
    return {"states": dict(states), "kinds": dict(kinds)}


def following(watches: Sequence[Listed], position: Sequence[str] | None) -> Sequence[Listed]:
    """What comes after a position in the sorted list; all of it without one. Raises `ValueError` for a bad one."""
    if position is None:
        return watches
    moment, source, digest = position
    return watches[bisect_right(watches, (float(moment), source, digest), key=itemgetter(0, 1, 2)) :]


def read_again(
    services: Services, watches: Iterable[Listed], *, state: str | None, kind: str | None
) -> Iterator[Listed]:
    """Those of the watches listed before that still exist, as they are now, in the order of that list."""
    for watch in watches:
        expected = services.expectations.get(watch.source, watch.key)
        current = watch._replace(expected=expected, watch=services.watches.get(watch.source, watch.key))
        if (current.expected or current.watch) and current.matches(state, kind):
            yield current


def _digest(key: str) -> str:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


def find(services: Services, ident: str) -> dict[str, Any] | None:
    """One watch by its id, or None; reads no other watch."""
    named = _named_here(services, ident)
    if named is None:
        return None
    source, key = named
    expected, watch = services.expectations.get(source, key), services.watches.get(source, key)
    return None if expected is None and watch is None else _row(source, expected, watch)


def cancel(services: Services, idents: Sequence[str]) -> list[str]:
    """Stop rechecking the watches with these ids; returns the ids that no watch has. Raises `StateUnavailable`."""
    named = [_named_here(services, ident) for ident in idents]
    unknown = [ident for ident, name in zip(idents, named, strict=True) if name is None]
    for source in dict.fromkeys(name[0] for name in named if name is not None):
        keys = [name[1] for name in named if name is not None and name[0] == source]
        known = services.expectations.cancel(source, keys)
        unknown += [watch_id(source, key) for key, was_known in zip(keys, known, strict=True) if not was_known]
    return unknown


def _named_here(services: Services, ident: str) -> tuple[str, str] | None:
    named = parse_watch_id(ident)
    return named if named is not None and named[0] in services.config.sources and watch_id(*named) == ident else None


def _next_recheck(expected: Expectation | None, watch: OpenWatch | None) -> float:
    if watch is None:
        return expected.due if expected is not None and expected.state == "open" else -math.inf
    return watch.due


def _all_checked(
    services: Services, documents: Sequence[Mapping[str, Any]], now: float
) -> list[tuple[str, Expectation]]:
    checked, problems = [], {}
    for number, document in enumerate(documents):
        try:
            checked.append(_checked(services, document, now))
        except ValidationError as error:
            problems[number] = error.messages
    if problems:
        raise ValidationError(problems)
    return checked


def _checked(services: Services, document: Mapping[str, Any], now: float) -> tuple[str, Expectation]:
    name = document["source"]
    source = services.config.sources.get(name)
    if source is None:
        raise ValidationError({"source": [f'"{name}" is not a source. {did_you_mean(name, services.config.sources)}']})
    vendor = services.vendors[source.vendor]
    if vendor.expect is None:
        raise ValidationError({"source": [f"{vendor.title} cannot look up a single attempt"]})
    given = document["reference"]
    for member in given:
        if member not in vendor.reference_help:
            known = did_you_mean(member, vendor.reference_help)
            raise ValidationError(
                {"reference": [f'"{member}" is not a member of a reference of {vendor.title}. {known}']}
            )
    try:
        pointer = vendor.expect(given, source.options)
    except ValueError as error:
        raise ValidationError({"reference": [str(error)]}) from error
    due, deadline = document.get("due"), document.get("deadline")
    first = now if due is None else due.timestamp()
    last = first + DEFAULT_DEADLINE_SECONDS if deadline is None else deadline.timestamp()
    if last <= max(first, now):
        raise ValidationError({"deadline": ["is in the past or before `due`. Give a later one"]})
    return name, Expectation(
        key=pointer.key,
        reference=pointer.reference,
        label=document.get("label"),
        due=first,
        deadline=last,
        registered_at=now,
    )


def _row(source: str, expected: Expectation | None, watch: OpenWatch | None) -> dict[str, Any]:
    row: dict[str, Any] = {"source": source, "kind": EXPECTATION, "state": "open"}
    row |= dict.fromkeys(("label", "due", "next_look"))
    if watch is not None:
        row |= {"kind": watch.kind, "looks": watch.rechecks, "next_look": _iso(watch.due), **_named(source, watch.key)}
        row |= {"reference": watch.reference, "deadline": _iso(watch.give_up_at), "opened_at": _iso(watch.opened_at)}
    if expected is not None:
        row |= {"state": expected.state, "label": expected.label, "reference": expected.reference}
        row |= {"due": _iso(expected.due), "deadline": _iso(expected.deadline), **_named(source, expected.key)}
        row |= {"opened_at": _iso(expected.registered_at), "looks": row.get("looks", 0)}
        if watch is None and expected.state == "open":
            row["next_look"] = row["due"]
    return {name: row[name] for name in _MEMBERS}


def _named(source: str, key: str) -> dict[str, str]:
    return {"id": watch_id(source, key), "key": key}


def _iso(moment: float) -> str:
    return format_time(clock.to_datetime(moment))
