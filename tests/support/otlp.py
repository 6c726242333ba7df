"""An OTLP receiver over real HTTP, which parses what it gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

__all__ = ["Collector", "ReceivedSpan", "collector"]


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it came."""

    name: str
    #: SERVER, CLIENT, PRODUCER, INTERNAL.
    kind: str
    trace: str
    id: str
    #: "" for a root.
    parent: str
    attributes: dict[str, Any]
    #: Traces and ids of spans that it links.
    links: list[tuple[str, str]]
    failed: bool
    #: Attributes of the resource.
    resource: dict[str, Any]
    #: What else it holds: events, and the text of its status.
    texts: list[str]

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.id}-01"


@dataclass
class Collector:
    """What the receiver has got, and what it answers (`status`, `answer`, `location`, `claims`) once `hold` is set."""

    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    #: (attributes of the resource, metric) of each export.
    metrics: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    status: int = 200
    answer: bytes = b""
    location: str = ""
    #: How long it says that its answer is, where that is not so.
    claims: int = 0
    #: Numbers of requests that came, and that were answered.
    begun: int = 0
    asked: int = 0

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def span(self, name: str) -> ReceivedSpan:
        (span,) = self.named(name)
        return span

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of the labels, sorted by label -> value of a counter or gauge, as it was exported last."""
        return {
            tuple(value for _, value in sorted(_plain(point.attributes).items())): point.as_double
            for _, metric in self.metrics
            if metric.name == name
            for point in (*metric.sum.data_points, *metric.gauge.data_points)
        }

    def take(self, path: str, body: bytes) -> None:
        self.raw.append(body)
        if path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _plain(group.resource.attributes)
                self.spans += [_received(span, resource) for scope in group.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                resource = _plain(each.resource.attributes)
                self.metrics += [(resource, metric) for scope in each.scope_metrics for metric in scope.metrics]


def _received(span: SpanMessage, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=_plain(span.attributes),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        resource=resource,
        texts=[*(str(event) for event in span.events), *([span.status.message] if span.status.message else [])],
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """A receiver that runs while the block does."""
    got = Collector()
    got.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.begun += 1
            got.hold.wait(60)
            if got.status == 200:
                got.take(self.path, body)
            with suppress(OSError):  # the client may have gone, or has read enough
                self._answer()
            got.asked += 1

        def _answer(self) -> None:
            self.send_response(got.status)
            if got.location:
                self.send_header("Location", got.location)
            self.send_header("Content-Length", str(got.claims or len(got.answer)))
            self.end_headers()
            self.wfile.write(got.answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    got.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield got
    finally:
        got.hold.set()
        server.shutdown()
        thread.join(5)
        server.server_close()
