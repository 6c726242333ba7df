"""The web application: webhooks in front, health, metrics and the schema behind. No process is started here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import structlog
from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from bridge import clock
from bridge.config.model import Config
from bridge.errors import StateUnavailable
from bridge.monitoring.doctor import require_safe_state, require_same_bridge
from bridge.monitoring.metrics import web_metrics
from bridge.monitoring.state_collector import StateCollector
from bridge.quota.budgets import paused_by_operator
from bridge.services import Services
from bridge.state import keys
from bridge.state.client import state_client
from bridge.web.api import register_api
from bridge.web.gate import Gate
from bridge.web.group_commit import GroupCommit
from bridge.web.health import blueprint, part_lines, state_problem
from bridge.web.hooks import BODY_SECONDS, PREFIX, Receiver

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["create_app"]

_log = structlog.get_logger(__name__)

#: Of the probe and of `/readyz`: shorter than a publish, so that the gate closes before requests pile up.
_PROBE_SECONDS = 0.5
#: Of the heartbeat, seconds; web counts as missing after three times as long.
_BEAT_SECONDS = 5.0


class _Bridge(Flask):
    """Flask behind the receiver of webhooks."""

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
) -> Flask:
    """The application for one process. Call it after forking: it starts the gate's probe unless one is given.

    `body_seconds`: until then a webhook's body must be complete. `metrics_directory`: where the processes of one server
    share their numbers. `services` is found again under `app.extensions["bridge"]`.
    """
    probe = state_client(services.state_url, timeout=_PROBE_SECONDS, retries=0)
    asks = _Question(probe, services.config, services.now)
    if gate is None:
        gate = Gate(asks)
        gate.start()
    opened, metrics = gate, web_metrics()
    app = _Bridge(__name__, static_folder=None)
    app.extensions["bridge"] = services
    publisher = GroupCommit(services.journal, observe=metrics.batch.observe)
    app.receiver = Receiver(
        services, gate, publisher, metrics, paused=lambda name: name in asks.paused, body_seconds=body_seconds
    )
    app.register_blueprint(
        blueprint(
            lambda: state_problem(probe, lambda: opened.failure),
            lambda: part_lines(probe, services.now()),
            metrics,
            metrics_directory,
            StateCollector(services),
        )
    )
    register_api(app)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StateUnavailable, _state_unavailable)
    app.after_request(_secure)
    return app


class _Question:
    """What the gate asks: which sources an operator has paused, once the server has been found safe and ours.

    It costs what a ping would, so a webhook need not ask. The server may come up long after web. Every few answers it
    leaves a heartbeat there.
    """

    def __init__(self, client: redis.Redis, config: Config, now: Callable[[], float]) -> None:
        self._now = now
        self._beat_at = 0.0
        self.paused: frozenset[str] = frozenset()
        self._client = client
        self._bridge = config.bridge
        self._sources = tuple(config.sources)
        self._checked = False

    def __call__(self) -> None:
        if not self._checked:
            require_safe_state(self._client)
            require_same_bridge(self._client, self._bridge)
            self._checked = True
        if self._sources:
            self.paused = paused_by_operator(self._client, self._sources)
        else:
            self._client.ping()
        self._beat()

    def _beat(self) -> None:
        if clock.monotonic() < self._beat_at:
            return
        self._beat_at = clock.monotonic() + _BEAT_SECONDS
        try:
            self._client.set(keys.heartbeat("web"), f"{self._now():.3f}", ex=int(_BEAT_SECONDS * 3))
        except redis.ResponseError as error:
            # Out of memory, read-only: what a webhook gets then is not decided here.
            _log.warning("heartbeat_failed", process="web", problem=type(error).__name__)


def _http_error(error: HTTPException) -> Response:
    facts = getattr(error, "data", None) or {}
    body: dict[str, Any] = {"error": facts.get("message", error.name)}
    if problems := facts.get("errors") or facts.get("messages"):
        body["problems"] = problems.get("json", problems.get("query", problems))
    answer = jsonify(body)
    answer.status_code = error.code or 500
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _state_unavailable(error: StateUnavailable) -> Response:
    answer = jsonify(error="state unavailable")
    answer.status_code = 503
    answer.headers["Retry-After"] = "10"
    return answer


def _secure(answer: Response) -> Response:
    headers = answer.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    headers.setdefault("Referrer-Policy", "no-referrer")
    return answer
