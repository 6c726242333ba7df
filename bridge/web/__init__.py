"""The web application: webhooks, health, metrics, schemas, the API and the dashboard. Starts no process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import redis
import structlog
from flask import Flask, Response

from bridge import clock
from bridge.config.model import Config
from bridge.errors import StateUnavailable
from bridge.journal import Journal
from bridge.monitoring.metrics import web_metrics
from bridge.monitoring.server_checks import FAILURE, eviction, full
from bridge.monitoring.state_checks import require_safe_state, require_same_bridge
from bridge.monitoring.state_collector import StateCollector
from bridge.quota.budgets import paused_by_operator
from bridge.services import Services
from bridge.state import keys
from bridge.state.client import state_client
from bridge.state.confirming_client import ConfirmingClient
from bridge.state.running import process_id
from bridge.state.upgrade import make_current
from bridge.telemetry import tracing
from bridge.web.api import register_api
from bridge.web.gate import Gate
from bridge.web.group_commit import GroupCommit
from bridge.web.health import blueprint, part_lines
from bridge.web.hooks import BODY_SECONDS, PREFIX, Receiver
from bridge.web.live import Live
from bridge.web.open_access import refuse_other_hosts
from bridge.web.traced_hooks import TracedReceiver
from bridge.web.ui import register_ui

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["create_app"]

_log = structlog.get_logger(__name__)

#: Time-out of the probe and of `/readyz`: shorter than a publish, so that the gate closes before requests pile up.
_PROBE_SECONDS = 0.5
#: Interval of the heartbeat, seconds; web counts as missing after three times that.
_BEAT_SECONDS = 5.0
#: Between two questions about the server's memory and settings while all is well; the server itself refuses writes when
#: it is full.
_MEMORY_SECONDS = 1.0


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
        confirmation=services.config.bridge.durability.confirmation,
    )
    state_probe = _StateProbe(probe_client, services.config, services.now, on_probe)
    started_gate, metrics = gate or Gate(state_probe), web_metrics()
    for client in (probe_client, services.state, services.blocking_client):
        if isinstance(client, ConfirmingClient):
            client.on_unconfirmed = metrics.unconfirmed.inc
    app = _Bridge(__name__, static_folder=None)
    app.extensions["bridge"] = services
    publisher = GroupCommit(services.journal, observe=metrics.batch.observe)
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


class _StateProbe:
    """The gate's probe: reads which sources an operator has paused, and stores a heartbeat every few calls.

    What it finds decides how webhooks are answered and what `/readyz` says: evicting or full servers lose data. It asks
    for that once a second, and in the call after one that failed. The first call that reaches the server also checks
    that the server is safe and belongs to this bridge; the server may start long after web.
    """

    def __init__(
        self,
        client: redis.Redis,
        config: Config,
        now: Callable[[], float],
        and_last: Callable[[redis.Redis], object] = lambda client: None,
    ) -> None:
        self._now = now
        self._and_last = and_last
        self._beat_at = self._memory_at = 0.0
        self.paused: frozenset[str] = frozenset()
        self._client = client
        self._bridge = config.bridge
        self._sources = tuple(config.sources)
        self._checked = False
        #: Also done at every call, whether the server answers or not.
        self.and_then: Callable[[], object] = lambda: None
        #: Whether the server, or its replicas, lately failed to take a write: then each call stores a heartbeat.
        self.is_doubtful: Callable[[], bool] = lambda: False

    def __call__(self) -> None:
        self.and_then()
        # Whatever fails below, the next call asks again.
        memory_at, self._memory_at = self._memory_at, 0.0
        if not self._checked:
            require_safe_state(self._client)
            make_current(self._client, process_id("web"), self._now())
            require_same_bridge(self._client, self._bridge)
            Journal(self._client, partitions=self._bridge.partitions).mark_buckets()
            self._checked = True
        if self._sources:
            self.paused = paused_by_operator(self._client, self._sources)
        # Without sources this is the only question, and shows whether the server answers.
        if not self._sources or clock.monotonic() >= memory_at:
            self._require_memory()
            memory_at = clock.monotonic() + _MEMORY_SECONDS
        self._beat()
        self._and_last(self._client)
        self._memory_at = memory_at

    def _require_memory(self) -> None:
        info = self._client.info("memory")
        for finding in (eviction(info), full(info)):
            if finding.status == FAILURE:
                raise StateUnavailable(f"{finding.name} {finding.text}. Remedy: {finding.remedy}")

    def _beat(self) -> None:
        if clock.monotonic() < self._beat_at and not self.is_doubtful():
            return
        # A server that refuses this refuses events too, such as a read-only one, or one whose replicas are away: the
        # gate is closed until it is stored.
        self._client.set(keys.heartbeat("web"), f"{self._now():.3f}", ex=int(_BEAT_SECONDS * 3))
        self._beat_at = clock.monotonic() + _BEAT_SECONDS


def _add_security_headers(answer: Response) -> Response:
    headers = answer.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Referrer-Policy", "no-referrer")
    return answer
