"""What is valid in bridge.yaml but needs the operator's attention; `config check` and `doctor` print it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from bridge.config.fields import LOOPBACK
from bridge.config.model import Subscription
from bridge.config.yaml_document import Reference
from bridge.net.standard_webhooks import SigningSecret, moment_text
from bridge.text import duration_text
from schemas.event import REVISED
from schemas.formats import XAPI
from schemas.projection import sends_persons

__all__ = ["Advice", "advice_about"]

_DAY = 86_400.0
#: An expiry is announced this many seconds in advance.
_ANNOUNCED = 14 * _DAY


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to change."""

    #: What it is about: `personal data`, `credentials`, `revisions` or `secrets`.
    topic: str
    #: The fact and its value.
    text: str
    #: What to do.
    remedy: str
    #: Whether something no longer works.
    failure: bool = False


def advice_about(subscription: Subscription, now: float) -> Iterator[Advice]:
    """Personal data that is sent only by default, unencrypted credentials, filters that exclude revisions, expiring
    secrets. `now`: UNIX seconds.
    """
    if subscription.filter.is_open and sends_persons(subscription.data):
        text = "names and e-mail addresses of every candidate are sent: its only filter is types"
        yield Advice("personal data", text, "data: minimal, or a filter such as {sources: [...]}")
    if _sends_credentials(subscription) and _is_unencrypted(subscription.url or ""):
        text = "a password, token or header that may be a secret is sent unencrypted"
        yield Advice("credentials", text, "write https:// in url")
    if subscription.format == XAPI and (subscription.filter.when or not _takes_revisions(subscription)):
        text = "a result that changes stays valid in the LRS if the filter excludes the revision that voids it"
        yield Advice("revisions", text, "take attempt.completed, attempt.revised and attempt.voided, without when")
    for place, secret in enumerate(subscription.secrets):
        if secret.expires is not None and now >= secret.expires - _ANNOUNCED:
            yield _expiry(f"secrets[{place}]", secret.expires, subscription.secrets, now)


def _takes_revisions(subscription: Subscription) -> bool:
    return any(fnmatchcase(REVISED, pattern) for pattern in subscription.filter.types)


def _sends_credentials(subscription: Subscription) -> bool:
    referred = any(isinstance(value, Reference) for value in subscription.headers.values())
    return subscription.authorization is not None or referred


def _is_unencrypted(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def _expiry(path: str, expires: float, secrets: tuple[SigningSecret, ...], now: float) -> Advice:
    at = moment_text(expires)
    if now < expires:
        left = f"{path} expires at {at}, in {_left(expires - now)}"
        if any(secret.expires is None or secret.expires > expires for secret in secrets):
            return Advice("secrets", left, "check that the receiver verifies with the other secret")
        return Advice("secrets", f"{left}; then nothing is sent", "add a new secret before it, give it to the receiver")
    if any(secret.is_valid(now) for secret in secrets):
        return Advice("secrets", f"{path} expired at {at} and is not used", "remove it from bridge.yaml", failure=True)
    text = f"{path} expired at {at}; no other secret is valid: nothing is sent"
    return Advice("secrets", text, "add a new secret, then attempt-bridge config reload", failure=True)


def _left(seconds: float) -> str:
    unit = _DAY if seconds >= _DAY else 3600.0 if seconds >= 3600.0 else 60.0
    return duration_text(max(seconds // unit, 1.0) * unit)
