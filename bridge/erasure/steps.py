"""The steps of an erasure, in order: first who the person is, then the journal, which reveals more, then the rest."""

from __future__ import annotations

from collections.abc import Callable

from bridge.erasure.delivery_places import (
    AnswerPlace,
    DeadLetterPlace,
    DeliveryPlace,
    GroupPlace,
    SettledPlace,
    SubscriptionPlace,
)
from bridge.erasure.other_places import AuditPlace, KeyPlace, ReplayPlace
from bridge.erasure.places import Context, Place
from bridge.erasure.source_places import ReportPlace, SittingPlace, WatchPlace
from bridge.erasure.streams import Finding, JournalPlace, QuarantinePlace, RequestPlace
from bridge.erasure.table_places import TablePlace

__all__ = ["PLACES", "STEPS", "make_place"]

#: Name of a step -> its place; `now` is a clock, UNIX seconds.
_PLACES: dict[str, Callable[[Context, Callable[[], float]], Place]] = {
    "finding": lambda context, now: Finding(context),
    "events": lambda context, now: JournalPlace(context),
    "requests": lambda context, now: RequestPlace(context),
    "quarantine": lambda context, now: QuarantinePlace(context),
    "deliveries": DeliveryPlace,
    "answers": AnswerPlace,
    "dead_letters": DeadLetterPlace,
    "settled_deliveries": SettledPlace,
    "failure_groups": GroupPlace,
    "subscriptions": SubscriptionPlace,
    "watches": lambda context, now: WatchPlace(context),
    "sittings": lambda context, now: SittingPlace(context),
    "reports": lambda context, now: ReportPlace(context),
    "keys": lambda context, now: KeyPlace(context),
    "replays": lambda context, now: ReplayPlace(context),
    "audit": lambda context, now: AuditPlace(context),
    "tables": lambda context, now: TablePlace(context),
}
#: The last two remove everything that names the person, and rewrite the append-only file.
STEPS = (*_PLACES, "forgetting", "rewriting")
#: What is counted.
PLACES = (
    *("events", "requests", "quarantine", "deliveries", "answers", "dead_letters", "settled_deliveries"),
    *("failure_groups", "subscriptions", "watches", "labels", "spellings", "sittings", "reports", "calls"),
    *("vendor_memory", "consents", "replays", "audit", "tables"),
)


def make_place(step: str, context: Context, now: Callable[[], float]) -> Place:
    """The place of a step, one of `STEPS` but the last two."""
    return _PLACES[step](context, now)
