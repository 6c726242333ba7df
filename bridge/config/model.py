"""bridge.yaml as frozen objects. Reading and checking the file is in `bridge/config/loader.py`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bridge.config.durability import Durability
from bridge.config.kafka_target import KafkaSasl, KafkaTls
from bridge.net.signatures import sha256_hex
from bridge.net.standard_webhooks import SigningSecret
from bridge.notify.defaults import MessageTemplate
from bridge.query import NumberRange
from bridge.quota.windows import Window
from schemas.event import ATTEMPT_TYPES
from schemas.formats import CLOUDEVENTS, Format
from schemas.xapi import ACCOUNT

__all__ = [
    "Access",
    "Authorization",
    "BridgeConfig",
    "Config",
    "Filter",
    "PollConfig",
    "Rate",
    "Receipts",
    "Retention",
    "RetryPolicy",
    "Source",
    "Subscription",
    "Token",
    "TrustedProxy",
    "WebhookConfig",
]

_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long things are kept, in seconds."""

    events: float = 30 * _DAY
    requests: float = 7 * _DAY
    dead_letters: float = 30 * _DAY
    audit: float = 365 * _DAY
    #: Deliveries that have ended, except dead letters.
    deliveries: float = 3 * _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """The `bridge:` section. `state` and `broker` may hold a password; None: the embedded server."""

    name: str
    public_url: str
    state: str | None = field(default=None, repr=False)
    broker: str | None = field(default=None, repr=False)
    data_dir: Path = Path("data")
    partitions: int = 1
    remember_attempts: float = 180 * _DAY
    retention: Retention = Retention()
    durability: Durability = field(default_factory=Durability)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """`token_sha256`: hex digests of the tokens that the address may end in; empty: no token is needed."""

    enabled: bool = True
    token_sha256: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollConfig:
    """How a source is polled; times in seconds."""

    enabled: bool = True
    every: float = 300.0
    overlap: float = 600.0
    look_back: float = 7 * _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One configured vendor account."""

    name: str
    vendor: str
    base_url: str
    credentials: Mapping[str, tuple[str, ...]] = field(repr=False)
    webhook: WebhookConfig
    poll: PollConfig
    budget: Window
    options: Mapping[str, Any]
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events a subscription wants. `types`, `sources`, `vendor`: names or patterns; the last two empty: all.

    `when`: equality or a comparison in `data.result`, for events that have one; `flags`: any of them. Notices come only
    where `types` asks for them: a gradebook's task must not be handed an alarm.
    """

    types: tuple[str, ...] = ATTEMPT_TYPES
    sources: tuple[str, ...] = ()
    vendor: tuple[str, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)

    def takes_header(self, event_type: str, source: str) -> bool:
        """Decide by the fields of the journal entry outside the event's JSON."""
        return _fits(event_type, self.types) and (not self.sources or _fits(source, self.sources))

    @property
    def reads_event(self) -> bool:
        """Whether the event's JSON is needed to decide."""
        return bool(self.vendor or self.when)

    @property
    def is_open(self) -> bool:
        """Whether only `types` limits which events are taken."""
        return not (self.sources or self.vendor or self.when)

    def takes_event(self, event: Mapping[str, Any]) -> bool:
        """Decide by the event itself; only needed if it `reads_event`."""
        if self.vendor and not _fits(str(event.get("bridgevendor", "")), self.vendor):
            return False
        data = event["data"]
        # A notice has no result to compare, and its type was requested explicitly.
        return "result" not in data or all(_meets(data, name, wanted) for name, wanted in self.when.items())


def _meets(data: Mapping[str, Any], name: str, wanted: Any) -> bool:
    if name == "flags":
        return any(_fits(flag, wanted) for flag in data.get("flags", ()))
    value = data["result"].get(name)
    return wanted.matches(value) if isinstance(wanted, NumberRange) else bool(value == wanted)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    # Most are plain names, and this is called for every event and subscription.
    return name in patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Seconds before each further try; `jitter` is the share that a random draw may subtract or add."""

    schedule: tuple[float, ...] = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)
    jitter: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts:
    """Whether a Celery or kombu receiver must confirm, and within how many seconds."""

    required: bool = False
    within: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `events` in any stretch of `per` seconds, by all dispatch processes together."""

    events: int
    per: float = 1.0


