"""What happened in a period, by minute, hour or day, of each source and subscription. Reads counts, never a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import redis

from bridge.state import counts, keys
from bridge.state.errors import state_errors

__all__ = ["DELIVERY_FIGURES", "PERIODS", "SOURCE_FIGURES", "Figures", "Stats", "read_stats"]

#: Name of a period -> (number of steps, step).
PERIODS: Mapping[str, tuple[int, counts.Step]] = {
    "1h": (60, counts.MINUTE),
    "24h": (24, counts.HOUR),
    "7d": (7 * 24, counts.HOUR),
    "30d": (30, counts.DAY),
}
#: (origin, outcome) of a count, as publish_once.lua writes them -> figures of a source with their signs.
_OF_SOURCE: Mapping[tuple[str, str], tuple[tuple[str, int], ...]] = {
    ("webhook", "requests"): (("requests", 1),),
    ("webhook", "published"): (("published_by_webhook", 1),),
    ("poll", "published"): (("published_by_poll", 1),),
    # A poll of what a webhook had pointed to.
    ("poll", "announced"): (("published_by_webhook", 1), ("published_by_poll", -1)),
    ("backfill", "published"): (("published_by_backfill", 1),),
    ("webhook", "late"): (("late_webhooks", 1),),
    ("webhook", "rejected"): (("refused", 1),),
    ("webhook", "test"): (("tests", 1),),
}
#: Outcome of any origin -> figure of a source.
_OF_ANY_ORIGIN = {"revised": "revised", "duplicate": "duplicates", "stale": "duplicates", "quarantined": "quarantined"}
#: Figures of a source. `rescued`: what polls found at a source with webhooks; `late_webhooks` came after that.
SOURCE_FIGURES = (
    "requests",
    "published_by_webhook",
    "published_by_poll",
    "published_by_backfill",
    "rescued",
    "late_webhooks",
    "revised",
    "duplicates",
    "quarantined",
    "refused",
    "tests",
)
#: Outcome of a delivery, as settle.lua writes it -> figure of a subscription.
_OF_DELIVERY = {
    "delivered": "delivered",
    "handed_over": "handed_over",
    "failed": "retried",
    "dead": "dead",
    "skipped": "skipped",
}
DELIVERY_FIGURES = tuple(_OF_DELIVERY.values())
#: (name of the source or subscription, figures with their sign) of a field; no figures: it is not shown.
_Read = Callable[[str], tuple[str, tuple[tuple[str, int], ...]]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one source or subscription: name -> a number for each step, oldest first."""

    name: str
    series: Mapping[str, list[int]]

    @property
    def totals(self) -> dict[str, int]:
        """The sum of each series."""
        return {figure: sum(numbers) for figure, numbers in self.series.items()}


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a period. `starts`: UNIX seconds at which each step begins, oldest first."""

    step_seconds: int
    starts: tuple[int, ...]
    sources: tuple[Figures, ...]
    subscriptions: tuple[Figures, ...]


def read_stats(
    client: redis.Redis,
    period: str,
    *,
    until: float,
    partitions: int,
    with_webhooks: frozenset[str],
    sources: tuple[str, ...],
    subscriptions: tuple[str, ...],
) -> Stats:
    """The figures of a period of `PERIODS` that ends with the step of `until` (UNIX seconds), in one round trip.

    `sources`, `subscriptions`: those that are shown even if nothing happened; others are shown if something did.
    `with_webhooks`: the sources whose webhooks are enabled; only there does a poll rescue an attempt. Raises
    `StateUnavailable`.
    """
    number, step = PERIODS[period]
    seconds = counts.SECONDS[step]
    last = int(until // seconds)
    steps = range(last - number + 1, last + 1)
    with state_errors():
        pipe = client.pipeline(transaction=False)
        for name in (keys.counts, keys.delivery_counts):
            for place in steps:
                for partition in range(partitions):
                    pipe.hgetall(name(partition, place, step))
        answers: list[dict[bytes, bytes]] = pipe.execute()
    half = len(answers) // 2
    received = _series(answers[:half], partitions, _read_source, SOURCE_FIGURES, sources)
    delivered = _series(answers[half:], partitions, _read_delivery, DELIVERY_FIGURES, subscriptions)
    for source in with_webhooks & received.keys():
        received[source]["rescued"] = list(received[source]["published_by_poll"])
    return Stats(
        seconds,
        tuple(place * seconds for place in steps),
        tuple(Figures(name, received[name]) for name in sorted(received)),
        tuple(Figures(name, delivered[name]) for name in sorted(delivered)),
    )


def _series(
    answers: Sequence[Mapping[bytes, bytes]],
    partitions: int,
    read: _Read,
    figures: Sequence[str],
    shown: Iterable[str],
) -> dict[str, dict[str, list[int]]]:
    """name -> figure -> a number for each step. `answers`: the hashes of each partition, step by step."""
    number = len(answers) // partitions

    def nothing() -> dict[str, list[int]]:
        return {figure: [0] * number for figure in figures}

    series = {name: nothing() for name in shown}
    for place, fields in enumerate(answers):
        for field, count in fields.items():
            name, added = read(field.decode())
            for figure, sign in added:
                if name not in series:
                    series[name] = nothing()
                series[name][figure][place // partitions] += sign * int(count)
    return series


def _read_source(field: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    source, origin, outcome = field.split("|")
    figure = _OF_ANY_ORIGIN.get(outcome)
    return source, ((figure, 1),) if figure else _OF_SOURCE.get((origin, outcome), ())


def _read_delivery(field: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    subscription, _, outcome = field.partition("|")
    figure = _OF_DELIVERY.get(outcome)
    return subscription, ((figure, 1),) if figure else ()
