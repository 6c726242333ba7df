"""Traces of what is read from vendors: one for each page of a list, one for each recheck."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from bridge.config.model import Source
from bridge.sdk.vendor import Page
from bridge.telemetry import tracing
from bridge.telemetry.tracing import INTERNAL, Attributes, Span

__all__ = ["TracedPages", "recheck_span"]


def recheck_span(source: Source, kind: str) -> Span:
    """The trace of one recheck; `kind`: of the watch."""
    return _reading("recheck", source, {"attempt_bridge.watch": kind})


def _reading(what: str, source: Source, more: Attributes) -> Span:
    """A trace of its own: `what` is read of a source."""
    attributes = {"attempt_bridge.source": source.name, "attempt_bridge.vendor": source.vendor, **more}
    return tracing.start(f"{what} {source.name}", INTERNAL, attributes, root=True)


class TracedPages:
    """Reads pages, each in a trace of its own, to which what is published from it belongs."""

    def __init__(self, what: str, source: Source) -> None:
        """`what`: who reads, such as `poll`."""
        self._what = what
        self._source = source
        self._last: Span | None = None

    def read(self, stream: str, fetch: Callable[[], Page]) -> Page:
        """The page that `fetch` reads, with the calls that it makes in the trace of this page."""
        self._last = _reading(self._what, self._source, {"attempt_bridge.stream": stream})
        with self._last as span:
            page = fetch()
            span.set({"attempt_bridge.records": len(page.records)})
        return page

    def publishing(self) -> AbstractContextManager[object]:
        """Within it, what is published belongs to the page that was read last."""
        return (self._last or tracing.current()).active()
