"""The web application: webhooks, health, metrics, schemas, the API and the dashboard. Starts no process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import redis
import structlog
from flask import Flask, Response

from bridge.monitoring.metrics import web_metrics
from bridge.monitoring.state_collector import StateCollector
from bridge.services import Services
from bridge.state.client import state_client
from bridge.state.cluster.client import ClusterClient
from bridge.telemetry import tracing
from bridge.web.api import register_api
from bridge.web.gate import Gate
from bridge.web.group_commit import GroupCommit, PartitionedCommit
from bridge.web.health import blueprint, part_lines
from bridge.web.hooks import BODY_SECONDS, PREFIX, Receiver
from bridge.web.live import Live
from bridge.web.open_access import refuse_other_hosts
from bridge.web.shards import Shards
from bridge.web.state_probe import StateProbe
from bridge.web.traced_hooks import TracedReceiver
from bridge.web.ui import register_ui

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["create_app"]

_log = structlog.get_logger(__name__)

#: Time-out of the probe and of `/readyz`: shorter than a publish, so that the gate closes before requests pile up.
_PROBE_SECONDS = 0.5


class _Bridge(Flask):
    """Flask, with the receiver of webhooks in front of it."""

    receiver: Receiver

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(PREFIX):
            return self.receiver(environ, start_response)
        return super().wsgi_app(environ, start_response)


def create_app(
    services: Services,
    *,
    gate: Gate | None = None,
    body_seconds: float = BODY_SECONDS,
    metrics_directory: Path | None = None,
    on_probe: Callable[[redis.Redis], object] = lambda client: None,
    is_current: Callable[[], bool] = lambda: True,
) -> Flask:
    """The application of one process. Call it after forking: unless a gate is given, it starts one and its probe.

    `body_seconds`: time limit for a webhook's body. `metrics_directory`: where the processes of one server share their
    metrics. `on_probe` is called with the probe's client a few times a second while the state server can be used; what
    it raises closes the gate. Live streams end once `is_current` is false. `app.extensions["bridge"]` holds `services`.
    """
    probe_client = state_client(
        services.state_url,
        timeout=_PROBE_SECONDS,
        retries=0,
        confirmation=services.clients.confirmation,
    )
    shards = None
    if isinstance(probe_client, ClusterClient) and isinstance(services.state, ClusterClient):
        shards = Shards(probe_client, services.state)
    state_probe = StateProbe(probe_client, services.config, services.now, on_probe, shards)
    started_gate, metrics = gate or Gate(state_probe, one_server=shards is None), web_metrics()
    if services.clients.confirmation is not None:
        services.clients.confirmation.on_unconfirmed = metrics.unconfirmed.inc
    app = _Bridge(__name__, static_folder=None)
    app.extensions["bridge"] = services
    commit = GroupCommit if shards is None else PartitionedCommit
    publisher = commit(services.journal, observe=metrics.batch.observe)
    receiver = TracedReceiver if tracing.is_on() else Receiver
    app.receiver = receiver(
        services,
        started_gate,
        publisher,
        metrics,
        paused=lambda name: name in state_probe.paused,
        body_seconds=body_seconds,
    )
    state_probe.and_then = app.receiver.flush_log
    state_probe.is_doubtful = lambda: started_gate.failure is not None
    if gate is None:
        started_gate.start()
    app.register_blueprint(
        blueprint(
            lambda: started_gate.failure,
            lambda: part_lines(probe_client, services.now()),
            metrics,
            metrics_directory,
            StateCollector(services),
        )
    )
    if services.settings.open_access:
        refuse_other_hosts(app)
    register_api(app, Live(services.journal_reader, services.journal_tail, is_current=is_current))
    register_ui(app)
    app.after_request(_add_security_headers)
    return app


def _add_security_headers(answer: Response) -> Response:
    headers = answer.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Referrer-Policy", "no-referrer")
    return answer
