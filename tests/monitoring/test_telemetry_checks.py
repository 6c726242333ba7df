"""What `doctor` says of telemetry."""

from __future__ import annotations

import pytest

from bridge.monitoring.telemetry_checks import telemetry
from tests.support.otlp import collector


def test_where_nothing_is_exported_nothing_is_said() -> None:
    assert list(telemetry({"OTEL_SERVICE_NAME": "bridge"}, outward=True)) == []


def test_what_cannot_be_used_is_a_failure_with_its_remedy() -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    (finding,) = telemetry(given, outward=True)
    assert (finding.name, finding.status) == ("telemetry", "failure")
    assert finding.text == 'OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not supported'
    assert finding.remedy.startswith("http/protobuf, and the collector's port for HTTP")


def test_the_collector_is_asked_whether_it_takes_something(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as got:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": got.url}
        taken = list(telemetry(environment, outward=True))
        assert [(finding.status, finding.text) for finding in taken] == [("ok", f"{got.url} takes them")] * 2
        assert got.begun == 2
        got.status = 401
        refused = list(telemetry(environment, outward=True))
        problem = f"{got.url} does not take them: HTTP 401"
        assert [(finding.status, finding.text) for finding in refused] == [("warning", problem)] * 2
    (first, _) = telemetry(environment, outward=False)
    assert (first.status, first.text) == ("ok", f"exported to {got.url}")
