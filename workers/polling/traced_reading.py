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
    """A separate trace: `what` is read from a source."""
    attributes = {"attempt_bridge.source": source.name, "attempt_bridge.vendor": source.vendor, **more}
    return tracing.start(f"{what} {source.name}", INTERNAL, attributes, root=True)


class TracedPages:
    """Reads pages, each in its own trace, which also includes what is published from the page."""

    def __init__(self, what: str, source: Source) -> None:
        """`what`: the purpose, such as `poll`."""
        self._what = what
        self._source = source
        self._last: Span | None = None

    def read(self, stream: str, fetch: Callable[[], Page]) -> Page:
        """The page that `fetch` reads; the calls it makes are in the trace of this page."""
        self._last = _reading(self._what, self._source, {"attempt_bridge.stream": stream})
        with self._last as span:
            page = fetch()
            span.set({"attempt_bridge.records": len(page.records)})
        return page

    def publishing(self) -> AbstractContextManager[object]:
        """Within it, what is published belongs to the trace of the page read last."""
        return (self._last or tracing.current()).active()
