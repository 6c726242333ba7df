"""The Prometheus metrics of a web process, and their text form. Labels are configured names and fixed words only."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

__all__ = ["MULTIPROCESS_VARIABLE", "WebMetrics", "drop_process_gauges", "expose", "web_metrics"]

#: Directory where the processes of one server share their numbers; `prometheus_client` reads the variable itself.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: Seconds. Targets for receiving are 5.5 and 20 ms; vendors wait at most 3 s.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0)


class WebMetrics:
    """The metrics that a web process counts, in `registry`."""

    def __init__(self) -> None:
        # The library decides at import whether processes share files. Our master process imports it before the
        # directory is known, so decide again.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # the library has no types here
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bridge_webhook_requests",
            "Webhooks by outcome; requests for an unknown source have an empty source.",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "bridge_webhook_request_duration_seconds",
            "Time from the end of a webhook's headers to the response.",
            ["vendor"],
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.batch = Histogram(
            "bridge_publish_batch_size",
            "Webhooks that one call made durable.",
            registry=self.registry,
            buckets=(1, 2, 5, 10, 20, 50, 100),
        )


@cache
def web_metrics() -> WebMetrics:
    """The metrics of this process; Prometheus allows each name only once."""
    return WebMetrics()


def expose(metrics: WebMetrics, directory: Path | None, *more: Collector) -> tuple[bytes, str]:
    """(all metrics as text, media type).

    `directory`: shared by sibling processes, if there are any. `more`: collectors that are the same in all processes.
    """
    together = CollectorRegistry()
    for collector in more:
        together.register(collector)
    if directory is None:
        return generate_latest(metrics.registry) + generate_latest(together), CONTENT_TYPE_LATEST
    multiprocess.MultiProcessCollector(together, path=os.fspath(directory))  # type: ignore[no-untyped-call]  # as above
    return generate_latest(together), CONTENT_TYPE_LATEST


def drop_process_gauges(pid: int, directory: Path) -> None:
    """Drop the gauges of a web process that has ended; its counters are kept."""
    multiprocess.mark_process_dead(pid, path=os.fspath(directory))  # type: ignore[no-untyped-call]  # as above
