"""Logs on stderr: JSON, or coloured text on a terminal. What must never be logged is removed here, whatever its origin.

The text of a library's exception may quote a whole event, so it is never written: not by a library that inserts it
into its message, nor by a thread, a greenlet or a warning.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from bridge import __version__
from bridge.errors import Retryable, clip
from bridge.line_writer import LineStream, line_writer
from bridge.settings import wants_no_colours
from bridge.telemetry import tracing

__all__ = ["configure", "get_logger", "log_unhandled"]

#: Fields that hold personal data, a secret or foreign bytes: if one of them is logged, its value is removed.
_FORBIDDEN = frozenset(
    {
        "authorization",
        "body",
        "candidate",
        "cookie",
        "email",
        "headers",
        "password",
        "query",
        "secret",
        "signature",
        "token",
        "url",
    }
)
#: Libraries that log URLs with query strings or task arguments below level error.
_VERBOSE = ("amqp", "kombu", "requests", "urllib3")
_FRAMES = 8
#: What libraries may insert in a warning or error besides numbers: the names of our tasks and of signals.
_HARMLESS = re.compile(r"bridge\.[a-z_]+|SIG[A-Z0-9]+")
_WARNING = re.compile(r"[^\n]*?:\d+: \w+")
_OMITTED = "\N{HORIZONTAL ELLIPSIS}"


def configure(level: str = "info", fmt: str = "auto", *, stream: LineStream | None = None) -> LineStream:
    """Set up structlog and the standard library's logging for this process.

    `level`: debug, info, warning or error. `fmt`: json, console, or auto (console on a terminal). `stream`: stderr.
    Returns the stream, for other lines: stderr is written so that it never blocks or fails.

    Libraries never log below info, whatever the level: their debug lines hold URLs and arguments. Uncaught exceptions
    and warnings become log lines. Every line has the field `logger`, the name given to `structlog.get_logger`.
    """
    stream = stream or line_writer(sys.stderr, _lost_line)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    for_people = fmt == "console" or (fmt == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _with_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Collected logs come from many programs; on a terminal these fields would be the same in every line.
        *([] if for_people else [_service]),
        _trace,
        _without_forbidden,
        _error_without_data,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=not wants_no_colours())
        if for_people
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *names: _NamedLogger(stream, *names),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.INFO))
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(max(threshold, logging.ERROR))
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    warnings.showwarning = _warned
    return stream


def _lost_line(count: int) -> str:
    """The line about lost lines, made without the loggers: the thread that writes all lines writes it."""
    return json.dumps({"event": "log_lines_lost", "level": "warning", "logger": __name__, "count": count}) + "\n"


def log_unhandled(error: BaseException | None, where: str) -> None:
    """Log an exception that ended a process, a thread or a greenlet, without its text."""
    get_logger(__name__).critical("unhandled_error", where=where, exc_info=error)


def get_logger(name: str, **fields: object) -> FilteringBoundLogger:
    """A logger whose lines carry its name and these fields."""
    logger: FilteringBoundLogger = structlog.get_logger(name, **fields)
    return logger


class _NamedLogger(structlog.WriteLogger):
    """Writes lines to a stream; keeps the name, which structlog's own drops."""

    def __init__(self, stream: LineStream, name: str | None = None) -> None:
        # It only writes and flushes.
        super().__init__(cast("TextIO", stream))
        self.name = name


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Formats the lines of libraries without what they quote."""

    def format(self, record: logging.LogRecord) -> str:
        record = logging.makeLogRecord(record.__dict__)
        record.msg, record.args = _message(record), None
        record.stack_info = None
        line: str = super().format(record)
        return line


def _message(record: logging.LogRecord) -> str:
    """A library's message with its numbers; of exceptions only the type, and in warnings and errors no other text."""
    args, serious = record.args, record.levelno >= logging.WARNING or bool(record.exc_info)
    template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    # Some libraries have inserted the text of the exception that they are handling.
    if any(_quotes(template, error) for error in (_exception_of(record.exc_info), sys.exc_info()[1])):
        return "unexpected error"
    if record.name == "py.warnings":
        # Celery logs Python's warnings: keep place and category, drop the text.
        place = _WARNING.match(template if not args else str(args[0] if isinstance(args, tuple) else args))
        return place[0] if place else "warning"
    if not args:
        return template
    inserted: Any = (
        {name: _insertable(value, serious) for name, value in args.items()}
        if isinstance(args, Mapping)
        else tuple(_insertable(value, serious) for value in args)
    )
    try:
        message: str = template % inserted
    except (TypeError, ValueError, KeyError):
        return template
    return message


def _insertable(value: object, serious: bool) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, BaseException):
        return _Plain(type(value).__name__)
    if isinstance(value, str) and (not serious or _HARMLESS.fullmatch(value)):
        return value
    return _Plain(_OMITTED) if serious else _Plain(type(value).__name__)


class _Plain(str):
    """Text without quotes under %r."""

    __slots__ = ()
    __repr__ = str.__str__


def _quotes(message: str, error: BaseException | None) -> bool:
    return any(str(cause) in message for cause in _chain(error) if str(cause))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log_unhandled(error, "process")


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        log_unhandled(args.exc_value, "thread")


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    log_unhandled(args.exc_value, "finalizer")


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    # Celery writes the text of an exception, with its traceback, into a warning.
    where = f"{filename.rpartition('site-packages/')[2]}:{lineno}"
    get_logger(__name__).warning("python_warning", category=category.__name__, at=where)


def _with_logger_name(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the logger's name: to our own lines, and to the standard library's, whose record carries it."""
    name = event["_record"].name if "_record" in event else getattr(logger, "name", None)
    if name is not None:
        event["logger"] = name
    return event


def _service(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["service"], event["version"] = "attempt-bridge", __version__
    return event


def _trace(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the ids by which OpenTelemetry's log tools find the trace of a line."""
    if (ids := tracing.current_ids()) is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def _without_forbidden(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for name in _FORBIDDEN & event.keys():
        event[name] = "[removed]"
    return event


def _error_without_data(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and frames. Its text may quote a candidate; ours about servers do not."""
    error = _exception_of(event.pop("exc_info", None))
    if error is not None:
        event["error_type"] = type(error).__name__
        event["at"] = _frames(error.__traceback__)
        if error.__cause__ is not None:
            event["cause_type"] = type(error.__cause__).__name__
        if isinstance(error, Retryable):
            event["error"] = clip(error, 200)
    return event


def _exception_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        error: BaseException | None = exc_info[1]
        return error
    return sys.exc_info()[1] if exc_info else None


def _frames(trace: TracebackType | None) -> list[str]:
    # Only names from the code: no source lines, no local values.
    return [
        f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(trace)[-_FRAMES:]
    ]
