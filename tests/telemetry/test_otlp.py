"""The SDK's spans at a real receiver over HTTP: what is sampled, what is left out, and receivers that do harm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.errors import DeliveryFailed
from bridge.telemetry import tracing
from bridge.telemetry.otlp import SdkTracer, resource_of, silence_sdk
from bridge.telemetry.tracing import CLIENT, INTERNAL, SERVER
from tests.support.otlp import Collector, collector
from tests.support.waiting import until

FOREIGN = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        yield receiver


@pytest.fixture
def begin(got: Collector) -> Iterator[Callable[[], SdkTracer]]:
    begun: list[SdkTracer] = []
    before = set(threading.enumerate())

    def start() -> SdkTracer:
        silence_sdk()
        begun.append(SdkTracer(resource_of("web", "acme", "one", named=False), in_thread=lambda call: call()))
        tracing.use(begun[-1])
        return begun[-1]

    yield start
    tracing.use(None)
    got.hold.set()
    for tracer in begun:
        tracer.shutdown(10)
    # One that was given up on goes on exporting; in another test its random pauses would look like that test's own.
    until(lambda: set(threading.enumerate()) <= before)


def test_an_exception_is_exported_by_its_word_and_without_its_text(
    got: Collector, begin: Callable[[], SdkTracer]
) -> None:
    tracer = begin()
    for error in (ValueError("CANARY sam@example.test"), DeliveryFailed("CANARY", reason="receiver_error")):
        with pytest.raises(type(error)), tracing.start("send", CLIENT, {"attempt_bridge.source": "eu"}):
            raise error
    tracer.shutdown(10)
    assert [span.attributes["error.type"] for span in got.spans] == ["ValueError", "receiver_error"]
    assert all(span.failed and span.texts == [] for span in got.spans)
    assert b"CANARY" not in b"".join(got.raw)


def test_a_span_belongs_to_the_current_one_to_a_given_one_or_to_none(
    got: Collector, begin: Callable[[], SdkTracer]
) -> None:
    tracer = begin()
    with tracing.start("outer", SERVER, {}, root=True, link=FOREIGN) as outer:
        tracing.start("inner", INTERNAL, {}).end()
        tracing.start("apart", INTERNAL, {}, root=True, link="not a traceparent").end()
        tracing.current().set({"a": 1})
        # One that never ends is not exported.
        tracing.start("dropped", INTERNAL, {})
    tracing.start("later", INTERNAL, {}, parent=outer.traceparent).end()
    with outer.active():
        tracing.start("within", INTERNAL, {}).end()
    tracer.shutdown(10)
    by_name = {span.name: span for span in got.spans}
    assert set(by_name) == {"outer", "inner", "apart", "later", "within"}
    outer_id = by_name["outer"].id
    assert {name: span.parent for name, span in by_name.items()} == {
        "outer": "",
        "inner": outer_id,
        "apart": "",
        "later": outer_id,
        "within": outer_id,
    }
    assert by_name["apart"].trace != by_name["outer"].trace == by_name["later"].trace
    assert (by_name["outer"].links, by_name["apart"].links) == ([("1" * 32, "2" * 16)], [])
    assert by_name["outer"].attributes["a"] == 1


def test_what_is_not_sampled_is_named_so_and_not_exported_nor_is_what_follows_it(
    got: Collector, begin: Callable[[], SdkTracer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracer = begin()
    with tracing.start("outer", SERVER, {}, root=True) as outer:
        pass
    assert outer.traceparent.endswith("-00")
    # In another process, with another sampler.
    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    other = begin()
    tracing.start("send", CLIENT, {}, parent=outer.traceparent).end()
    tracing.start("sampled", CLIENT, {}, parent=FOREIGN).end()
    tracer.shutdown(10)
    other.shutdown(10)
    assert [span.name for span in got.spans] == ["sampled"]


# Without a bound the end would wait for half a minute.
@pytest.mark.timeout(25)
def test_a_receiver_that_never_answers_holds_up_neither_spans_nor_the_end_and_the_queue_is_bounded(
    got: Collector, begin: Callable[[], SdkTracer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    got.hold.clear()
    tracer = begin()
    for _ in range(1000):
        tracing.start("span", INTERNAL, {}).end()
    tracer.shutdown(0.05)
    got.hold.set()
    until(lambda: got.spans)
    assert len(got.spans) <= 30


def test_one_line_says_that_exporting_fails_and_one_that_it_works_again(
    got: Collector,
    begin: Callable[[], SdkTracer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    got.status, got.answer = 400, b"CANARY: what the collector says"
    with capture_logs() as lines:
        tracer = begin()
        for status in (400, 400, 200):
            before, got.status = len(lines), status
            tracing.start("span", INTERNAL, {}).end()
            until(lambda before=before, status=status: got.asked > 0 and (status == 400 or len(lines) > before))
            got.asked = 0
        tracer.shutdown(10)
    ours: list[Any] = [line for line in lines if line["event"].startswith("telemetry")]
    assert [line["event"] for line in ours] == ["telemetry_not_exported", "telemetry_exported_again"]
    assert (ours[0]["problem"], ours[1]["lost"]) == ("HTTP 400", 2)
    assert "CANARY" not in str(lines)
    assert [record.name for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_the_body_of_an_answer_is_not_read_and_a_redirect_is_not_followed(
    got: Collector, begin: Callable[[], SdkTracer]
) -> None:
    # It never comes to its end: who waits for that gets an error.
    got.claims = 1_000_000_000
    with capture_logs() as lines:
        tracer = begin()
        tracing.start("span", INTERNAL, {}).end()
        tracer.shutdown(10)
    assert got.span("span")
    assert lines == []
    with collector() as elsewhere:
        got.claims, got.status, got.location = 0, 307, f"{elsewhere.url}/v1/traces"
        other = begin()
        tracing.start("redirected", INTERNAL, {}).end()
        other.shutdown(10)
        assert elsewhere.raw == []


def test_spans_of_many_threads_arrive(got: Collector, begin: Callable[[], SdkTracer]) -> None:
    tracer = begin()

    def work() -> None:
        with tracing.start("outer", INTERNAL, {}, root=True):
            tracing.start("inner", INTERNAL, {}).end()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracer.shutdown(10)
    outer = {span.id: span.trace for span in got.named("outer")}
    assert len(outer) == 20
    assert all(outer[span.parent] == span.trace for span in got.named("inner"))
