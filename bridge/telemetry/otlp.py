"""Spans by the OpenTelemetry SDK, exported over OTLP. Import it only where telemetry is on.

A collector that is away, slow or hostile costs spans and nothing else: they wait in a bounded queue, a separate
thread sends them, and the collector's answers are not read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Self

import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from bridge import __version__
from bridge.telemetry.collector_session import CollectorSession
from bridge.telemetry.tracing import Attributes, Span, failure_word, valid_traceparent

__all__ = ["SCOPE", "Outcomes", "SdkTracer", "problem_of_exporting", "resource_of", "silence_sdk"]

#: Name of the service, and of the scope of its spans and metrics.
SCOPE = "attempt-bridge"
#: Time-out of `doctor`'s trial, seconds.
_TRIAL_SECONDS = 3.0
_KINDS = {kind.name: kind for kind in SpanKind}

_log = structlog.get_logger(__name__)


class SdkTracer:
    """Makes spans and exports them. `in_thread` runs a call where blocking delays nothing, and returns its result."""

    def __init__(self, resource: Resource, *, in_thread: Callable[[Callable[[], Any]], Any]) -> None:
        session = CollectorSession()
        exporter = _Exporter(OTLPSpanExporter(session=session), Outcomes("traces", session), in_thread)
        # Started in the process that uses it, after its last fork; ended by `shutdown`, never at exit.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SCOPE, __version__)

    def start(self, name: str, kind: str, attributes: Attributes, *, parent: str, root: bool, link: str) -> Span:
        """See `bridge.telemetry.tracing.start`."""
        within = otel_context.Context() if root else _context_of(parent)
        foreign = _context_from(link) if link else None
        return _SdkSpan(
            self._tracer.start_span(
                name,
                within,
                kind=_KINDS[kind],
                attributes=dict(attributes),
                links=[Link(foreign)] if foreign else (),
                record_exception=False,
                set_status_on_exception=False,
            )
        )

    def current(self) -> Span:
        """See `bridge.telemetry.tracing.current`."""
        return _SdkSpan(trace.get_current_span())

    def shutdown(self, seconds: float) -> None:
        """Export what has ended, for at most `seconds`."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True, name="telemetry shutdown")
        thread.start()
        thread.join(seconds)


class _SdkSpan:
    """A span of the SDK."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Any = None

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & TraceFlags.SAMPLED:02x}"

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def fail(self, reason: str) -> None:
        self._span.set_attribute("error.type", reason)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()

    def active(self) -> AbstractContextManager[object]:
        return _within(self._span)

    def __enter__(self) -> Self:
        self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        if error is not None:
            self.fail(failure_word(error))
        self._span.end()


@contextmanager
def _within(span: trace.Span) -> Iterator[None]:
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        otel_context.detach(token)


def _context_of(parent: str) -> otel_context.Context | None:
    """The context below a traceparent; None: the current one."""
    context = _context_from(parent) if parent else None
    return None if context is None else trace.set_span_in_context(NonRecordingSpan(context), otel_context.Context())


def _context_from(traceparent: str) -> SpanContext | None:
    if not valid_traceparent(traceparent):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    sampled = TraceFlags(int(flags, 16) & TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)


def resource_of(process: str, bridge: str, instance: str, *, named: bool) -> Resource:
    """The resource that identifies the exporting process. `named`: the environment names the service."""
    attributes: dict[str, str | int] = {
        "service.version": __version__,
        "service.instance.id": instance,
        "attempt_bridge.process": process,
        "attempt_bridge.name": bridge,
    }
    if not named:
        attributes[SERVICE_NAME] = SCOPE
    return Resource.create(attributes)


class Outcomes:
    """Logs when exporting begins to fail and when it works again: one line each, however long the failure lasts."""

    def __init__(self, what: str, session: CollectorSession) -> None:
        self._what = what
        self._session = session
        self._failing = False
        self._lost = 0

    def exported(self, *, succeeded: bool, items: int) -> None:
        """Take the outcome of one export of `items`."""
        if succeeded:
            if self._failing:
                _log.info("telemetry_exported_again", what=self._what, lost=self._lost)
            self._failing, self._lost = False, 0
            return
        self._lost += items
        if not self._failing:
            self._failing = True
            problem, remedy = self._session.problem, "check the variables OTEL_EXPORTER_*, and the collector's log"
            _log.warning("telemetry_not_exported", what=self._what, problem=problem, remedy=remedy)


class _Exporter(SpanExporter):
    """Sends where blocking delays nothing, and logs what became of it."""

    def __init__(
        self, inner: OTLPSpanExporter, outcomes: Outcomes, in_thread: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self._inner = inner
        self._outcomes = outcomes
        self._in_thread = in_thread

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result: SpanExportResult = self._in_thread(lambda: self._inner.export(spans))
        self._outcomes.exported(succeeded=result is SpanExportResult.SUCCESS, items=len(spans))
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]  # the SDK has no type here

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def problem_of_exporting(what: str) -> str:
    """Why a collector does not take `traces` or `metrics`; empty if it does. Sends no data; may take some seconds."""
    silence_sdk()
    session = CollectorSession()
    if what == "traces":
        taken = OTLPSpanExporter(session=session, timeout=_TRIAL_SECONDS).export(()) is SpanExportResult.SUCCESS
    else:
        trial = OTLPMetricExporter(session=session, timeout=_TRIAL_SECONDS).export(MetricsData([]))
        taken = trial is MetricExportResult.SUCCESS
    return "" if taken else session.problem or "it cannot be sent"


def silence_sdk() -> None:
    """Silence the SDK, which logs a line for each failed export with the collector's words; `Outcomes` logs instead."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
