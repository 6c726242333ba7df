"""Whether this process exports telemetry, and what: the standard variables of OpenTelemetry. Pure.

The SDK reads the same variables itself, and more of them; what the SDK would guess or ignore is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from bridge.errors import ConfigError, clip

__all__ = ["ENDPOINT", "Telemetry", "telemetry_of"]

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SIGNALS = ("TRACES", "METRICS")
_SAMPLERS = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
_QUEUE, _BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_WHOLE_NUMBERS = (_QUEUE, _BATCH, "OTEL_BSP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL")
_SECONDS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT")
_MODULE = "opentelemetry.exporter.otlp.proto.http"
_REMEDY = "Remedy: pip install 'opentelemetry-exporter-otlp-proto-http>=1.45,<2', or unset it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What is exported."""

    #: Where spans go, without a path; empty: nowhere.
    traces: str
    #: Where metrics go, without a path; empty: nowhere.
    metrics: str
    #: Seconds between two exports of metrics.
    interval: float
    #: Whether the environment names the service.
    names_service: bool


def telemetry_of(environment: Mapping[str, str]) -> Telemetry | None:
    """What to export: signals with an endpoint, unless OTEL_SDK_DISABLED or exporter `none` is set. None: nothing.

    Raises `ConfigError` with every variable that cannot be used, and if the optional dependency is missing.
    """
    given = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_") and value.strip()}
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    endpoints = {signal: _endpoint_of(given, signal) for signal in _SIGNALS}
    used = {signal: name for signal, name in endpoints.items() if name}
    if not used:
        return None
    problems = [f"environment: {line}" for line in (*_problems(given, used), *_number_problems(given))]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    if not _is_installed():
        name = next(iter(used.values()))
        raise ConfigError(f"environment: {name}: it is set, but OpenTelemetry is not installed. {_REMEDY}")
    places = {signal: _place(given[name]) for signal, name in used.items()}
    return Telemetry(
        traces=places.get("TRACES", ""),
        metrics=places.get("METRICS", ""),
        interval=int(given.get("OTEL_METRIC_EXPORT_INTERVAL", 60_000)) / 1000,
        names_service="OTEL_SERVICE_NAME" in given or "service.name=" in given.get("OTEL_RESOURCE_ATTRIBUTES", ""),
    )


def _endpoint_of(given: Mapping[str, str], signal: str) -> str:
    """The variable with the endpoint of a signal; empty: it is not exported."""
    if given.get(f"OTEL_{signal}_EXPORTER", "").lower() == "none":
        return ""
    names = (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", ENDPOINT)
    return next((name for name in names if name in given), "")


def _problems(given: Mapping[str, str], used: Mapping[str, str]) -> list[str]:
    problems = []
    for signal, name in used.items():
        if not _place(given[name]):
            problems.append(f"{name}: is not an address like http://collector:4318. Remedy: correct it, or unset it")
        exporter = given.get(f"OTEL_{signal}_EXPORTER", "otlp")
        if exporter.lower() != "otlp":
            problems.append(f'OTEL_{signal}_EXPORTER: "{clip(exporter, 30)}" is not supported. Remedy: otlp or none')
        for protocol in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if given.get(protocol, "http/protobuf") != "http/protobuf":
                problems.append(
                    f'{protocol}: "{clip(given[protocol], 30)}" is not supported. Remedy: http/protobuf, and the '
                    "collector's port for HTTP, by default 4318"
                )
    sampler = given.get("OTEL_TRACES_SAMPLER", _SAMPLERS[0]).lower()
    if sampler not in _SAMPLERS:
        known = ", ".join(_SAMPLERS)
        problems.append(f'OTEL_TRACES_SAMPLER: "{clip(sampler, 30)}" is not known. Remedy: one of {known}')
    return problems


def _number_problems(given: Mapping[str, str]) -> list[str]:
    problems = [
        f"{name}: is not a whole number above 0. Remedy: correct it, or unset it"
        for name in _WHOLE_NUMBERS
        if not _is_whole(given.get(name, "1"))
    ]
    problems += [
        f"{name}: is not a number of seconds above 0 and up to 60. Remedy: correct it, or unset it"
        for name in _SECONDS
        if not 0 < _number(given.get(name, "10")) <= 60
    ]
    ratio = given.get("OTEL_TRACES_SAMPLER_ARG", "1")
    if "traceidratio" in given.get("OTEL_TRACES_SAMPLER", "") and not 0 <= _number(ratio) <= 1:
        problems.append("OTEL_TRACES_SAMPLER_ARG: is not a number from 0 to 1. Remedy: correct it, or unset it")
    if not problems and int(given.get(_BATCH, 512)) > int(given.get(_QUEUE, 2048)):
        problems.append(f"{_BATCH}: is above {_QUEUE}. Remedy: lower it, or set {_QUEUE}")
    return problems


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _place(address: str) -> str:
    """Scheme, host and port of an address; empty if it has none."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def _is_installed() -> bool:
    try:
        return find_spec(_MODULE) is not None
    except ModuleNotFoundError:
        return False
