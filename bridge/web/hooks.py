"""Receives webhooks: `POST /webhooks/<source>` and `/webhooks/<source>/<token>`, from the socket to the answer.

A WSGI application in front of Flask, because this is the hot path: no routing, no request object, prepared answers.
What happens to an accepted request is in `bridge/ingest/pipeline.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import gevent

from bridge import clock
from bridge.errors import BadSignature, StateUnavailable
from bridge.ingest.context import IngestContext, WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.journal.publishing import Publisher
from bridge.monitoring import logs
from bridge.monitoring.log_limits import LogLimits
from bridge.monitoring.metrics import WebMetrics
from bridge.services import Services
from bridge.web.gate import Gate
from bridge.web.headers import read_headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["BODY_SECONDS", "MAX_BODY_BYTES", "PREFIX", "Answer", "Endpoint", "Receiver", "request_id"]

PREFIX = "/webhooks/"
#: Largest body accepted; the vendors' bodies stay below 64 kB.
MAX_BODY_BYTES = 256 * 1024
#: Seconds within which a body must be complete. Headers have the server's keep-alive time.
BODY_SECONDS = 10.0
#: Compared with if a source has no token or does not exist, so that all cases take the same time. Matches no hash.
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
    """Ends a request with an answer other than 200."""

    def __init__(self, outcome: str, answer: Answer) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a request for one source needs, prepared at the start."""

    source: str
    #: Paused, or without webhooks, in bridge.yaml.
    disabled: bool
    #: Hex SHA-256 of the tokens.
    digests: tuple[bytes, ...]
    media_types: frozenset[str]
    context: IngestContext
    #: Takes the duration of each request, seconds.
    observe: Callable[[float], object]
    #: Outcome -> increments its counter; filled as outcomes occur.
    counts: dict[str, Callable[[], object]] = field(default_factory=dict)


