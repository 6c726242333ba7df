"""Reading foreign records so that a fault in one of them, or in our reading of it, is charged to that one alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from bridge.errors import BridgeError, Unreadable
from bridge.ingest.context import IngestContext
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import NormalisedAttempt, Record, WebhookContent

__all__ = ["UNEXPECTED_ERROR", "log_unexpected", "read_body", "read_record", "unreadable_on_error"]

#: The reason in quarantine of what no code foresaw. The log has the type and the place of it.
UNEXPECTED_ERROR = "unexpected_error"


@contextmanager
def unreadable_on_error(source: str, doing: str) -> Iterator[None]:
    """An exception that is none of ours as `Unreadable`, logged without its text.

    Those of `bridge.errors` say what to do next and pass, as does `MemoryError`, which is nobody's fault in particular.
    """
    try:
        yield
    except (BridgeError, MemoryError):
        raise
    except Exception as error:
        log_unexpected(source, doing, error)
        raise Unreadable(UNEXPECTED_ERROR, reason=UNEXPECTED_ERROR) from error


def log_unexpected(source: str, doing: str, error: Exception) -> None:
    """A line with the type of an exception that no code foresaw, and where it came from; never its text."""
    structlog.get_logger(__name__).error("unexpected_error", source=source, doing=doing, exc_info=error)


def read_body(context: IngestContext, body: bytes) -> WebhookContent:
    """What a webhook's body says. Raises `Unreadable`."""
    with unreadable_on_error(context.source.name, "split"):
        return context.vendor.split(parse(body), context.source.options)


def read_record(context: IngestContext, record: Record, now: float) -> NormalisedAttempt:
    """One record in our words, with keys that can be stored. Raises `Unreadable`."""
    with unreadable_on_error(context.source.name, "normalise"):
        news = context.vendor.normalise(record, now, context.source.options)
        # Keys travel to the state with those of other records: here one that is no text is its own trouble.
        "".join((news.attempt_id, news.sitting or "", *news.aliases, *news.consent)).encode()
        return news
