"""The bridge's Prometheus metrics by process, and their text form. Labels are configured names and fixed words only."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

__all__ = ["MULTIPROCESS_VARIABLE", "WebMetrics", "drop_process_gauges", "expose", "web_metrics"]

#: Where the processes of one server share their numbers; `prometheus_client` reads it itself.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: Seconds. The marks of the receiving side are 5.5 and 20 ms; 3 s is what a vendor waits at most.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0)


class WebMetrics:
    """What the web process counts. `registry` is where they are listed."""

    def __init__(self) -> None:
        # The library decides when it is imported whether processes share files. Our master imports it before the
        # directory is known, so the decision is made again.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # the library has no types here
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bridge_webhook_requests",
            "Webhooks by what became of them; requests for no configured source have an empty source.",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "bridge_webhook_request_duration_seconds",
            "From the end of a webhook's headers to the answer.",
            ["vendor"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.batch = Histogram(
            "bridge_publish_batch_size",
            "Webhooks that were made durable in one call.",
            registry=self.registry,
            buckets=(1, 2, 5, 10, 20, 50, 100),
        )


@cache
def web_metrics() -> WebMetrics:
    """The metrics of this process: Prometheus allows each name once."""
    return WebMetrics()


def expose(metrics: WebMetrics, directory: Path | None, *more: Collector) -> tuple[bytes, str]:
    """All numbers as text, and its media type. `directory`: where sibling processes keep theirs, if there are any.
    `more`: what is the same in all processes."""
    together = CollectorRegistry()
    for collector in more:
        together.register(collector)
    if directory is None:
        return generate_latest(metrics.registry) + generate_latest(together), CONTENT_TYPE_LATEST
    multiprocess.MultiProcessCollector(together, path=os.fspath(directory))  # type: ignore[no-untyped-call]  # as above
    return generate_latest(together), CONTENT_TYPE_LATEST


def drop_process_gauges(pid: int, directory: Path) -> None:
    """Drop the gauges of a web process that has ended; its counters stay."""
    multiprocess.mark_process_dead(pid, path=os.fspath(directory))  # type: ignore[no-untyped-call]  # as above
