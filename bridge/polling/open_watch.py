"""One open watch, and how it is stored. Pure; reads what earlier versions stored, and damaged values, too."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.text import cleaned

__all__ = [
    "ATTEMPT",
    "EXPECTATION",
    "POINTER",
    "REREAD",
    "UNGRADED",
    "OpenWatch",
    "plausible_moment",
    "read_reference",
    "read_watch",
    "reference_json",
    "stored_value",
]

#: Kinds of watches: an open attempt, an attempt that an operator expects, an attempt that a webhook points to, an
#: attempt published before its final grade, and a settled attempt that may still change.
ATTEMPT, EXPECTATION, POINTER, UNGRADED, REREAD = "attempt", "expectation", "pointer", "ungraded", "reread"
#: The moments that can be shown: years 1 to 9999, with a day to spare for any zone.
_EARLIEST, _LATEST = -62_135_510_400.0, 253_402_214_400.0
_STORED = re.compile(r"(\d+)\|([^|]*)\|([A-Za-z]+)\|(\d+)\|([^|]*)\|([^|]*)\|(\{.*)", re.ASCII | re.DOTALL)
#: Version 0.1 had no versions of watches, and no announcements.
_STORED_BEFORE = re.compile(r"(\d+)\|([^|]*)\|([A-Za-z]+)\|(\{.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWatch:
    """One open watch. Moments are UNIX seconds."""

    #: The attempt id, or a vendor's key that begins with `?`.
    key: str
    #: One of the five kinds above.
    kind: str
    #: What the vendor's API needs to find the attempt.
    reference: Mapping[str, str]
    #: When the next recheck is due.
    due: float
    #: When the last recheck is due.
    give_up_at: float
    #: When the watch was opened.
    opened_at: float
    #: Number of rechecks since its schedule last began.
    rechecks: int
    #: Number of the last urge: a webhook or a registration. Larger is later, over all watches of a source.
    version: int = 0
    #: Until when a webhook's announcement counts that no recheck has confirmed yet; None: nothing is announced.
    announced: float | None = None
    #: Whether a recheck since the announcement found an attempt that this pointer may mean, though with nothing new.
    found: bool = False
    #: First recheck and deadline that an operator registered; None while nothing is registered or it is overdue.
    expected_due: float | None = None
    expected_deadline: float | None = None
    #: The bytes that it was read from: the state server compares them.
    stored: bytes = field(default=b"", compare=False, repr=False)
    #: The bytes of the expectation under the same key, if there is one.
    stored_expectation: bytes = field(default=b"", compare=False, repr=False)


def stored_value(watch: OpenWatch) -> str:
    """The value under which a watch is stored (`watch_queues.lua`)."""
    announced = ("" if watch.announced is None else repr(watch.announced)) + ("!" if watch.found else "")
    head = (str(watch.rechecks), repr(watch.opened_at), watch.kind, str(watch.version), announced)
    return "|".join((*head, repr(watch.give_up_at), reference_json(watch.reference)))


def reference_json(reference: Mapping[str, str]) -> str:
    """A reference as it is stored."""
    return json.dumps(dict(reference), separators=(",", ":"))


def read_watch(key: bytes, due: bytes | float, value: bytes, expectation: bytes = b"") -> OpenWatch | None:
    """The watch that is stored under a key, with what is expected under it; None for an unreadable value."""
    members = _members(value.decode(errors="replace"))
    if members is None:
        return None
    rechecks, opened, kind, version, announced, give_up_at, reference = members
    until = announced.removesuffix("!") if isinstance(announced, str) else announced
    expected_due, expected_deadline = _registered(expectation)
    if kind == EXPECTATION and expected_deadline is not None:
        give_up_at = expected_deadline
    return OpenWatch(
        key=key.decode(errors="replace"),
        kind=kind,
        reference=read_reference(reference),
        due=plausible_moment(due),
        give_up_at=plausible_moment(give_up_at),
        opened_at=plausible_moment(opened),
        rechecks=int(rechecks),
        version=int(version),
        announced=None if until in ("", None) else plausible_moment(until),
        found=until != announced,
        expected_due=expected_due,
        expected_deadline=expected_deadline,
        stored=value,
        stored_expectation=expectation,
    )


def _members(value: str) -> tuple[str, str, str, str, Any, Any, Any] | None:
    match = _STORED.fullmatch(value)
    if match is not None:
        rechecks, opened, kind, version, announced, give_up_at, reference = match.groups()
        return rechecks, opened, kind, version, announced, give_up_at, _json(reference)
    match = _STORED_BEFORE.fullmatch(value)
    details = None if match is None else _json(match[4])
    if match is None or not isinstance(details, dict):
        return None
    give_up_at = details.get("give_up_at")
    announced = give_up_at if match[3] == POINTER else ""
    return match[1], match[2], match[3], "0", announced, give_up_at, details.get("reference")


def _registered(expectation: bytes) -> tuple[float | None, float | None]:
    facts = _json(expectation)
    if not isinstance(facts, dict) or facts.get("state", "open") == "overdue":
        return None, None
    return plausible_moment(facts.get("due")), plausible_moment(facts.get("deadline"))


def read_reference(value: object) -> dict[str, str]:
    """A stored reference; empty for anything else. Earlier versions stored what no address can hold."""
    members = value.items() if isinstance(value, dict) else ()
    return {cleaned(str(name)): cleaned(str(text)) for name, text in members}


def plausible_moment(value: Any) -> float:
    """UNIX seconds that can be shown as a date, the nearest to a stored value; 0 for what is not a number."""
    try:
        moment = float(value)
    except (TypeError, ValueError):
        return 0.0
    return 0.0 if math.isnan(moment) else min(max(moment, _EARLIEST), _LATEST)


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
