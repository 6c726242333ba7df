"""What a change was, member by member, side by side. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Member", "compared"]


class Member(NamedTuple):
    """One member of what was changed; None: it was not there."""

    name: str
    before: str | None
    after: str | None

    @property
    def is_changed(self) -> bool:
        """Whether it was and is there, with another value."""
        return self.before is not None and self.after is not None and self.before != self.after


def compared(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Member]:
    """The members of both, in their order."""
    old, new = before or {}, after or {}
    return [Member(name, _text(old, name), _text(new, name)) for name in dict.fromkeys((*old, *new))]


def _text(members: Mapping[str, Any], name: str) -> str | None:
    if name not in members:
        return None
    value = members[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
