"""What a resource declares: its fields, their types, and where free text is searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bridge.query.kinds import Kind

__all__ = ["PERIOD", "Field", "Fields"]

#: The two fields of every list whose items have a time; a query holds them apart from its terms.
PERIOD = ("since", "until")


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `read` gives its value in an item: text, bool, number, None, or a list of them.

    Times are UNIX seconds. `costly`: reading it takes long, so that the other fields are compared first.
    """

    name: str
    kind: Kind
    read: Callable[[Any], Any]
    meaning: str
    costly: bool = False


class Fields:
    """The fields of a resource by name. `search`: the texts of an item in which free text is searched, if it can be."""

    def __init__(
        self, *fields: Field, search: Callable[[Any], Iterable[str | None]] | None = None, period: bool = True
    ) -> None:
        self.by_name = {field.name: field for field in fields}
        self.search = search
        self.period = period

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that may be written before a colon."""
        return (*self.by_name, *(PERIOD if self.period else ()))

    def summary(self) -> str:
        """The fields and how their values are written, for the description of a parameter."""
        rows = [f"`{field.name}`: {field.meaning} ({field.kind.syntax})" for field in self.by_name.values()]
        if self.period:
            rows.append("`since`, `until`: the period (2h, 7d, 2026-11-01, 2026-11-01T08:30:00Z)")
        if self.search is not None:
            rows.append('words and "texts in quotes" are searched for')
        return "; ".join(rows) + "."
