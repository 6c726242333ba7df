"""The Prometheus metrics of a web process, and their text form. Labels are configured names and fixed words only."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from bridge.settings import process_environment

__all__ = ["MULTIPROCESS_VARIABLE", "WebMetrics", "drop_process_gauges", "expose", "web_metrics"]

#: Directory where the processes of one server share their numbers; `prometheus_client` reads the variable itself.
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: Size of a new file of the library; room for some two thousand label values.
_FILE_BYTES = 1 << 18
#: Seconds. Targets for receiving are 5.5 and 20 ms; vendors wait at most 3 s.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0)

_log = structlog.get_logger(__name__)


class WebMetrics:
    """The metrics that a web process counts, in `registry`."""

    def __init__(self) -> None:
        # The library decides at import whether processes share files. Our master process imports it before the
        # directory is known, so decide again.
        shared = _reserve_files(process_environment().get(MULTIPROCESS_VARIABLE))
        values.ValueClass = values.get_value_class() if shared else values.MutexValue  # type: ignore[no-untyped-call]  # the library has no types here
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
        self.unconfirmed = Counter(
            "bridge_unconfirmed_writes",
            "Writes of web processes that too few replicas confirmed in time; with `durability.ack: replica`.",
            registry=self.registry,
        )


def _reserve_files(directory: str | None) -> bool:
    """Whether this process may share its numbers; reserves the disk space for them.

    The library maps sparse files into memory. On a full disk the first write to one would end the process (SIGBUS), and
    each process that follows: better to be without metrics than without webhooks.
    """
    if not directory:
        return True
    try:
        for kind in ("counter", "histogram"):
            with (Path(directory) / f"{kind}_{os.getpid()}.db").open("xb") as file:
                file.write(bytes(_FILE_BYTES))
    except FileExistsError:
        return True
    except OSError as error:
        for file_name in Path(directory).glob(f"*_{os.getpid()}.db"):
            file_name.unlink(missing_ok=True)
        _log.warning("metrics_not_shared", problem=error.strerror, remedy="make room on the disk and restart web")
        return False
    return True


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
