"""Watches or expects what a recheck pointed to, such as the candidates of a schedule."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.polling.expectations import Expectation
from bridge.polling.watches import OpenWatch
from bridge.sdk.vendor import Pointer
from workers.polling.source_access import SourceAccess

__all__ = ["follow"]


def follow(access: SourceAccess, watch: OpenWatch, pointers: Sequence[Pointer]) -> None:
    """Watch what the recheck pointed to; for an expectation, expect each with its label, due time and deadline."""
    services, name, now = access.services, access.source.name, access.services.now()
    parent = services.expectations.get(name, watch.key)
    if parent is None:
        # Once for each webhook; later rechecks only find candidates who were not listed before.
        if watch.rechecks:
            known_ids = services.journal_reader.attempts(name, (pointer.key for pointer in pointers))
            unknown = [pointer for pointer in pointers if pointer.key not in known_ids]
            pointers = [pointer for pointer in unknown if services.watches.get(name, pointer.key) is None]
        services.watches.add_pointers(name, pointers, now=now)
        return
    keys = [pointer.key for pointer in pointers]
    known, published = services.expectations.matching(name, keys, now=now), services.journal_reader.attempts(name, keys)
    services.expectations.expect(
        name,
        [
            pointer
            for pointer in pointers
            if _is_to_expect(parent, known.get(pointer.key), published=pointer.key in published)
        ],
        label=parent.label,
        due=parent.due,
        deadline=parent.deadline,
        now=now,
        parent=parent.key,
    )
    # The expectation is still rechecked for candidates who are added later, and is not announced as overdue.
    services.expectations.set_state(name, parent, "expanded")


def _is_to_expect(parent: Expectation, known: Expectation | None, *, published: bool) -> bool:
    """Whether a candidate is new, or still has the times of the schedule's earlier registration."""
    if known is None:
        return not published
    times = (known.label, known.due, known.deadline)
    return known.parent == parent.key and times != (parent.label, parent.due, parent.deadline)
