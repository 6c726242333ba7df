"""The audit: every change that was made through the API or the command line, with who, what, when, before and after.

It holds no secrets and no personal data: members whose text may hold some are left out, whichever caller passes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import redis

from bridge.errors import clip
from bridge.journal.search import Place, walk_back
from bridge.query import Enum, Field, Fields, Glob
from bridge.state import keys, scripts
from bridge.state.errors import state_errors

__all__ = ["AuditEntry", "AuditLog", "Change", "audit_fields", "digest_of", "safe"]

#: Members whose values may name a person or be a secret, at any depth.
_HIDDEN = frozenset(
    {
        *(
            "answer",
            "authorization",
            "body",
            "candidate",
            "cookie",
            "credentials",
            "email",
            "event",
            "headers",
            "label",
        ),
        *("password", "raw", "reference", "secret", "secrets", "token", "tokens"),
    }
)
_LONGEST_TEXT, _LONGEST_LIST, _DEEPEST = 200, 20, 4


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed: `target` names it, such as `source eu`; `before` and `after` are its members that changed."""

    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. `at`: UNIX seconds. `entry_id`: stream id. `action`: the operation of the API, such as `addWatch`."""

    entry_id: str
    at: float
    actor: str
    role: str
    action: str
    change: Change


class AuditLog:
    """The audit in the state. `keep_seconds`: how long an entry is kept. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, *, keep_seconds: float) -> None:
        self._client = client
        self._keep_seconds = keep_seconds
        self._script = scripts.register(client, __file__, "audit")

    def record(self, change: Change, *, actor: str, role: str, action: str, now: float, call_id: str) -> None:
        """Store an entry durably; `call_id` names the call, so that a repeated command stores it once."""
        before, after = (None if part is None else safe(part) for part in (change.before, change.after))
        fields = ["at", f"{now:.3f}", "actor", clip(actor), "role", role, "action", clip(action)]
        fields += ["target", clip(_safe_text(change.target)), "before", json.dumps(before), "after", json.dumps(after)]
        oldest = f"{max(int((now - self._keep_seconds) * 1000), 0)}-0"
        with state_errors():
            self._script(keys=[keys.audit()], args=[call_id, oldest, *fields])

    def newest_first(
        self, *, since: float | None = None, until: float | None = None, after: Place | None = None, first: int = 50
    ) -> Iterator[tuple[Place, int, AuditEntry]]:
        """(place, bytes, entry) of entries in [since, until] (UNIX seconds) from `after` on, as `search` reads them."""
        since, until = (None if moment is None else max(moment, 0.0) for moment in (since, until))
        return walk_back(
            self._client,
            [keys.audit()],
            lambda entry_id, fields, _: _entry(entry_id, fields),
            since=since,
            until=until,
            after=after,
            first=first,
        )


def audit_fields() -> Fields:
    """The fields by which changes are filtered."""
    return Fields(
        Field("actor", Glob(), lambda entry: entry.actor, "who made it"),
        Field("role", Enum("operator", "viewer"), lambda entry: entry.role, "the role that the actor had"),
        Field("action", Glob(), lambda entry: entry.action, "the operation's id"),
        Field("target", Glob(), lambda entry: entry.change.target, "what was changed"),
        search=lambda entry: (entry.actor, entry.action, entry.change.target),
    )


def safe(value: Any, depth: int = 0) -> Any:
    """The value in bounded size, without what may be a secret or name a person: everybody with a token sees it."""
    if isinstance(value, Mapping):
        if depth == _DEEPEST:
            return "(not kept)"
        return {
            clip(str(name)): "(not kept)" if name in _HIDDEN and member else safe(member, depth + 1)
            for name, member in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        members = [safe(member, depth + 1) for member in list(value)[:_LONGEST_LIST]]
        return members + ([f"and {len(value) - _LONGEST_LIST} more"] if len(value) > _LONGEST_LIST else [])
    if value is None or isinstance(value, bool | int | float):
        return value
    return clip(_safe_text(str(value)), _LONGEST_TEXT)


def digest_of(text: str) -> str:
    """A short name for what must not be shown, such as an id that holds an e-mail address: equal for equal texts."""
    return f"#{sha256(text.encode()).hexdigest()[:12]}"


def _safe_text(text: str) -> str:
    """The text with each word that may be an e-mail address replaced by its digest."""
    return " ".join(digest_of(word) if "@" in word else word for word in text.split())


def _entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> AuditEntry:
    # Tolerant: an earlier or a later version may have stored fewer or other fields.
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    return AuditEntry(
        entry_id=entry_id.decode(),
        at=_number(text(b"at"), int(entry_id.partition(b"-")[0]) / 1000),
        actor=text(b"actor"),
        role=text(b"role"),
        action=text(b"action"),
        change=Change(text(b"target"), _members(text(b"before")), _members(text(b"after"))),
    )


def _number(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise


def _members(text: str) -> Mapping[str, Any] | None:
    try:
        members = json.loads(text)
    except ValueError:
        return None
    return members if isinstance(members, dict) else None
