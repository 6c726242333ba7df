"""Which variables turn telemetry on, and what is refused in one line."""

from __future__ import annotations

import sys

import pytest

from bridge.errors import ConfigError
from bridge.telemetry.switch import Telemetry, telemetry_of

ON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:secret@collector.example:4318/otlp?key=CANARY"}
PLACE = "https://collector.example:4318"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "bridge", "OTEL_TRACES_SAMPLER": "nonsense"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**ON, "OTEL_SDK_DISABLED": "True"},
        {**ON, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_or_with_what_turns_it_off_nothing_is_exported(environment: dict[str, str]) -> None:
    assert telemetry_of(environment) is None


def test_an_endpoint_turns_both_on_and_only_its_host_is_named() -> None:
    assert telemetry_of(ON) == Telemetry(traces=PLACE, metrics=PLACE, interval=60.0, names_service=False)


def test_each_signal_can_have_an_endpoint_of_its_own_or_none() -> None:
    traces_alone = telemetry_of({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1]:4318/v1/traces"})
    assert traces_alone is not None
    assert (traces_alone.traces, traces_alone.metrics) == ("http://[::1]:4318", "")
    more = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRIC_EXPORT_INTERVAL": "5000", "OTEL_SERVICE_NAME": "b"}
    assert telemetry_of({**ON, **more}) == Telemetry(traces="", metrics=PLACE, interval=5.0, names_service=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector.example:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:port"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector.example"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1.5"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1e9"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "nan"),
    ],
)
def test_what_cannot_be_used_is_one_line_with_its_remedy(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        telemetry_of({**ON, name: value})
    (problem,) = refused.value.problems
    assert problem.startswith(f"environment: {name}: ")
    assert "Remedy: " in problem
    assert "CANARY" not in problem
    assert "secret" not in problem


def test_a_ratio_that_is_no_share_is_refused() -> None:
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10"}
    with pytest.raises(ConfigError, match=r"OTEL_TRACES_SAMPLER_ARG: .* Remedy: "):
        telemetry_of({**ON, **ratio})
    assert telemetry_of({**ON, **ratio, "OTEL_TRACES_SAMPLER_ARG": "0.1"}) is not None


def test_a_missing_dependency_is_one_line_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError) as refused:
        telemetry_of(ON)
    assert refused.value.problems == (
        "environment: OTEL_EXPORTER_OTLP_ENDPOINT: it is set, but OpenTelemetry is not installed. "
        "Remedy: pip install 'opentelemetry-exporter-otlp-proto-http>=1.45,<2', or unset it",
    )
    assert telemetry_of({}) is None
