"""Takes a person out of stored values without removing what else they hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, cast

import redis

from bridge.erasure.person import Matcher
from bridge.state import scripts

__all__ = ["ERASED", "Rewriter", "dumped", "scrubbed"]

#: Stands where something was.
ERASED = "(erased)"
#: How often a value that changes meanwhile is read again.
_ROUNDS = 20


class Rewriter:
    """Changes stored values. The methods raise the errors of redis-py."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._field = scripts.register(client, __file__, "replace_field")
        self._item = scripts.register(client, __file__, "replace_item")

    def field(self, key: str, name: str | bytes, change: Callable[[bytes], bytes]) -> None:
        """Change a field of a hash: `change` gets its value and returns the new one, empty to delete the field."""
        for _ in range(_ROUNDS):
            old = cast("bytes | None", self.client.hget(key, cast("str", name)))
            if old is None or (new := change(old)) == old or self._field(keys=[key], args=[name, old, new]):
                return
        raise RuntimeError(f"a stored value changed {_ROUNDS} times while it was rewritten")

    def item(self, key: str, old: bytes, new: bytes) -> None:
        """Change an item of a list."""
        self._item(keys=[key], args=[old, new])


def scrubbed(value: Any, matcher: Matcher, *, kept: Collection[str] = ()) -> Any:
    """A JSON value without texts that mention the person: items of a list are left out, others are `ERASED`.

    `kept`: names of members whose values are never changed.
    """
    if isinstance(value, dict):
        return {
            ERASED if _mentions(name, matcher) else name: member
            if name in kept
            else scrubbed(member, matcher, kept=kept)
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [scrubbed(member, matcher, kept=kept) for member in value if not _mentions(member, matcher)]
    return ERASED if _mentions(value, matcher) else value


def dumped(value: Any) -> bytes:
    """JSON as most of it is stored: some records are compared as text."""
    return json.dumps(value, separators=(",", ":")).encode()


def _mentions(value: Any, matcher: Matcher) -> bool:
    return isinstance(value, str) and matcher.in_text(value)