@dataclass(frozen=True, slots=True)
class Authorization:
    """How pushes are authorised: `secret` is the password of `user`, or a bearer token where there is no user."""

    secret: str = field(repr=False)
    user: str | None = None

    @property
    def header(self) -> str:
        """The value of the header `authorization`."""
        if self.user is None:
            return f"Bearer {self.secret}"
        return "Basic " + b64encode(f"{self.user}:{self.secret}".encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One configured receiver. Which of the transport's own fields are set depends on `transport`."""

    name: str
    transport: str
    filter: Filter = Filter()
    retry: RetryPolicy = RetryPolicy()
    #: `full`, `minimal`, or the fields below `data` that are sent.
    data: str | tuple[str, ...] = "full"
    receipts: Receipts = Receipts()
    broker: str | None = field(default=None, repr=False)
    task: str | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str = "{type}.{source}"
    url: str | None = None
    #: http: what signs, the newest first.
    secrets: tuple[SigningSecret, ...] = ()
    #: http: sent with each push, besides those that the bridge sets itself.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorization: Authorization | None = None
    allow_private: bool = False
    #: http: most events under way in each dispatch process.
    concurrency: int = 64
    rate: Rate | None = None
    #: sql, PostgreSQL: the schema of the tables; None: the first of the user's search path.
    schema: str | None = None
    #: sql: name of the table of attempts, with which the names of the others begin.
    table: str = "attempts"
    #: sql: whether missing tables are created.
    create: bool = True
    #: kafka: `host:port` of the bootstrap brokers.
    servers: tuple[str, ...] = ()
    topic: str | None = None
    tls: KafkaTls = field(default_factory=KafkaTls)
    sasl: KafkaSasl | None = None
    #: notify: Apprise addresses of the services.
    urls: tuple[str, ...] = field(default=(), repr=False)
    #: notify: event type, pattern or `digest` -> the operator's templates.
    templates: Mapping[str, MessageTemplate] = field(default_factory=dict)
    #: notify: seconds; events that `rate` does not let through are one message at the end of each such period.
    digest: float | None = None
    #: http and kombu: `cloudevents`, `xapi` or `caliper`.
    format: str = CLOUDEVENTS
    #: xapi: whether actors are identified by `account` or `mbox`, and the home page of accounts named by `external_id`.
    actor: str = ACCOUNT
    home_page: str | None = None
    #: The bridge's own address, for links and for the IRIs of formats.
    public_url: str = ""

    @property
    def output(self) -> Format:
        """The format in which its events are sent."""
        return Format(name=self.format, base=self.public_url, actor=self.actor, home_page=self.home_page)

    @property
    def own_headers(self) -> dict[str, str]:
        """http: headers and authorisation as the file has them; hold secrets."""
        authorization = {} if self.authorization is None else {"authorization": self.authorization.header}
        return {**self.headers, **authorization}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token of the API, as the SHA-256 of its text. `subscription`: the one whose events a receiver may confirm."""

    name: str
    role: str
    sha256: str = field(repr=False)
    subscription: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedProxy:
    """A proxy that names its users in a header. `from_`: networks of the proxy; `roles`: role -> names or patterns."""

    header: str
    from_: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The `access:` section."""

    tokens: tuple[Token, ...] = ()
    #: Whether viewers see names, e-mail addresses, labels and bodies.
    viewers_see_persons: bool = False
    proxy: TrustedProxy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file, checked."""

    path: Path
    bridge: BridgeConfig
    sources: Mapping[str, Source]
    subscriptions: Mapping[str, Subscription]
    access: Access = Access()
    #: Whether it is a demo's file: literal secrets are allowed, and the bridge is quicker.
    demo: bool = False
    #: The file as it was read.
    text: str = field(default="", repr=False)

    @property
    def digest(self) -> str:
        """The first 12 hex digits of the SHA-256 of the file."""
        return sha256_hex(self.text)[:12]
