"""What every package calls: where an event has its trace, which words a failure has, and that off is nothing."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from bridge.errors import StateUnavailable
from bridge.telemetry import tracing
from bridge.telemetry.tracing import INTERNAL, failure_word, traceparent_of, valid_traceparent
from tests.support.tracing import keeping

OURS = f"00-{'1' * 32}-{'2' * 16}-01"
OTHER = f"00-{'3' * 32}-{'4' * 16}-01"
ROOT = Path(__file__).parents[2]


def event(*, traced: bool = True, data: object = None) -> bytes:
    document = {"id": "e", "subject": f'","traceparent":"{OTHER}","data":', "bridgeorigin": "poll"}
    if traced:
        document["traceparent"] = OURS
    return json.dumps({**document, "data": data}, separators=(",", ":")).encode()


def test_the_trace_of_an_event_is_its_attribute_and_nothing_that_others_wrote_into_it() -> None:
    named_by_vendor = {"extensions": {"traceparent": OTHER, "data": {}}}
    with keeping():
        assert traceparent_of(event(data=named_by_vendor)) == OURS
        assert traceparent_of(event(traced=False, data=named_by_vendor)) == ""
        assert traceparent_of(event().replace(OURS.encode(), b"00-1-2-01")) == ""
        assert traceparent_of(b"") == traceparent_of(b"{}") == ""


@pytest.mark.parametrize(
    "text",
    [
        f"00-{'0' * 32}-{'2' * 16}-01",
        f"00-{'1' * 32}-{'0' * 16}-01",
        f"01-{'1' * 32}-{'2' * 16}-01",
        f"00-{'A' * 32}-{'2' * 16}-01",
        f"{OURS},{OURS}",
        f"{OURS}\n",
        f"{OURS}-more",
        "",
    ],
)
def test_what_others_send_is_a_traceparent_only_to_the_letter(text: str) -> None:
    assert valid_traceparent(OURS)
    assert not valid_traceparent(text)


def test_a_failure_is_named_by_its_fixed_reason_or_its_class_and_never_by_its_text() -> None:
    assert failure_word(StateUnavailable("CANARY at 10.0.0.1")) == "state_unavailable"
    assert failure_word(ValueError("CANARY")) == "ValueError"


def test_without_a_tracer_nothing_is_made_and_nothing_is_read() -> None:
    assert tracing.publication("eu", "classmarker", "poll") is None
    assert traceparent_of(event()) == ""
    first, second = tracing.start("a", INTERNAL, {}), tracing.start("b", INTERNAL, {})
    assert first is second is tracing.current()
    with first as span, span.active():
        span.set({"a": 1})
        span.fail("b")
    assert span.traceparent == ""


def test_opentelemetry_is_imported_by_the_exporters_alone_and_they_only_where_telemetry_is_on() -> None:
    importing: dict[str, set[str]] = {"opentelemetry": set(), "bridge.telemetry.otlp": set()}
    for path in [path for folder in ("bridge", "workers", "schemas") for path in (ROOT / folder).rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if not any(what in text for what in importing):
            continue
        tree = ast.parse(text)
        at_import = [*tree.body, *(each for node in tree.body if isinstance(node, ast.Try) for each in node.body)]
        for node in at_import:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for what, modules in importing.items():
                if any(name.startswith(what) for name in names):
                    modules.add(path.relative_to(ROOT).as_posix())
    assert importing == {
        "opentelemetry": {"bridge/telemetry/otlp.py", "bridge/telemetry/otlp_metrics.py"},
        "bridge.telemetry.otlp": {"bridge/telemetry/otlp_metrics.py"},
    }
