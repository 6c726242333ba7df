"""What happened in a period, by minute, hour or day, for each source and subscription. Reads counts, never a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import redis

from bridge.delivery.delivery_lag import BUCKETS, percentile
from bridge.monitoring.counted_steps import CountedSteps, Resolution
from bridge.state import counts, keys

__all__ = ["DELIVERY_FIGURES", "FINE", "PERIODS", "SOURCE_FIGURES", "Figures", "Stats", "read_stats"]

#: Name of a period -> its steps.
PERIODS: Mapping[str, Resolution] = {
    "1h": Resolution(counts.MINUTE, 1, 60),
    "24h": Resolution(counts.HOUR, 1, 24),
    "7d": Resolution(counts.HOUR, 1, 7 * 24),
    "30d": Resolution(counts.DAY, 1, 30),
}
#: The same in steps of five minutes, as long as minutes are kept.
FINE: Mapping[str, Resolution] = {
    "1h": Resolution(counts.MINUTE, 5, 12),
    "24h": Resolution(counts.MINUTE, 5, 24 * 12),
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
    #: Of a subscription: bucket of the lag -> deliveries in it over the whole period.
    lags: Mapping[str, int] = field(default_factory=dict)

    @property
    def totals(self) -> dict[str, int]:
        """The sum of each series."""
        return {figure: sum(numbers) for figure, numbers in self.series.items()}

    @property
    def lag_p95(self) -> float | None:
        """Seconds within which 95 % of the deliveries ended; None without any."""
        return percentile(self.lags)


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a period. `starts`: UNIX seconds at which each step begins, oldest first."""

    step_seconds: int
    starts: tuple[int, ...]
    sources: tuple[Figures, ...]
    subscriptions: tuple[Figures, ...]

    @property
    def lag_p95(self) -> float | None:
        """The same for all its subscriptions together."""
        lags = [figures.lags for figures in self.subscriptions]
        return percentile({bucket: sum(lag.get(bucket, 0) for lag in lags) for bucket in BUCKETS})


def read_stats(
    client: redis.Redis,
    period: str,
    *,
    until: float,
    partitions: int,
    with_webhooks: frozenset[str],
    sources: Iterable[str],
    subscriptions: Iterable[str],
    only: bool = False,
    fine: bool = False,
    known: CountedSteps | None = None,
) -> Stats:
    """The figures of a period of `PERIODS` that ends with the step of `until` (UNIX seconds).

    `sources`, `subscriptions`: those that are shown even if nothing happened; others are shown if something did, but
    not with `only`. `fine`: in steps of `FINE` where that has the period. `with_webhooks`: the sources whose webhooks
    are enabled; only there does a poll rescue an attempt. `known`: what this process has read before. Raises
    `StateUnavailable`.
    """
    resolution = FINE.get(period, PERIODS[period]) if fine else PERIODS[period]
    steps = CountedSteps() if known is None else known

    def series(
        name: counts.Name, read: _Read, figures: Sequence[str], shown: Iterable[str]
    ) -> dict[str, dict[str, list[int]]]:
        names = tuple(shown)
        if only and not names:
            return {}
        counted = steps.read(client, name, resolution, until=until, partitions=partitions)
        return _series(counted, resolution.number, read, figures, names, only=only)

    received = series(keys.counts, _read_source, SOURCE_FIGURES, sources)
    delivered = series(keys.delivery_counts, _read_delivery, DELIVERY_FIGURES, subscriptions)
    for source in with_webhooks & received.keys():
        received[source]["rescued"] = list(received[source]["published_by_poll"])
    last = int(until // resolution.seconds)
    return Stats(
        resolution.seconds,
        tuple(place * resolution.seconds for place in range(last - resolution.number + 1, last + 1)),
        tuple(Figures(name, received[name]) for name in sorted(received)),
        tuple(_of_subscription(name, delivered[name]) for name in sorted(delivered)),
    )


def _series(
    counted: Mapping[str, list[int]],
    number: int,
    read: _Read,
    figures: Sequence[str],
    shown: Sequence[str],
    *,
    only: bool,
) -> dict[str, dict[str, list[int]]]:
    """name -> figure -> a number for each step. `counted`: field -> a number for each step."""

    # Shared by all figures to which nothing was added; a sum is a new list.
    zeros = [0] * number
    nothing = dict.fromkeys(figures, zeros)
    series = {name: dict(nothing) for name in shown}
    for counted_name, numbers in counted.items():
        name, added = read(counted_name)
        if not added or (only and name not in series) or not any(numbers):
            continue
        of_name = series.setdefault(name, dict(nothing))
        for figure, sign in added:
            before = of_name.get(figure, zeros)
            of_name[figure] = [old + sign * new for old, new in zip(before, numbers, strict=True)]
    return series


def _of_subscription(name: str, series: Mapping[str, list[int]]) -> Figures:
    lags = {bucket: sum(series[bucket]) for bucket in BUCKETS if bucket in series}
    return Figures(name, {figure: series[figure] for figure in DELIVERY_FIGURES}, lags)


def _read_source(field: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    source, origin, outcome = field.split("|")
    figure = _OF_ANY_ORIGIN.get(outcome)
    return source, ((figure, 1),) if figure else _OF_SOURCE.get((origin, outcome), ())


def _read_delivery(field: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    subscription, _, outcome = field.partition("|")
    figure = outcome if outcome in BUCKETS else _OF_DELIVERY.get(outcome)
    return subscription, ((figure, 1),) if figure else ()
