"""Verifies requests that are signed as in Standard Webhooks, and signs them for tests."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, Callable, Optional, Protocol, Union

from standardwebhooks.webhooks import Webhook

from attempt_bridge_client.errors import ConfigurationError, EventRejected
from attempt_bridge_client.events import Event

__all__ = ["Headers", "Verifier", "sign", "verify"]

#: Seconds by which the timestamp of a request may differ from the receiver's clock.
TOLERANCE = 300.0
_HMAC, _PUBLIC, _PRIVATE = "whsec_", "whpk_", "whsk_"
_IDENT = re.compile(r"[!-~]{1,256}")
_SECONDS = re.compile(r"[0-9]{1,11}", re.ASCII)
#: Message id, seconds and body in; signature of the header out.
_Sign = Callable[[str, int, bytes], str]
#: Message id, seconds, body and one signature of the header in; whether it is valid.
_Check = Callable[[str, int, bytes, str], bool]


class Headers(Protocol):
    """Headers of a request: a dict, or the headers object of Flask, Django or Starlette. Names in any case."""

    def items(self) -> Iterable[tuple[str, str]]: ...


class Verifier:
    """Verifies with the same secrets every time. Build it at startup: it raises `ConfigurationError` for wrong secrets.

    `secrets`: `whsec_` (HMAC), or the public key `whpk_` (ed25519, needs the extra `ed25519`); several while one
    replaces another. `tolerance`: seconds.
    """

    def __init__(self, secrets: Union[str, Iterable[str]], *, tolerance: float = TOLERANCE) -> None:
        given = [secrets] if isinstance(secrets, str) else list(secrets)
        if not given:
            raise ConfigurationError("no secret: nothing can be verified. Remedy: pass the subscription's secret")
        self._checks = [_check_of(secret) for secret in given]
        self._tolerance = tolerance

    def verify(self, body: bytes, headers: Headers, *, now: Optional[float] = None) -> Event:
        """The event in a request. `body`: exactly the bytes received; `now`: UNIX seconds, default the clock.

        Raises `EventRejected`.
        """
        names = {name.lower(): value for name, value in headers.items()}
        ident, seconds_text, signatures = (
            _header(names, f"webhook-{name}") for name in ("id", "timestamp", "signature")
        )
        if not _SECONDS.fullmatch(seconds_text):
            raise EventRejected("webhook-timestamp: not UNIX seconds", reason="malformed_header")
        if not _IDENT.fullmatch(ident):
            raise EventRejected("webhook-id: not printable ASCII", reason="malformed_header")
        seconds = int(seconds_text)
        away = abs((time.time() if now is None else now) - seconds)
        if not away <= self._tolerance:
            message = (
                f"webhook-timestamp: {away:.0f} s away from this machine's clock, {self._tolerance:.0f} s are allowed"
            )
            raise EventRejected(message, reason="timestamp_out_of_tolerance")
        try:
            text = body.decode()
        except UnicodeDecodeError as error:  # the bridge sends UTF-8
            raise EventRejected("body: not UTF-8, so not what was signed", reason="wrong_signature") from error
        # All are tried, so that the time taken does not show which secret is current.
        fits = [check(ident, seconds, body, signature) for check in self._checks for signature in signatures.split()]
        if not any(fits):
            raise EventRejected("webhook-signature: made with none of the secrets", reason="wrong_signature")
        return Event.from_json(text)


def verify(
    body: bytes,
    headers: Headers,
    secrets: Union[str, Iterable[str]],
    *,
    tolerance: float = TOLERANCE,
    now: Optional[float] = None,
) -> Event:
    """The event in a signed request. Raises `EventRejected` with its reason; `ConfigurationError` for wrong secrets.

    `body`: exactly the bytes received, before anything parses them. See `Verifier` for the other arguments.
    """
    return Verifier(secrets, tolerance=tolerance).verify(body, headers, now=now)


def sign(
    body: bytes, event_id: str, secrets: Union[str, Iterable[str]], *, now: Optional[float] = None
) -> dict[str, str]:
    """The headers with which the bridge would sign `body`: for tests of receivers.

    `secrets`: `whsec_`, or the private key `whsk_` (needs the extra `ed25519`). Raises `ConfigurationError`.
    """
    seconds = int(time.time() if now is None else now)
    given = [secrets] if isinstance(secrets, str) else secrets
    signatures = " ".join(_sign_of(secret)(event_id, seconds, body) for secret in given)
    return {"webhook-id": event_id, "webhook-timestamp": str(seconds), "webhook-signature": signatures}


def _header(names: dict[str, str], name: str) -> str:
    value = names.get(name)
    if not value:
        raise EventRejected(f"{name}: missing", reason="missing_header")
    return value


def _check_of(secret: str) -> _Check:
    if secret.startswith(_PUBLIC):
        return _ed25519_check(_key_bytes(secret, _PUBLIC))
    if secret.startswith(_PRIVATE):
        raise ConfigurationError(f"a secret is a private key. Remedy: pass the public key, which starts with {_PUBLIC}")
    signed = _sign_of(secret)

    def check(ident: str, seconds: int, body: bytes, given: str) -> bool:
        return hmac.compare_digest(signed(ident, seconds, body).encode(), given.encode("utf-8", "replace"))

    return check


def _sign_of(secret: str) -> _Sign:
    if secret.startswith(_PRIVATE):
        return _ed25519_sign(_key_bytes(secret, _PRIVATE))
    if not secret.startswith(_HMAC):
        raise ConfigurationError(
            f'a secret does not start with any of "{_HMAC}", "{_PUBLIC}". Remedy: copy it with its prefix'
        )
    webhook = Webhook(_key_bytes(secret, _HMAC))

    def signed(ident: str, seconds: int, body: bytes) -> str:
        return webhook.sign(ident, datetime.fromtimestamp(seconds, timezone.utc), body.decode())

    return signed


def _key_bytes(secret: str, prefix: str) -> bytes:
    try:
        key = base64.b64decode(secret[len(prefix) :], validate=True)
    except binascii.Error as error:
        raise ConfigurationError(f"a secret is not base64 after {prefix}. Remedy: copy it again") from error
    if len(key) < 24:
        raise ConfigurationError(f"a secret has {len(key)} bytes, at least 24 are needed. Remedy: copy it again")
    return key


def _ed25519_check(key: bytes) -> _Check:
    exceptions, signing = _nacl()
    try:
        public = signing.VerifyKey(key)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"a public key has {len(key)} bytes, 32 are needed. Remedy: copy it again") from error

    def check(ident: str, seconds: int, body: bytes, given: str) -> bool:
        version, _, value = given.partition(",")
        if version != "v1a":
            return False
        try:
            public.verify(_content(ident, seconds, body), base64.b64decode(value, validate=True))
        except (exceptions.BadSignatureError, ValueError):
            return False
        return True

    return check


def _ed25519_sign(key: bytes) -> _Sign:
    if len(key) not in (32, 64):
        raise ConfigurationError(f"a private key has {len(key)} bytes, 32 or 64 are needed. Remedy: copy it again")
    private = _nacl()[1].SigningKey(key[:32])  # its public key may follow it
    return lambda ident, seconds, body: (
        "v1a," + base64.b64encode(private.sign(_content(ident, seconds, body)).signature).decode()
    )


def _content(ident: str, seconds: int, body: bytes) -> bytes:
    return f"{ident}.{seconds}.".encode() + body


def _nacl() -> tuple[Any, Any]:
    try:
        from nacl import exceptions, signing  # noqa: PLC0415 - few need it
    except ImportError as error:
        raise ConfigurationError(
            "a key is ed25519, but PyNaCl is not installed. Remedy: pip install 'attempt-bridge-client[ed25519]'"
        ) from error
    return exceptions, signing
