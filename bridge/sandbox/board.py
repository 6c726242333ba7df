"""The figures of a demo, from the journal, the vendors and the subscribers, as a table or a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.table import Table

from bridge.delivery.store import SubscriptionState
from bridge.journal import StoredEvent
from bridge.sandbox.verdict import Name
from bridge.sdk.simulator import ExpectedAttempt
from schemas.event import COMPLETED, REVISED, VOIDED

__all__ = ["Figures", "board", "collect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The state of one run, in numbers of attempts unless a line says otherwise."""

    completed: int
    #: Webhooks that the vendors lost.
    lost: int
    #: Webhooks that the vendors sent twice.
    duplicated: int
    #: First published from a webhook.
    by_webhook: int
    #: First published from a poll or a recheck.
    by_poll: int
    #: Found by poll after all their webhooks were lost.
    rescued: int
    #: Duplicate webhooks.
    dropped: int
    #: Duplicate records of polls and rechecks.
    read_again: int
    published: int
    #: Events.
    revised: int
    #: Not in the journal.
    missing: int
    #: Subscriber -> events delivered, tries that failed, dead letters; None: not counted.
    deliveries: Mapping[str, tuple[int, int | None, int | None]] = field(default_factory=dict)

    def line(self) -> str:
        """Everything in one line, for a log."""
        received = " ".join(f"{name}={numbers[0]}" for name, numbers in self.deliveries.items())
        retried = sum(numbers[1] or 0 for numbers in self.deliveries.values())
        dead = sum(numbers[2] or 0 for numbers in self.deliveries.values())
        return (
            f"completed={self.completed} published={self.published} revised={self.revised} missing={self.missing} "
            f"by_webhook={self.by_webhook} by_poll={self.by_poll} rescued={self.rescued} "
            f"duplicates_dropped={self.dropped} {received} retried={retried} dead_letters={dead}"
        )


def collect(
    *,
    truth: Mapping[Name, ExpectedAttempt],
    vendor: Mapping[str, int],
    events: Iterable[StoredEvent],
    dropped: int,
    read_again: int,
    received: Mapping[str, set[str]],
    states: Mapping[str, tuple[SubscriptionState, SubscriptionState]],
) -> Figures:
    """The figures of a run. `events`: of its attempts only. `states`: subscription -> state at the start, state now."""
    types: Counter[str] = Counter()
    first_origin: dict[Name, str] = {}
    ids = set()
    for event in events:
        types[event.type] += 1
        ids.add(event.id)
        if event.type in (COMPLETED, VOIDED):
            # Stored events are compact JSON, and quotes inside texts are escaped: a match can only be the attribute.
            first_origin[event.source, event.attempt] = (
                "webhook" if b'"bridgeorigin":"webhook"' in event.event else "poll"
            )
    origins = Counter(first_origin.values())
    return Figures(
        completed=len(truth),
        lost=vendor["lost"],
        duplicated=vendor["duplicated"],
        by_webhook=origins["webhook"],
        by_poll=origins["poll"],
        rescued=sum(1 for name in first_origin if truth[name].lost and not truth[name].sent),
        dropped=dropped,
        read_again=read_again,
        published=types[COMPLETED] + types[VOIDED],
        revised=types[REVISED],
        missing=len(truth) - len(first_origin),
        deliveries={
            name: (
                len(ids & printed),
                states[name][1].failed - states[name][0].failed if name in states else None,
                states[name][1].dead - states[name][0].dead if name in states else None,
            )
            for name, printed in received.items()
        },
    )


def board(figures: Figures) -> Table:
    """The table of attempts, and below it the table of subscribers."""
    grid = Table.grid()
    for table in (_attempts(figures), _subscribers(figures)):
        grid.add_row(table)
    return grid


def _attempts(figures: Figures) -> Table:
    table = Table(show_header=False, min_width=60)
    table.add_column("label")
    table.add_column("number", justify="right")
    rows = (
        ("attempts completed at the vendor", figures.completed),
        ("  webhooks lost", figures.lost),
        ("  webhooks sent twice", figures.duplicated),
        ("first seen by webhook", figures.by_webhook),
        ("first seen by poll, or by recheck after a pointer", figures.by_poll),
        ("  found by poll: no webhook arrived", figures.rescued),
        ("duplicate webhooks dropped", figures.dropped),
        ("duplicate records of polls dropped", figures.read_again),
        ("published", figures.published),
        ("revised: graded, changed or voided later", figures.revised),
    )
    for label, number in rows:
        table.add_row(label, str(number))
    style = "bold red" if figures.missing else "bold green"
    table.add_row("missing from the journal", str(figures.missing), style=style)
    return table


def _subscribers(figures: Figures) -> Table:
    table = Table(min_width=60)
    table.add_column("subscriber")
    for name in ("delivered", "retried", "dead letters"):
        table.add_column(name, justify="right")
    for name, numbers in figures.deliveries.items():
        table.add_row(name, *("-" if number is None else str(number) for number in numbers))
    return table
