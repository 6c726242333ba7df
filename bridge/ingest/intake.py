"""Reads foreign input so that an unexpected error quarantines only the request or record that caused it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from bridge.errors import BadSignature, BridgeError, Unreadable
from bridge.ingest.context import IngestContext, WebhookRequest
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import NormalisedAttempt, Record, WebhookContent

__all__ = ["UNEXPECTED_ERROR", "log_unexpected", "read_body", "read_record", "unreadable_on_error", "verify"]

#: The reason stored in quarantine for an unexpected exception; the log has its type and place.
UNEXPECTED_ERROR = "unexpected_error"


@contextmanager
def unreadable_on_error(source: str, step: str) -> Iterator[None]:
    """Log an unexpected exception without its text and raise `Unreadable` instead.

    Exceptions of `bridge.errors` pass, because their type says what to do, and `MemoryError`, which is not one record's
    fault.
    """
    try:
        yield
    except (BridgeError, MemoryError):
        raise
    except Exception as error:
        log_unexpected(source, step, error)
        raise Unreadable(UNEXPECTED_ERROR, reason=UNEXPECTED_ERROR) from error


def log_unexpected(source: str, step: str, error: Exception) -> None:
    """Log the type and the place of an unexpected exception, never its text."""
    structlog.get_logger(__name__).error("unexpected_error", source=source, step=step, exc_info=error)


def read_body(context: IngestContext, body: bytes) -> WebhookContent:
    """The content of a webhook. Raises `Unreadable`."""
    split = context.vendor.split
    if split is None:
        # A request from the time when the vendor sent webhooks, processed again.
        raise Unreadable(f"{context.vendor.title} sends no webhooks")
    with unreadable_on_error(context.source.name, "split"):
        return split(parse(body), context.source.options)


def read_record(context: IngestContext, record: Record, now: float) -> NormalisedAttempt:
    """The normalised attempt of a record, with keys that can be stored. Raises `Unreadable`."""
    with unreadable_on_error(context.source.name, "normalise"):
        attempt = context.vendor.normalise(record, now, context.source.options)
        # Keys of many records go to the state server in one call: a key that is not valid text must fail here.
        "".join((attempt.attempt_id, attempt.sitting or "", *attempt.aliases, *attempt.consent)).encode()
        return attempt


def verify(context: IngestContext, request: WebhookRequest) -> int | None:
    """The number of the secret that matched, if the vendor's check returns it.

    Raises `BadSignature`, also if the check itself fails, because the sender is then unknown.
    """
    vendor = context.vendor
    if vendor.verify is None:
        return None
    secrets = context.source.credentials.get(vendor.secret_credential or "", ())
    try:
        with unreadable_on_error(context.source.name, "verify"):
            number = vendor.verify(request.body, request.headers, secrets, request.received_at)
    except Unreadable as error:
        raise BadSignature("the signature cannot be checked", reason=error.reason) from error
    # A vendor's folder may return anything, and only a number can be stored.
    return number if type(number) is int and number > 0 else None
