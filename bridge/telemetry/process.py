"""Telemetry of one process: begun after its last fork, ended within a bounded time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from bridge import clock
from bridge.settings import environment
from bridge.telemetry import tracing
from bridge.telemetry.switch import Telemetry, telemetry_of

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

__all__ = ["STOP_SECONDS", "ExportedMetrics", "RunningTelemetry", "begin", "tracing_process"]

#: At the end of a process, what is not exported within this time is lost.
STOP_SECONDS = 2.0

_Result = TypeVar("_Result")

_log = structlog.get_logger(__name__)


def _directly(call: Callable[[], _Result]) -> _Result:
    return call()


@dataclass(frozen=True, kw_only=True)
class ExportedMetrics:
    """Metrics to export."""

    #: Metrics of this process only.
    own: Collector
    #: Metrics that are the same from every process.
    shared: Collector
    #: Whether this process is the one that exports `shared`; called before every export.
    leads: Callable[[], bool]
    #: Called after the last export.
    resign: Callable[[], None]


@dataclass(kw_only=True)
class RunningTelemetry:
    """What a process exports, until `end`."""

    #: Each ends one exporter within a number of seconds.
    ends: list[Callable[[float], None]] = field(default_factory=list)

    def end(self) -> None:
        """Export what there is, for at most `STOP_SECONDS` in all."""
        tracing.use(None)
        until = clock.monotonic() + STOP_SECONDS
        for end in self.ends:
            end(max(0.0, until - clock.monotonic()))


def begin(
    wanted: Telemetry,
    process: str,
    bridge: str,
    *,
    metrics: ExportedMetrics | None = None,
    in_thread: Callable[[Callable[[], Any]], Any] = _directly,
) -> RunningTelemetry:
    """Export traces and metrics of this process from now on.

    `in_thread` runs a call where blocking delays nothing. What the SDK raises is logged, and the process runs without
    telemetry.
    """
    running = RunningTelemetry()
    try:
        _begin(running, wanted, process, bridge, metrics, in_thread)
    except Exception as error:  # noqa: BLE001 - better to be without telemetry than without the process
        _log.error("telemetry_not_started", remedy="check the variables OTEL_*", exc_info=error)
        running.end()
    return running


def _begin(
    running: RunningTelemetry,
    wanted: Telemetry,
    process: str,
    bridge: str,
    metrics: ExportedMetrics | None,
    in_thread: Callable[[Callable[[], Any]], Any],
) -> None:
    # OpenTelemetry is optional, and a process without telemetry does not import it.
    from bridge.telemetry.otlp import SdkTracer, resource_of, silence_sdk  # noqa: PLC0415

    silence_sdk()
    resource = resource_of(process, bridge, str(uuid.uuid4()), named=wanted.names_service)
    if wanted.traces:
        tracer = SdkTracer(resource, in_thread=in_thread)
        running.ends.append(tracer.shutdown)
        tracing.use(tracer)
    if wanted.metrics and metrics is not None:
        from bridge.telemetry.otlp_metrics import MetricSource, PeriodicMetrics  # noqa: PLC0415

        # All processes together have one set of these, whichever exports them.
        state = resource_of("state", bridge, f"{bridge}/state", named=wanted.names_service)
        sources = [
            MetricSource(resource, metrics.own, since=clock.now()),
            MetricSource(state, metrics.shared, is_ours=metrics.leads),
        ]
        running.ends.append(PeriodicMetrics(sources, wanted.interval, in_thread=in_thread).shutdown)
        running.ends.append(lambda seconds: metrics.resign())
    _log.info("telemetry_started", process=process, traces=wanted.traces or None, metrics=wanted.metrics or None)


@contextmanager
def tracing_process(process: str, bridge: str) -> Iterator[None]:
    """Export the traces of a process that does not fork, if the environment asks for it, while the block runs.

    Raises `ConfigError`.
    """
    wanted = telemetry_of(environment())
    running = RunningTelemetry() if wanted is None else begin(wanted, process, bridge)
    try:
        yield
    finally:
        running.end()
