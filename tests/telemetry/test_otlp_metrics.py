"""Metrics of prometheus_client as those of OTLP."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily

from bridge.telemetry.otlp_metrics import otlp_metrics


def points(registry: CollectorRegistry) -> dict[str, Any]:
    return {metric.name: metric.data for metric in otlp_metrics(registry.collect(), since=1.0, now=2.5)}


def test_a_counter_is_a_cumulative_sum_with_its_name_as_before_total() -> None:
    registry = CollectorRegistry()
    Counter("bridge_webhook_requests", "Webhooks.", ["source"], registry=registry).labels("eu").inc(3)
    data = points(registry)["bridge_webhook_requests"]
    assert (data.is_monotonic, data.aggregation_temporality.name) == (True, "CUMULATIVE")
    (point,) = data.data_points
    assert (point.attributes, point.value) == ({"source": "eu"}, 3.0)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (1_000_000_000, 2_500_000_000)


def test_a_histogram_counts_what_is_in_each_bucket_and_not_what_is_below() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "Time.", ["vendor"], registry=registry, buckets=(0.1, 1.0, 10.0))
    for value in (0.05, 0.5, 0.6, 99.0):
        histogram.labels("cirrus").observe(value)
    histogram.labels("mettl").observe(2.0)
    first, second = points(registry)["seconds"].data_points
    assert (first.attributes, first.explicit_bounds, first.bucket_counts) == (
        {"vendor": "cirrus"},
        [0.1, 1.0, 10.0],
        [1, 2, 0, 1],
    )
    assert (first.count, first.sum, first.min, first.max) == (4, 100.15, None, None)
    assert (second.bucket_counts, second.count) == ([0, 0, 1, 0], 1)


def test_a_boolean_is_a_number_and_a_metric_without_values_is_left_out() -> None:
    raised = GaugeMetricFamily("bridge_alarm", "Raised.", labels=["source"])
    raised.add_metric(["eu"], True)
    empty = GaugeMetricFamily("bridge_dead_letters", "Given up.", labels=["subscription"])
    (metric,) = otlp_metrics([raised, empty], since=1.0, now=2.0)
    assert [type(point.value) for point in metric.data.data_points] == [float]
    assert metric.data.data_points[0].value == 1.0
