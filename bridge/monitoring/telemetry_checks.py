"""Checks of the telemetry that this environment asks for; no finding where it asks for none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bridge.errors import ConfigError
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.telemetry.switch import telemetry_of

__all__ = ["telemetry"]


def telemetry(environment: Mapping[str, str], *, outward: bool) -> Iterator[Finding]:
    """What is exported, or why it cannot be. `outward`: include whether the collectors accept it."""
    try:
        wanted = telemetry_of(environment)
    except ConfigError as error:
        for problem in error.problems:
            text, _, remedy = problem.removeprefix("environment: ").partition(" Remedy: ")
            yield Finding("telemetry", FAILURE, text.rstrip("."), remedy)
        return
    if wanted is None:
        return
    for what, place in (("traces", wanted.traces), ("metrics", wanted.metrics)):
        if place:
            yield _reached(what, place) if outward else Finding(f"telemetry: {what}", OK, f"exported to {place}")


def _reached(what: str, place: str) -> Finding:
    # OpenTelemetry is optional.
    from bridge.telemetry.otlp import problem_of_exporting  # noqa: PLC0415

    problem = problem_of_exporting(what)
    if not problem:
        return Finding(f"telemetry: {what}", OK, f"{place} takes them")
    remedy = "check the variables OTEL_EXPORTER_*, and that the collector runs"
    return Finding(f"telemetry: {what}", WARNING, f"{place} does not take them: {problem}", remedy)
