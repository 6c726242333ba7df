"""Health and event schemas, which need no token, and metrics, which do. No answer repeats the request.

Without a token, no answer names a source, a subscription or a server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import redis
from flask import Blueprint, Response, request
from prometheus_client.registry import Collector

from bridge.monitoring.metrics import WebMetrics, expose
from bridge.runtime.processes import PARTS
from bridge.state.expiry import LONGEST_HEARTBEAT
from bridge.state.running import Running, RunningProcesses, last_beats
from bridge.web.api.common import VIEWER, may_read, needs

__all__ = ["PartsReport", "StateReport", "blueprint", "part_lines"]

#: Why the gate is closed, None while it is open.
StateReport = Callable[[], str | None]
#: One line per process of the bridge.
PartsReport = Callable[[], list[str]]


def part_lines(client: redis.Redis, now: float) -> list[str]:
    """One line per process of the bridge, by its heartbeat. Webhooks work without the other processes."""
    running: list[Running] = []
    # On a cluster, the register may be away, and the heartbeats not.
    with suppress(redis.RedisError):
        running = RunningProcesses(client).read(now)
    try:
        beats = last_beats(client, PARTS)
        return [_part_line(name, beat, now, running) for name, beat in zip(PARTS, beats, strict=True)]
    except (redis.RedisError, ValueError) as error:
        return [f"[-]parts unknown: {type(error).__name__}"]


def _part_line(name: str, beat: bytes | redis.RedisError | None, now: float, running: Sequence[Running]) -> str:
    if isinstance(beat, redis.RedisError):
        return f"[-]{name} unknown: {type(beat).__name__}"
    if beat is None:
        return f"[-]{name} missing: no heartbeat. Remedy: check its log, or start it with attempt-bridge {name}"
    age = now - float(beat)
    if age < -LONGEST_HEARTBEAT:
        return f"[-]{name} unknown: heartbeat {-age:.0f} s in the future. Remedy: check that it runs, and the clocks"
    loaded = {each.digest: each.loaded_at for each in running if each.name == name}
    configurations = [f", configuration {digest} since {max(now - at, 0):.0f} s" for digest, at in loaded.items()]
    return f"[+]{name} ok: heartbeat {max(age, 0):.0f} s ago{''.join(configurations)}"


def blueprint(
    state: StateReport,
    parts: PartsReport,
    metrics: WebMetrics,
    metrics_directory: Path | None,
    gauges: Collector,
) -> Blueprint:
    """`/livez`, `/readyz`, `/metrics`, and the schemas of `data`, such as `/schemas/attempt/1.0.json`."""
    health = Blueprint("probes", __name__)

    @health.get("/livez")
    def livez() -> Response:
        return _answer([("ping", None)])

    @health.get("/readyz")
    def readyz() -> Response:
        problem = state()
        # Only with ?verbose and never in the status: a missing process must not take web out of service.
        process_lines = parts() if problem is None and "verbose" in request.args else []
        return _answer([("state", _visible_reason(problem))], process_lines)

    @health.get("/metrics")
    @needs(VIEWER)
    def show_metrics() -> Response:
        text, media_type = expose(metrics, metrics_directory, gauges)
        return Response(text, content_type=media_type)

    @health.get("/schemas/<any(attempt, notice):kind>/1.0.json")
    def schema(kind: str) -> Response:
        text = files("schemas").joinpath(f"{kind}-1.0.schema.json").read_bytes()
        return Response(text, content_type="application/schema+json", headers={"Cache-Control": "max-age=86400"})

    return health


def _visible_reason(problem: str | None) -> str | None:
    if problem is None or may_read():
        return problem
    return "reason hidden. Remedy: send a token, or run attempt-bridge doctor"


def _answer(checks: list[tuple[str, str | None]], process_lines: Sequence[str] = ()) -> Response:
    """Kubernetes' form: machines read the status, people the lines of `?verbose`; only `checks` decide the status."""
    failed = any(problem is not None for _, problem in checks)
    lines = [f"[-]{name} failed: {problem}" if problem else f"[+]{name} ok" for name, problem in checks]
    end = f"{request.path[1:]} check {'failed' if failed else 'passed'}"
    text = "\n".join([*lines, *process_lines, end]) if failed or "verbose" in request.args else "ok"
    return Response(f"{text}\n", status=503 if failed else 200, content_type="text/plain; charset=utf-8")
