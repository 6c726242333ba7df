"""Logs on stderr: JSON, or coloured text on a terminal. What may never be logged is taken out here, whoever logs it."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from bridge import __version__
from bridge.errors import Retryable, clip

__all__ = ["configure", "get_logger"]

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


def configure(level: str = "info", fmt: str = "auto", *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging for this process.

    `level`: debug, info, warning or error. `fmt`: json, console, or auto (console on a terminal). `stream`: stderr.
    Libraries never log below info, whatever the level: their debug lines hold addresses and arguments.
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
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.INFO))
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(threshold, logging.ERROR))


def get_logger(name: str, **fields: object) -> FilteringBoundLogger:
    """A logger whose lines carry `logger` and these fields. Call it after `configure`, not while importing."""
    bound: FilteringBoundLogger = structlog.get_logger().bind(logger=name, **fields)
    return bound


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
