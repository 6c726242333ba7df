"""What differs between two results: member by member, for two revisions side by side. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MOST", "Difference", "differences", "event_differences"]

#: Most differences that are listed.
MOST = 200
#: Members of `data` that differ in every revision, or repeat what is beside them.
_NOT_COMPARED = frozenset({("attempt", "revision"), ("result", "previous")})


@dataclass(frozen=True, slots=True)
class Difference:
    """One member that is not the same. `before`, `after`: as JSON, None where there is none."""

    member: str
    before: str | None
    after: str | None


def event_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What differs between `data` of two events of one attempt, `MOST` at most."""
    return differences(_compared(before), _compared(after))


def differences(before: Any, after: Any) -> list[Difference]:
    """What differs between two JSON values, in the order of their members, `MOST` at most.

    Members of objects and items of lists are compared one by one: `sections[0].score`.
    """
    earlier, later = dict(_leaves(before, "")), dict(_leaves(after, ""))
    # A new member is listed where it is in the later value.
    names = list(dict.fromkeys([*later, *earlier]))
    differing = (
        Difference(name, earlier.get(name), later.get(name)) for name in names if earlier.get(name) != later.get(name)
    )
    return [difference for difference, _ in zip(differing, range(MOST), strict=False)]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, JSON) of everything that contains nothing else; empty objects and lists too."""
    if isinstance(value, Mapping) and value:
        for name, member in value.items():
            yield from _leaves(member, f"{path}.{name}" if path else str(name))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _compared(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {each: value for each, value in member.items() if (name, each) not in _NOT_COMPARED}
        if isinstance(member, Mapping)
        else member
        for name, member in data.items()
    }
