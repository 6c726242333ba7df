"""A filter that was read: which items match it, and how it is written in full."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from bridge.query.fields import Field
from bridge.query.kinds import Condition
from bridge.query.ranges import time_text

__all__ = ["Query", "Term"]


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: a field, of whose values one must match, or free text if `field` is None."""

    field: Field | None
    excluded: bool
    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        values = ",".join(map(str, self.conditions))
        return ("-" if self.excluded else "") + (values if self.field is None else f"{self.field.name}:{values}")


@dataclass(frozen=True, slots=True)
class Query:
    """All terms must match. `since`, `until`: UNIX seconds, for reading the items; `matches` ignores them."""

    terms: tuple[Term, ...] = ()
    since: float | None = None
    until: float | None = None
    search: Callable[[Any], Iterable[str | None]] | None = field(default=None, compare=False)

    def matches(self, item: Any) -> bool:
        """Whether an item matches every term."""
        return all(_matches(term, item, self.search) != term.excluded for term in self.terms)

    def __str__(self) -> str:
        """The filter with absolute times, so that it means the same at any time; `parse` reads it again."""
        parts = [str(term) for term in self.terms]
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None:
                parts.append(f"{name}:{time_text(round(moment * 1000))}")
        return " ".join(parts)


def _matches(term: Term, item: Any, search: Callable[[Any], Iterable[str | None]] | None) -> bool:
    if term.field is None:
        values: Iterable[Any] = search(item) if search is not None else ()
    else:
        value = term.field.read(item)
        values = (value or (None,)) if isinstance(value, (list, tuple)) else (value,)
    return any(condition.matches(value) for value in values for condition in term.conditions)
