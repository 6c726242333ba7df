"""The metrics of `/metrics` over OTLP: read from the same collectors, so that none is defined twice.

Names are those of Prometheus without `_total`, which a Prometheus exporter or receiver adds again. Counters and
histograms are cumulative.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.registry import Collector

from bridge import __version__, clock
from bridge.telemetry.collector_session import CollectorSession
from bridge.telemetry.otlp import SCOPE, Outcomes

__all__ = ["MetricSource", "PeriodicMetrics", "otlp_metrics"]

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_LE = "le"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class MetricSource:
    """Metrics that belong to one resource."""

    #: Whose metrics they are.
    resource: Resource
    #: Where they are read.
    collector: Collector
    #: UNIX seconds at which counters began; 0: they began earlier, in other processes too.
    since: float = 0.0
    #: Whether this process is to export them now.
    is_ours: Callable[[], bool] = lambda: True


class PeriodicMetrics:
    """Exports in its own thread, until `shutdown`. `in_thread`: as in `bridge.telemetry.otlp.SdkTracer`."""

    def __init__(
        self,
        sources: Sequence[MetricSource],
        interval: float,
        *,
        in_thread: Callable[[Callable[[], Any]], Any],
    ) -> None:
        """`interval`: seconds."""
        self._sources = sources
        self._interval = interval
        self._in_thread = in_thread
        session = CollectorSession()
        self._exporter = OTLPMetricExporter(session=session)
        self._outcomes = Outcomes("metrics", session)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="telemetry metrics")
        self._thread.start()

    def shutdown(self, seconds: float) -> None:
        """Export once more, for at most `seconds`."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._export()
        self._export()

    def _export(self) -> None:
        try:
            metrics = [self._read(source) for source in self._sources if source.is_ours()]
        except Exception as error:  # noqa: BLE001 - the next export may read them
            _log.warning("metrics_not_read", exc_info=error)
            return
        if not metrics:
            return
        result = self._in_thread(lambda: self._exporter.export(MetricsData(metrics)))
        self._outcomes.exported(succeeded=result is MetricExportResult.SUCCESS, items=1)

    @staticmethod
    def _read(source: MetricSource) -> ResourceMetrics:
        metrics = list(otlp_metrics(source.collector.collect(), since=source.since, now=clock.now()))
        scope = ScopeMetrics(InstrumentationScope(SCOPE, __version__), metrics, "")
        return ResourceMetrics(source.resource, [scope], "")


def otlp_metrics(families: Iterable[Family], *, since: float, now: float) -> Iterator[Metric]:
    """The metrics of prometheus_client as those of OTLP. `since`, `now`: UNIX seconds."""
    times = (int(since * 1e9), int(now * 1e9))
    for family in families:
        data: Sum | Gauge | Histogram
        if family.type == "histogram":
            data = Histogram(_histogram_points(family, times), _CUMULATIVE)
        elif family.type == "counter":
            data = Sum(_points(family, times, "_total"), _CUMULATIVE, is_monotonic=True)
        else:
            data = Gauge(_points(family, (0, times[1]), ""))
        if data.data_points:
            yield Metric(family.name, family.documentation, "", data)


def _points(family: Family, times: tuple[int, int], suffix: str) -> list[NumberDataPoint]:
    # Besides these a counter may have `_created` samples, which are not values. Some values are booleans, which the
    # protocol does not treat as numbers.
    name = family.name + suffix
    return [NumberDataPoint(each.labels, *times, float(each.value)) for each in family.samples if each.name == name]


def _histogram_points(family: Family, times: tuple[int, int]) -> list[HistogramDataPoint]:
    series: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != _LE}
        values = series.setdefault(tuple(labels.items()), {})
        values[sample.labels.get(_LE, sample.name.removeprefix(family.name))] = sample.value
    return [_histogram_point(dict(labels), values, times) for labels, values in series.items()]


def _histogram_point(labels: dict[str, str], values: dict[str, float], times: tuple[int, int]) -> HistogramDataPoint:
    # A Prometheus bucket counts everything up to its bound, an OTLP bucket only what is in it.
    buckets = sorted((float(le), count) for le, count in values.items() if not le.startswith("_"))
    below = (0.0, *(count for _, count in buckets))
    return HistogramDataPoint(
        labels,
        *times,
        count=int(values["_count"]),
        sum=values["_sum"],
        bucket_counts=[int(count - before) for (_, count), before in zip(buckets, below, strict=False)],
        explicit_bounds=[bound for bound, _ in buckets if bound != float("inf")],
        # Not known, so neither is sent.
        min=None,  # type: ignore[arg-type]  # optional in the protocol
        max=None,  # type: ignore[arg-type]  # as above
    )
