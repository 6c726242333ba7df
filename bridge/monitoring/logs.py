"""Logs on stderr: JSON, or coloured text on a terminal. What may never be logged is taken out here, whoever logs it.

The text of an exception of a library may quote a whole event: such a text is shown nowhere, also not by a library that
has put it into its message, by a thread, a greenlet or a warning.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from bridge import __version__
from bridge.errors import Retryable, clip

__all__ = ["configure", "get_logger", "unhandled"]

#: Fields that hold a person, a secret or foreign bytes. Nobody should log them; if somebody does, the value is dropped.
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
#: Libraries that write addresses with query strings or task arguments at their lower levels.
_TALKATIVE = ("amqp", "kombu", "requests", "urllib3")
_FRAMES = 8
#: What libraries may insert in a line about trouble, beside numbers: the names of our tasks, and of signals.
_HARMLESS = re.compile(r"bridge\.[a-z_]+|SIG[A-Z0-9]+")
_WARNING = re.compile(r"[^\n]*?:\d+: \w+")
_LEFT_OUT = "\N{HORIZONTAL ELLIPSIS}"


def configure(level: str = "info", fmt: str = "auto", *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging for this process.

    `level`: debug, info, warning or error. `fmt`: json, console, or auto (console on a terminal). `stream`: stderr.
    Libraries never log below info, whatever the level: their debug lines hold addresses and arguments. Exceptions that
    nobody catches, and warnings, become lines like all others.
    """
    stream = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    for_people = fmt == "console" or (fmt == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Collected logs come from many programs; in a terminal it would be the same words on every line.
        *([] if for_people else [_service]),
        _without_forbidden,
        _error_without_data,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer(sort_keys=False)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.INFO))
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(threshold, logging.ERROR))
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    warnings.showwarning = _warned


def unhandled(error: BaseException | None, where: str) -> None:
    """A line about an exception that ended a process, a thread or a greenlet, without its text."""
    get_logger("bridge.monitoring.logs").critical("unhandled_error", where=where, exc_info=error)


def get_logger(name: str, **fields: object) -> FilteringBoundLogger:
    """A logger whose lines carry `logger` and these fields. Call it after `configure`, not while importing."""
    bound: FilteringBoundLogger = structlog.get_logger().bind(logger=name, **fields)
    return bound


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Lines of libraries, without what they quote."""

    def format(self, record: logging.LogRecord) -> str:
        record = logging.makeLogRecord(record.__dict__)
        record.msg, record.args = _message(record), None
        record.stack_info = None
        line: str = super().format(record)
        return line


def _message(record: logging.LogRecord) -> str:
    """What a library says, with numbers inserted. Of exceptions their type; in trouble, no other text."""
    args, troubled = record.args, record.levelno >= logging.WARNING or bool(record.exc_info)
    template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    # Some have put the text of the exception that they are handling in beforehand.
    if any(_quotes(template, error) for error in (_exception_of(record.exc_info), sys.exc_info()[1])):
        return "unexpected error"
    if record.name == "py.warnings":
        # Celery has Python's warnings logged: place and category stay, what is quoted goes.
        place = _WARNING.match(template if not args else str(args[0] if isinstance(args, tuple) else args))
        return place[0] if place else "warning"
    if not args:
        return template
    shown: Any = (
        {name: _shown(value, troubled) for name, value in args.items()}
        if isinstance(args, Mapping)
        else tuple(_shown(value, troubled) for value in args)
    )
    try:
        inserted: str = template % shown
    except (TypeError, ValueError, KeyError):
        return template
    return inserted


def _shown(value: object, troubled: bool) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, BaseException):
        return _Plain(type(value).__name__)
    if isinstance(value, str) and (not troubled or _HARMLESS.fullmatch(value)):
        return value
    return _Plain(_LEFT_OUT) if troubled else _Plain(type(value).__name__)


class _Plain(str):
    """Text that is the same under %r."""

    __slots__ = ()
    __repr__ = str.__str__


def _quotes(message: str, error: BaseException | None) -> bool:
    return any(str(one) in message for one in _chain(error) if str(one))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    unhandled(error, "process")


def _uncaught_in_thread(facts: threading.ExceptHookArgs) -> None:
    if facts.exc_type is not SystemExit:
        unhandled(facts.exc_value, "thread")


def _unraisable(facts: sys.UnraisableHookArgs) -> None:
    unhandled(facts.exc_value, "finalizer")


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    # Celery puts the text of an exception, with its traceback, into one.
    where = f"{filename.rpartition('site-packages/')[2]}:{lineno}"
    get_logger("bridge.monitoring.logs").warning("python_warning", category=category.__name__, at=where)


def _service(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["service"], event["version"] = "attempt-bridge", __version__
    return event


def _without_forbidden(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    for name in _FORBIDDEN & event.keys():
        event[name] = "[removed]"
    return event


def _error_without_data(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """An exception as its type and where it came from. Its text may quote a candidate; ours about servers do not."""
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
    # Only names from the code: source lines and local values stay out.
    return [
        f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(trace)[-_FRAMES:]
    ]
