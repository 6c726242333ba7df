"""Receiving: `POST /webhooks/<source>` and `/webhooks/<source>/<token>`, from the socket to an answer.

A WSGI application of its own in front of Flask, because this is the hot path: no routing, no request object, prepared
answers. What is done with a request that passes the door is in `bridge/ingest/pipeline.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent

from bridge import clock
from bridge.errors import BadSignature, StateUnavailable
from bridge.ingest.context import IngestContext, WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.journal.publishing import Publisher
from bridge.monitoring import logs
from bridge.monitoring.metrics import WebMetrics
from bridge.services import Services
from bridge.web.gate import Gate

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["BODY_SECONDS", "MAX_BODY_BYTES", "PREFIX", "Receiver", "request_id"]

PREFIX = "/webhooks/"
#: The largest body that is read; the vendors' own stay below 64 kB.
MAX_BODY_BYTES = 256 * 1024
#: A body must be complete by then. The headers have the server's keep-alive time.
BODY_SECONDS = 10.0
#: Characters kept of a header's value.
_KEPT_VALUE = 200
_KEPT_NAMES = frozenset({"content-type", "content-length", "user-agent"})
#: In the name of an `x-` header: its value may be a secret.
_SECRET_WORDS = ("auth", "cookie", "key", "password", "secret", "token")
#: What a missing token and a token for no source are compared with, so that both cost the same. No hash is like that.
_NO_DIGEST = (b"-" * 64,)


class Answer(NamedTuple):
    """A finished answer."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


def _answer(status: str, body: bytes = b"{}", *more: tuple[str, str]) -> Answer:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return Answer(status, [*headers, ("X-Content-Type-Options", "nosniff"), *more], body)


_OK = "200 OK"
_INCOMPLETE = _answer("400 Bad Request")
_UNAUTHORISED = _answer("401 Unauthorized")
_NOT_FOUND = _answer("404 Not Found")
_WRONG_METHOD = _answer("405 Method Not Allowed", b"{}", ("Allow", "POST"))
_TOO_SLOW = _answer("408 Request Timeout")
_NO_LENGTH = _answer("411 Length Required")
_TOO_LARGE = _answer("413 Content Too Large")
_WRONG_MEDIA = _answer("415 Unsupported Media Type")
_PAUSED = _answer("503 Service Unavailable", b"{}", ("Retry-After", "600"))
_UNAVAILABLE = _answer("503 Service Unavailable", b"{}", ("Retry-After", "10"))


class _Refused(Exception):
    """The way to an answer other than 200."""

    def __init__(self, outcome: str, answer: Answer) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.answer = answer


@dataclass(frozen=True, slots=True)
class _Door:
    """What is known of one source before a request comes. `closed`: by bridge.yaml. `digests`: hex SHA-256 of the
    tokens, in bytes."""

    source: str
    closed: bool
    digests: tuple[bytes, ...]
    media_types: frozenset[str]
    context: IngestContext
    observe: Callable[[float], object]
    #: outcome -> count one; filled as outcomes come up.
    counts: dict[str, Callable[[], object]] = field(default_factory=dict)


