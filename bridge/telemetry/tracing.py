"""The bridge's own spans, in one line wherever something is traced. Does not import OpenTelemetry.

While nothing is traced, `start` returns one object whose methods do nothing. Attributes are configured names, fixed
words, numbers and event ids: never a person, a body, an address with a path, or the text of an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol, Self

from bridge.errors import BridgeError

__all__ = [
    "CLIENT",
    "INTERNAL",
    "PRODUCER",
    "SERVER",
    "Attributes",
    "Span",
    "Tracer",
    "current",
    "current_ids",
    "failure_word",
    "is_on",
    "publication",
    "start",
    "traceparent_of",
    "use",
    "valid_traceparent",
]

#: The kinds of OpenTelemetry spans, by their names there.
SERVER, CLIENT, PRODUCER, INTERNAL = "SERVER", "CLIENT", "PRODUCER", "INTERNAL"

Attributes = Mapping[str, str | int | float | bool]

#: https://www.w3.org/TR/trace-context, version 00; all zeros are not ids.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: The attribute of an event: the last one before `data` (`schemas/envelope.py`).
_IN_EVENT = re.compile(rb'"traceparent":"(00-[0-9a-f]{32}-[0-9a-f]{16}-0[01])"$')
_DATA = b',"data":'


class Span(Protocol):
    """One step of a trace. As a context manager it is the parent of what begins within, and ends there."""

    @property
    def traceparent(self) -> str:
        """Its W3C context, for an event or a header; empty while nothing is traced."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        ...

    def fail(self, reason: str) -> None:
        """Mark it as failed; `reason` is a fixed word or the name of a class."""
        ...

    def end(self) -> None:
        """End it. A span that never ends is not exported."""
        ...

    def active(self) -> AbstractContextManager[object]:
        """Within it, the span is the parent of what begins. It may have ended before."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Tracer(Protocol):
    """What makes spans: `bridge/telemetry/otlp.py`."""

    def start(self, name: str, kind: str, attributes: Attributes, *, parent: str, root: bool, link: str) -> Span:
        """See `bridge.telemetry.tracing.start`."""
        ...

    def current(self) -> Span:
        """See `bridge.telemetry.tracing.current`."""
        ...


class _Untraced:
    traceparent = ""

    def set(self, attributes: Attributes) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass

    def end(self) -> None:
        pass

    def active(self) -> AbstractContextManager[object]:
        return nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


_UNTRACED = _Untraced()
_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Trace with `tracer` from now on; None: no longer. For the whole process."""
    # As with logging: every package uses it, so there is one per process.
    global _tracer
    _tracer = tracer


def is_on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def start(
    name: str, kind: str, attributes: Attributes, *, parent: str = "", root: bool = False, link: str = ""
) -> Span:
    """Begin a span below `parent` (a traceparent), or below the current span; `root`: in a new trace.

    `link`: a traceparent that others have sent. If it is well-formed, the span links to it, but does not continue it.
    """
    if _tracer is None:
        return _UNTRACED
    return _tracer.start(name, kind, attributes, parent=parent, root=root, link=link)


def current() -> Span:
    """The span within which this is called; without one, a span that accepts every call and exports nothing."""
    return _UNTRACED if _tracer is None else _tracer.current()


def current_ids() -> tuple[str, str] | None:
    """(trace id, span id) of the current span, for a log line; None without one."""
    traceparent = current().traceparent
    if not valid_traceparent(traceparent):
        return None
    _, trace, span, _ = traceparent.split("-")
    return trace, span


def publication(source: str, vendor: str, origin: str) -> Span | None:
    """The span of one event: from building it to its place in the journal. None while nothing is traced.

    The journal ends it if it appends the event.
    """
    if _tracer is None:
        return None
    attributes = {
        "messaging.system": "attempt_bridge",
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.name": "journal",
        "attempt_bridge.source": source,
        "attempt_bridge.vendor": vendor,
        "attempt_bridge.origin": origin,
    }
    return start("publish journal", PRODUCER, attributes)


def traceparent_of(event: bytes) -> str:
    """The traceparent of what published an event; empty without one, and while nothing is traced."""
    if _tracer is None:
        return ""
    # These bytes cannot occur within a JSON string: its quotes are escaped.
    end = event.find(_DATA)
    match = _IN_EVENT.search(event, max(0, end - 80), end) if end > 0 else None
    return match[1].decode() if match else ""


def valid_traceparent(text: str) -> bool:
    """Whether others' text is a traceparent, byte for byte."""
    return _TRACEPARENT.fullmatch(text) is not None


def failure_word(error: BaseException) -> str:
    """What a span records about an exception: the fixed reason of our own, the class of any other. Never its text."""
    return error.reason if isinstance(error, BridgeError) else type(error).__name__
