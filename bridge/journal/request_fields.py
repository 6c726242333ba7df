"""The fields by which stored requests are filtered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bridge.journal.entries import StoredRequest
from bridge.query import Enum, Field, Fields, Glob, Number, Time

__all__ = ["OUTCOMES", "request_fields"]

#: The possible outcomes of a stored request; operations.md explains each.
OUTCOMES = (
    "published",
    "revised",
    "duplicate",
    "watching",
    "ignored",
    "quarantined",
    "test",
    "rejected",
)


def request_fields(*, persons: bool) -> Fields:
    """The fields of requests. `persons`: the caller may see bodies, and so search in them."""
    return Fields(
        Field("source", Glob(), _member("source"), "name of the source"),
        Field("outcome", Enum(*OUTCOMES), _member("outcome"), "what became of it"),
        Field("reason", Glob(), _member("reason"), "why"),
        Field("id", Glob(), _member("id"), "the request's id"),
        Field("attempt", Glob(), _member("attempts") if persons else _attempts, "an attempt in it"),
        Field("bytes", Number(), lambda request: len(request.body), "length of its body"),
        Field("received", Time(), _member("received_at"), "when it was received"),
        search=_texts_with_body if persons else _texts,
    )


def _member(name: str) -> Callable[[StoredRequest], Any]:
    return lambda request: getattr(request, name)


def _attempts(request: StoredRequest) -> list[str]:
    """Those that name no one: some vendors' attempt ids hold an e-mail address."""
    return [attempt for attempt in request.attempts if "@" not in attempt]


def _texts(request: StoredRequest) -> Iterable[str]:
    return (request.id, request.source, request.reason, *_attempts(request))


def _texts_with_body(request: StoredRequest) -> Iterable[str]:
    return (request.id, request.source, request.reason, *request.attempts, request.body.decode(errors="replace"))
