"""Reading foreign records so that a fault in one of them, or in our reading of it, is charged to that one alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from bridge.errors import BridgeError, Unreadable
from bridge.ingest.context import Way
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import NormalisedAttempt, Record, WebhookContent

__all__ = ["UNEXPECTED", "charged", "note_unexpected", "read_body", "read_record"]

#: The reason in quarantine of what no code foresaw. The log has the type and the place of it.
UNEXPECTED = "unexpected_error"


@contextmanager
def charged(source: str, doing: str) -> Iterator[None]:
    """An exception that is none of ours as `Unreadable`, logged without its text.

    Those of `bridge.errors` say what to do next and pass, as does `MemoryError`, which is nobody's fault in particular.
    """
    try:
        yield
    except (BridgeError, MemoryError):
        raise
    except Exception as error:
        note_unexpected(source, doing, error)
        raise Unreadable(UNEXPECTED, reason=UNEXPECTED) from error


def note_unexpected(source: str, doing: str, error: Exception) -> None:
    """A line with the type of an exception that no code foresaw, and where it came from; never its text."""
    structlog.get_logger(__name__).error("unexpected_error", source=source, doing=doing, exc_info=error)


def read_body(way: Way, body: bytes) -> WebhookContent:
    """What a webhook's body says. Raises `Unreadable`."""
    with charged(way.source.name, "split"):
        return way.vendor.split(parse(body), way.source.options)


def read_record(way: Way, record: Record, now: float) -> NormalisedAttempt:
    """One record in our words, with keys that can be stored. Raises `Unreadable`."""
    with charged(way.source.name, "normalise"):
        news = way.vendor.normalise(record, now, way.source.options)
        # Keys travel to the state with those of other records: here one that is no text is its own trouble.
        "".join((news.attempt_id, news.sitting or "", *news.aliases, *news.consent)).encode()
        return news
