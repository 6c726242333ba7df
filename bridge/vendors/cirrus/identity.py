"""Which attempt is meant: valid identifiers, attempt ids, and keys for references to more than one attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bridge.sdk.vendor import Pointer

__all__ = ["BY_ATTEMPT", "BY_PAIR", "aliases", "attempt_id", "expect", "identifier", "pointer"]

#: Values of the option `identity`.
BY_PAIR, BY_ATTEMPT = "pair", "attempt"
#: Members of a watch's reference that identify something at the vendor.
_MEMBERS = ("schedule", "candidate", "attempt")
#: The vendor's pages disagree about the length of an external id: 60, 64 or 500.
MAX_LENGTH = 500


def identifier(value: Any) -> str | None:
    """An external id as the vendor or an operator wrote it, stripped; None if it cannot be used as one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    # Ids are part of URL paths, in which "." and ".." have another meaning however they are encoded.
    usable = text not in ("", ".", "..") and len(text) <= MAX_LENGTH and text.isprintable()
    return text if usable else None


def attempt_id(identifiers: Mapping[str, str], identity: str, number: int | None = None) -> str | None:
    """The id of the attempt that `identifiers` names; None if it does not name exactly one.

    `number`: of the attempt, if the candidate handed in several under one schedule; the first has none in its id.
    """
    schedule, candidate, attempt = (identifiers.get(name) for name in _MEMBERS)
    if attempt and identity == BY_ATTEMPT:
        return f"attempt:{_part(attempt)}"
    if not schedule or not candidate:
        return None
    suffix = f":{number}" if number is not None and number > 1 else ""
    return f"pair:{_part(schedule)}:{_part(candidate)}{suffix}"


def aliases(identifiers: Mapping[str, str]) -> tuple[str, ...]:
    """All keys under which an attempt with these identifiers may be pointed to or expected."""
    return tuple(f"?{name}:{_part(identifiers[name])}" for name in _MEMBERS if identifiers.get(name))


def pointer(identifiers: Mapping[str, str], identity: str) -> Pointer | None:
    """A pointer under the most exact key of these identifiers; None without any of them."""
    known = {name: identifiers[name] for name in _MEMBERS if identifiers.get(name)}
    if not known:
        return None
    # Without an attempt id: a key that is in the aliases of the attempts it may mean.
    loose = next(f"?{name}:{_part(known[name])}" for name in ("attempt", "schedule", "candidate") if name in known)
    return Pointer(key=attempt_id(known, identity) or loose, reference=known)


def expect(reference: Mapping[str, str], options: Mapping[str, Any]) -> Pointer:
    """A pointer to the expected attempt. Raises `ValueError` for a reference that identifies none."""
    identifiers = {}
    for name in _MEMBERS:
        text = identifier(reference.get(name) or "")
        if text is not None:
            identifiers[name] = text
        elif reference.get(name):
            raise ValueError(f"{name}: give the external id, 1 to {MAX_LENGTH} printable characters")
    if set(identifiers) == {"schedule"}:
        # It means many attempts and no single one fulfils it, so it is not an alias of any.
        return Pointer(key=f"?all-of:{_part(identifiers['schedule'])}", reference=identifiers)
    expected = pointer(identifiers, options.get("identity", BY_PAIR))
    if expected is None or set(identifiers) == {"candidate"}:
        raise ValueError("give schedule and candidate, or attempt, or schedule alone for all of its candidates")
    return expected


def _part(text: str) -> str:
    return quote(text, safe="")
