"""Where the items are that a replay names by id."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.delivery.replay_jobs import DEAD_LETTERS, EVENTS, QUARANTINE
from bridge.journal.entries import StoredEvent
from bridge.journal.event_index import SHORTEST
from bridge.journal.search import search
from bridge.web.api.common import services_here
from bridge.web.api.filters import refuse_ambiguous

__all__ = ["places_of"]

_ENTRY = r"\d{1,15}-\d{1,15}"
_LETTER = re.compile(rf"(.{{1,100}})/(\d{{1,3}}):({_ENTRY})", re.ASCII | re.DOTALL)
_QUARANTINED = re.compile(rf"{QUARANTINE}/({_ENTRY})", re.ASCII)

_Places = list[tuple[str, int, str]]


def places_of(kind: str, ids: Sequence[str], subscriptions: Sequence[str]) -> tuple[_Places, list[str]]:
    """((subscription, partition, stream id) of each, the ids that were not found).

    Events are replayed to all `subscriptions`; only their dead letters are found.
    """
    if kind == EVENTS:
        return _events(ids, subscriptions)
    places: _Places = []
    unknown = []
    for ident in ids:
        place = _letter(ident, subscriptions) if kind == DEAD_LETTERS else _quarantined(ident)
        if place is None:
            unknown.append(ident)
        else:
            places.append(place)
    return places, unknown


def _letter(ident: str, subscriptions: Sequence[str]) -> tuple[str, int, str] | None:
    match = _LETTER.fullmatch(ident)
    deliveries = services_here().deliveries
    if match is None or match[1] not in subscriptions or int(match[2]) >= deliveries.partitions:
        return None
    letter = deliveries.dead_letter(match[1], f"{match[2]}:{match[3]}")
    return None if letter is None else (match[1], int(match[2]), match[3])


def _quarantined(ident: str) -> tuple[str, int, str] | None:
    match = _QUARANTINED.fullmatch(ident)
    if match is None or services_here().quarantine.find(match[1]) is None:
        return None
    return "", 0, match[1]


def _events(ids: Sequence[str], subscriptions: Sequence[str]) -> tuple[_Places, list[str]]:
    services = services_here()
    by_ident: dict[str, StoredEvent] = {}
    for ident in ids:
        events = services.event_index.find(ident, services.now())
        if len({event.id for event in events}) > 1:
            refuse_ambiguous("events", ident)
        if events:
            by_ident[ident] = events[0]
    missing = [ident for ident in ids if ident not in by_ident and len(ident) >= SHORTEST]
    if missing:
        # Published by an earlier version, which wrote no index: only whole ids are found.
        steps = services.journal_reader.newest_first()
        by_ident |= {event.id: event for event in search(steps, lambda event: event.id in missing, len(missing)).rows}
    places = [(name, event.partition, event.entry_id) for event in by_ident.values() for name in subscriptions]
    return places, [ident for ident in ids if ident not in by_ident]