class Receiver:
    """The WSGI application. `publisher` makes entries durable; `body_seconds` and `max_body_bytes` are its limits.

    `paused`: whether an operator has paused a source; called for every webhook, so it must not block.
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
        self._log = logs.get_logger(__name__)
        self._limits = LogLimits(self._log)
        # A source whose vendor sends no webhooks is answered like one that does not exist.
        self._endpoints = {
            name: self._make_endpoint(name, publisher)
            for name, source in services.config.sources.items()
            if services.vendors[source.vendor].split is not None
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = clock.monotonic()
        endpoint: Endpoint | None = None
        request = ""
        try:
            endpoint, token = self._find_endpoint(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            body = self._read_body(environ, self._checked_length(environ, endpoint))
            now = self._now()
            request = request_id(now, os.urandom(10))
            outcome, answer = self._receive(endpoint, environ, body, request, now, token)
        except _Refused as refused:
            outcome, answer = refused.outcome, refused.answer
        except StateUnavailable as error:
            self._gate.report(error)
            outcome, answer = "state_unavailable", _UNAVAILABLE
            self._log.debug("webhook_postponed", exc_info=error)
        except Exception as error:  # noqa: BLE001 - answered with 503, so the vendor sends it again and nothing is lost
            outcome, answer = "failed", _UNAVAILABLE
            source = endpoint.source if endpoint else ""
            if self._limits.allows("webhook_failed", source=source, error_type=type(error).__name__):
                self._log.error("webhook_failed", source=source, request_id=request, exc_info=error)
        self._record(endpoint, outcome, answer, request, clock.monotonic() - started)
        start_response(answer.status, answer.headers)
        return (answer.body,)

    def flush_log(self) -> None:
        """Report lines that were suppressed. Call it every few seconds."""
        self._limits.flush()

    def _make_endpoint(self, name: str, publisher: Publisher) -> Endpoint:
        source, vendor = self._services.config.sources[name], self._services.vendors
        return Endpoint(
            source=name,
            disabled=source.paused or not source.webhook.enabled,
            digests=tuple(digest.lower().encode() for digest in source.webhook.token_sha256),
            media_types=frozenset(vendor[source.vendor].media_types),
            context=self._services.ingest_context(name, publisher),
            observe=self._metrics.duration.labels(source.vendor).observe,
        )

    def _find_endpoint(self, method: str, path: str) -> tuple[Endpoint, int | None]:
        """The endpoint of the address, and the number of its token if it has any.

        Unknown source, unknown token and missing token take the same time.
        """
        if method != "POST":
            raise _Refused("wrong_method", _WRONG_METHOD)
        name, slash, token = path[len(PREFIX) :].partition("/")
        endpoint = self._endpoints.get(name)
        given = hashlib.sha256(token.encode("latin-1")).hexdigest().encode()
        known = 0
        for number, digest in enumerate((endpoint.digests if endpoint else ()) or _NO_DIGEST, 1):
            matches = hmac.compare_digest(given, digest)
            known = known or number * matches
        if endpoint is None or not (known if endpoint.digests else not slash):
            raise _Refused("unknown_source", _NOT_FOUND)
        return endpoint, known or None

    def _checked_length(self, environ: WSGIEnvironment, endpoint: Endpoint) -> int:
        """The length of the body, after all checks that do not need the body itself."""
        given = environ.get("CONTENT_LENGTH") or ""
        if not given or "HTTP_TRANSFER_ENCODING" in environ:
            raise _Refused("no_length", _NO_LENGTH)
        if not (given.isascii() and given.isdecimal()):
            raise _Refused("incomplete", _INCOMPLETE)
        # By number of digits first: int() refuses very long numbers.
        if len(given) > 18 or int(given) > self._max_body_bytes:
            raise _Refused("too_large", _TOO_LARGE)
        encoding = environ.get("HTTP_CONTENT_ENCODING")
        if encoding is not None and encoding.strip().lower() not in ("", "identity"):
            raise _Refused("wrong_media_type", _WRONG_MEDIA)
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() not in endpoint.media_types:
            raise _Refused("wrong_media_type", _WRONG_MEDIA)
        if endpoint.disabled or self._paused(endpoint.source):
            raise _Refused("paused", _PAUSED)
        self._gate.check()
        return int(given)

    def _read_body(self, environ: WSGIEnvironment, length: int) -> bytes:
        """Exactly `length` raw bytes, as they were signed."""
        try:
            with gevent.Timeout(self._body_seconds):
                body: bytes = environ["wsgi.input"].read(length)
        except gevent.Timeout as error:
            raise _Refused("too_slow", _TOO_SLOW) from error
        except OSError as error:
            # The sender has disconnected and will not see the answer.
            raise _Refused("incomplete", _INCOMPLETE) from error
        if len(body) != length:
            raise _Refused("incomplete", _INCOMPLETE)
        return body

    def _receive(
        self, endpoint: Endpoint, environ: WSGIEnvironment, body: bytes, request: str, now: float, token: int | None
    ) -> tuple[str, Answer]:
        headers, kept = read_headers(environ, environ["PATH_INFO"][len(PREFIX) :].partition("/")[2])
        try:
            receipt = receive(
                endpoint.context,
                WebhookRequest(
                    id=request, body=body, headers=headers, kept_headers=kept, received_at=now, secret=token
                ),
            )
        except BadSignature as error:
            self._store_rejected(endpoint, error, kept, body, request, now)
            return "bad_signature", _UNAUTHORISED
        outcome = receipt.outcome
        return outcome, _answer(_OK, b'{"outcome":"%b","request_id":"%b"}' % (outcome.encode(), request.encode()))

    def _store_rejected(
        self, endpoint: Endpoint, error: BadSignature, kept: Mapping[str, str], body: bytes, request: str, now: float
    ) -> None:
        if self._limits.allows("webhook_rejected", source=endpoint.source, reason=error.reason):
            self._log.info("webhook_rejected", source=endpoint.source, request_id=request, reason=error.reason)
        try:
            self._gate.check()
            self._services.requests.reject(
                request_id=request,
                source=endpoint.source,
                received_at=now,
                reason=error.reason,
                headers=kept,
                body=body,
            )
        except StateUnavailable as unavailable:
            # The refusal is correct even if it cannot be stored.
            self._gate.report(unavailable)
            if self._limits.allows("rejected_request_not_stored"):
                self._log.warning("rejected_request_not_stored", request_id=request, exc_info=unavailable)

    def _record(self, endpoint: Endpoint | None, outcome: str, answer: Answer, request: str, seconds: float) -> None:
        """Count and log what was answered."""
        if endpoint is None:
            self._metrics.requests.labels("", outcome).inc()
            return
        count = endpoint.counts.get(outcome)
        if count is None:
            count = endpoint.counts[outcome] = self._metrics.requests.labels(endpoint.source, outcome).inc
        count()
        endpoint.observe(seconds)
        self._log.debug(
            "webhook_answered",
            source=endpoint.source,
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
