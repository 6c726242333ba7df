"""Telemetry of a web process: its traces, and the metrics of the whole bridge, as `/metrics` shows them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent.threadpool import ThreadPool

from bridge.errors import StateUnavailable
from bridge.monitoring.metrics import web_metrics
from bridge.monitoring.state_collector import StateCollector
from bridge.services import Services
from bridge.settings import environment
from bridge.state.lease import Lease
from bridge.telemetry.process import ExportedMetrics, RunningTelemetry, begin
from bridge.telemetry.switch import telemetry_of

__all__ = ["Leader", "begin_in_web"]


def begin_in_web(services: Services) -> RunningTelemetry:
    """Export traces and metrics from now on, if the environment asks for it. Call it after forking and patching.

    Raises `ConfigError`.
    """
    wanted = telemetry_of(environment())
    if wanted is None:
        return RunningTelemetry()
    # One that is killed is replaced after two exports.
    leader = Leader(Lease(services.state, "telemetry", str(uuid.uuid4()), seconds=2.5 * wanted.interval))
    metrics = ExportedMetrics(
        own=web_metrics().registry, shared=StateCollector(services), leads=leader, resign=leader.resign
    )
    return begin(wanted, "web", services.config.bridge.name, metrics=metrics, in_thread=_Thread())


class _Thread:
    """A system thread: what blocks in OpenSSL, or takes its time in protobuf, would hold up every greenlet."""

    def __init__(self) -> None:
        self._pool = ThreadPool(2)  # one for traces, one for metrics

    def __call__(self, call: Callable[[], Any]) -> Any:
        return self._pool.apply(call)


class Leader:
    """Whether this process exports what every process would export alike. Stays as it was without the state server."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._leads = False

    def __call__(self) -> bool:
        """Whether it leads from now on, for as long as the lease lasts."""
        with suppress(StateUnavailable):
            self._leads = self._lease.hold()
        return self._leads

    def resign(self) -> None:
        """Let another process lead at once."""
        if self._leads:
            with suppress(StateUnavailable):
                self._lease.release()
