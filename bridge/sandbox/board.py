"""What a demo shows while it runs: figures out of the journal, the vendor and the subscribers, as table or as line."""

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
    """The state of one run. `dropped`: duplicates by webhook, `read_again`: by poll.

    `deliveries`: subscriber -> (delivered, retried, dead letters); None: not kept.
    """

    completed: int
    lost: int
    duplicated: int
    by_webhook: int
    by_poll: int
    rescued: int
    dropped: int
    read_again: int
    published: int
    revised: int
    missing: int
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
    """The figures of a run. `events`: of its attempts only. `states`: subscription -> (at its start, now)."""
    kinds: Counter[str] = Counter()
    seen: dict[Name, str] = {}
    ids = set()
    for event in events:
        kinds[event.type] += 1
        ids.add(event.id)
        if event.type in (COMPLETED, VOIDED):
            # Stored events are compact JSON, and a quote inside a text is escaped: this is the attribute.
            seen[event.source, event.attempt] = "webhook" if b'"bridgeorigin":"webhook"' in event.event else "poll"
    origins = Counter(seen.values())
    return Figures(
        completed=len(truth),
        lost=vendor["lost"],
        duplicated=vendor["duplicated"],
        by_webhook=origins["webhook"],
        by_poll=origins["poll"],
        rescued=sum(1 for name in seen if truth[name].lost and not truth[name].sent),
        dropped=dropped,
        read_again=read_again,
        published=kinds[COMPLETED] + kinds[VOIDED],
        revised=kinds[REVISED],
        missing=len(truth) - len(seen),
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
    """The attempts, and below them the subscribers, for a terminal."""
    whole = Table.grid()
    for part in (_attempts(figures), _subscribers(figures)):
        whole.add_row(part)
    return whole


def _attempts(figures: Figures) -> Table:
    table = Table(show_header=False, min_width=60)
    table.add_column("what")
    table.add_column("number", justify="right")
    rows = (
        ("attempts completed at the vendor", figures.completed),
        ("  webhooks lost on the way", figures.lost),
        ("  webhooks sent twice", figures.duplicated),
        ("seen first by webhook", figures.by_webhook),
        ("seen first by poll, or by a look after a hint", figures.by_poll),
        ("  rescued by poll: no webhook ever came", figures.rescued),
        ("duplicate webhooks dropped", figures.dropped),
        ("read again by poll and dropped", figures.read_again),
        ("published", figures.published),
        ("revised: graded, changed or voided later", figures.revised),
    )
    for what, number in rows:
        table.add_row(what, str(number))
    style = "bold red" if figures.missing else "bold green"
    table.add_row("missing in the journal", str(figures.missing), style=style)
    return table


def _subscribers(figures: Figures) -> Table:
    table = Table(min_width=60)
    table.add_column("subscriber")
    for name in ("delivered", "retried", "dead letters"):
        table.add_column(name, justify="right")
    for name, numbers in figures.deliveries.items():
        table.add_row(name, *("-" if number is None else str(number) for number in numbers))
    return table