class Receiver:
    """The WSGI application. `publisher` makes entries durable; `body_seconds` and `max_body_bytes` are its limits.

    `paused` says whether an operator has paused a source since the start; asked for every webhook, so it must not wait.
    """

    def __init__(
        self,
        services: Services,
        gate: Gate,
        publisher: Publisher,
        metrics: WebMetrics,
        *,
        paused: Callable[[str], bool] = lambda name: False,
        body_seconds: float = BODY_SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._services = services
        self._now = services.now
        self._gate = gate
        self._metrics = metrics
        self._paused = paused
        self._body_seconds = body_seconds
        self._max_body_bytes = max_body_bytes
        self._log = logs.get_logger("bridge.web.hooks")
        self._doors = {name: self._door(name, publisher) for name in services.config.sources}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = clock.monotonic()
        door: _Door | None = None
        request = ""
        try:
            door = self._find(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            body = self._body(environ, self._length(environ, door))
            now = self._now()
            request = request_id(now, os.urandom(10))
            outcome, answer = self._receive(door, environ, body, request, now)
        except _Refused as refused:
            outcome, answer = refused.outcome, refused.answer
        except StateUnavailable as error:
            self._gate.report(error)
            outcome, answer = "state_unavailable", _UNAVAILABLE
            self._log.debug("webhook_postponed", exc_info=error)
        except Exception as error:  # noqa: BLE001 - whatever it is: the vendor repeats it, and nothing is lost
            outcome, answer = "failed", _UNAVAILABLE
            self._log.error("webhook_failed", source=door.source if door else None, request_id=request, exc_info=error)
        self._note(door, outcome, request, clock.monotonic() - started)
        start_response(answer.status, answer.headers)
        return (answer.body,)

    def _door(self, name: str, publisher: Publisher) -> _Door:
        source, vendor = self._services.config.sources[name], self._services.vendors
        return _Door(
            source=name,
            closed=source.paused or not source.webhook.enabled,
            digests=tuple(digest.lower().encode() for digest in source.webhook.token_sha256),
            media_types=frozenset(vendor[source.vendor].media_types),
            context=self._services.ingest_context(name, publisher),
            observe=self._metrics.duration.labels(source.vendor).observe,
        )

    def _find(self, method: str, path: str) -> _Door:
        """The source that the address names. Unknown source, unknown token and missing token cost the same."""
        if method != "POST":
            raise _Refused("wrong_method", _WRONG_METHOD)
        name, slash, token = path[len(PREFIX) :].partition("/")
        door = self._doors.get(name)
        given = hashlib.sha256(token.encode("latin-1")).hexdigest().encode()
        known = False
        for digest in (door.digests if door else ()) or _NO_DIGEST:
            known |= hmac.compare_digest(given, digest)
        if door is None or not (known if door.digests else not slash):
            raise _Refused("unknown_source", _NOT_FOUND)
        return door

    def _length(self, environ: WSGIEnvironment, door: _Door) -> int:
        """The announced length, when everything that can be judged before the body is in order."""
        given = environ.get("CONTENT_LENGTH") or ""
        if not given or "HTTP_TRANSFER_ENCODING" in environ:
            raise _Refused("no_length", _NO_LENGTH)
        if not (given.isascii() and given.isdecimal()):
            raise _Refused("incomplete", _INCOMPLETE)
        # Digits first: int() of very many of them is an error of its own.
        if len(given) > 18 or int(given) > self._max_body_bytes:
            raise _Refused("too_large", _TOO_LARGE)
        encoding = environ.get("HTTP_CONTENT_ENCODING")
        if encoding is not None and encoding.strip().lower() not in ("", "identity"):
            raise _Refused("wrong_media_type", _WRONG_MEDIA)
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() not in door.media_types:
            raise _Refused("wrong_media_type", _WRONG_MEDIA)
        if door.closed or self._paused(door.source):
            raise _Refused("paused", _PAUSED)
        self._gate.check()
        return int(given)

    def _body(self, environ: WSGIEnvironment, length: int) -> bytes:
        """Exactly `length` raw bytes; they are what was signed."""
        try:
            with gevent.Timeout(self._body_seconds):
                body: bytes = environ["wsgi.input"].read(length)
        except gevent.Timeout as error:
            raise _Refused("too_slow", _TOO_SLOW) from error
        except OSError as error:
            # The sender is gone; the answer will find nobody.
            raise _Refused("incomplete", _INCOMPLETE) from error
        if len(body) != length:
            raise _Refused("incomplete", _INCOMPLETE)
        return body

    def _receive(
        self, door: _Door, environ: WSGIEnvironment, body: bytes, request: str, now: float
    ) -> tuple[str, Answer]:
        headers, kept = _headers(environ)
        try:
            receipt = receive(
                door.context, WebhookRequest(id=request, body=body, headers=headers, kept_headers=kept, received_at=now)
            )
        except BadSignature as error:
            self._keep_rejected(door, error, kept, body, request, now)
            return "bad_signature", _UNAUTHORISED
        outcome = receipt.outcome
        return outcome, _answer(_OK, b'{"outcome":"%b","request_id":"%b"}' % (outcome.encode(), request.encode()))

    def _keep_rejected(
        self, door: _Door, error: BadSignature, kept: Mapping[str, str], body: bytes, request: str, now: float
    ) -> None:
        self._log.info("webhook_rejected", source=door.source, request_id=request, reason=error.reason)
        try:
            self._gate.check()
            self._services.requests.reject(
                request_id=request, source=door.source, received_at=now, reason=error.reason, headers=kept, body=body
            )
        except StateUnavailable as trouble:
            # To know it later would be useful; the refusal is right without it.
            self._gate.report(trouble)
            self._log.warning("rejected_request_not_kept", request_id=request, exc_info=trouble)

    def _note(self, door: _Door | None, outcome: str, request: str, seconds: float) -> None:
        if door is None:
            self._metrics.requests.labels("", outcome).inc()
            return
        count = door.counts.get(outcome)
        if count is None:
            count = door.counts[outcome] = self._metrics.requests.labels(door.source, outcome).inc
        count()
        door.observe(seconds)
        self._log.debug(
            "webhook_answered",
            source=door.source,
            request_id=request,
            outcome=outcome,
            duration_ms=round(seconds * 1000, 2),
        )


def request_id(now: float, random: bytes) -> str:
    """A UUIDv7: `now` (UNIX seconds) in milliseconds, then 74 of the 80 given random bits. Sorts by time.

    Source: RFC 9562, section 5.7.
    """
    number = int(now * 1000) << 80 | int.from_bytes(random)
    number = number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _headers(environ: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """All headers with lower-case names, and those of them that may be stored, clipped."""
    headers: dict[str, str] = {}
    kept: dict[str, str] = {}
    for key, value in environ.items():
        name, keep = _header_name(key)
        if name:
            headers[name] = value
            if keep:
                kept[name] = value[:_KEPT_VALUE]
    return headers, kept


@lru_cache(maxsize=512)
def _header_name(key: str) -> tuple[str, bool]:
    """A WSGI key as the header's name, "" where it is none, and whether the header may be stored."""
    if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if not key.startswith("HTTP_"):
        return "", False
    name = key[5:].lower().replace("_", "-")
    keep = name in _KEPT_NAMES or (name.startswith("x-") and not any(word in name for word in _SECRET_WORDS))
    return name, keep
