"""The composition root: builds clients and stores from settings. Nothing else does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from bridge import clock, registry
from bridge.audit import AuditLog
from bridge.config import loader
from bridge.config.cross_checks import check_addresses, check_broker
from bridge.config.durability import require_replicas
from bridge.config.model import Config
from bridge.delivery.orphans import orphans
from bridge.delivery.replay_store import Replays
from bridge.delivery.store import Deliveries
from bridge.erasure.jobs import Erasures
from bridge.errors import ConfigError
from bridge.ingest.consent import Consents
from bridge.ingest.context import IngestContext
from bridge.ingest.sittings import Sittings
from bridge.journal import Journal
from bridge.journal.event_index import EventIndex
from bridge.journal.publishing import Publisher
from bridge.journal.quarantine import QuarantineStore
from bridge.journal.reading import Reader
from bridge.journal.requests import RequestStore
from bridge.polling.cursors import Cursors
from bridge.polling.expectations import Expectations
from bridge.polling.polls_asked import PollsAsked
from bridge.polling.source_clock import SourceClock
from bridge.polling.turns import Turns
from bridge.polling.watches import Watches
from bridge.polling.worker_jobs import OpenJobs
from bridge.quota.budgets import Budgets
from bridge.sdk import time_scale
from bridge.sdk.vendor import Vendor
from bridge.settings import PREFIX, Settings, environment, read_settings
from bridge.state import server_socket
from bridge.state.client import state_client
from bridge.state.confirming_client import Confirmation
from bridge.state.nodes import EVERYTHING, Reach
from bridge.state.server_clock import ServerClock

if TYPE_CHECKING:
    import requests

__all__ = ["Clients", "Services", "clients_of", "load"]

#: A blocking read waits at most this long, so that a process can stop; its socket waits longer.
BLOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """How a process reaches the state server and the vendors. They connect on first use: build them before forking."""

    #: For scripts that may be repeated, and for reads.
    state: redis.Redis
    #: For consumer groups and blocking reads: never retries a command.
    blocking: redis.Redis
    #: Makes the HTTP session for one turn with one vendor.
    vendor_session: Callable[[], requests.Session]
    #: What replicas must confirm of each write; None: nothing.
    confirmation: Confirmation | None = None


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a process of the bridge works with. Build it before forking."""

    settings: Settings
    config: Config
    vendors: Mapping[str, Vendor]
    #: Vendor that cannot be loaded -> why, in one line with the remedy.
    broken_vendors: Mapping[str, str] = field(default_factory=dict)
    state_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    #: How it reaches the state server and the vendors.
    clients: Clients
    #: The clock: UNIX seconds.
    now: Callable[[], float] = clock.now
    #: The clock behind `now`, where the state server's clock corrects it.
    server_clock: ServerClock | None = None
    #: Builds the journal from a client and `partitions`.
    make_journal: Callable[..., Journal] = Journal

    @property
    def state(self) -> redis.Redis:
        """For scripts that may be repeated, and for reads."""
        return self.clients.state

    @property
    def blocking_client(self) -> redis.Redis:
        """For consumer groups and blocking reads: never retries a command."""
        return self.clients.blocking

    def sync_clock(self) -> None:
        """Let `now` agree with the state server's clock; call it every few seconds. Raises `StateUnavailable`."""
        if self.server_clock is not None:
            self.server_clock.sync(self.state)

    @cached_property
    def source_clock(self) -> SourceClock:
        return SourceClock(self.state)

    @cached_property
    def journal(self) -> Journal:
        bridge = self.config.bridge
        return self.make_journal(self.state, partitions=bridge.partitions, keep_events=bridge.retention.events)

    @cached_property
    def journal_reader(self) -> Reader:
        return Reader(self.state, partitions=self.config.bridge.partitions)

    @cached_property
    def event_index(self) -> EventIndex:
        bridge = self.config.bridge
        return EventIndex(self.state, partitions=bridge.partitions, keep_events=bridge.retention.events)

    @cached_property
    def journal_tail(self) -> Reader:
        """Like `journal_reader`, for `Reader.tail`, which blocks."""
        return Reader(self.blocking_client, partitions=self.config.bridge.partitions)

    @cached_property
    def requests(self) -> RequestStore:
        return RequestStore(self.state, partitions=self.config.bridge.partitions)

    @cached_property
    def quarantine(self) -> QuarantineStore:
        return QuarantineStore(self.state)

    @cached_property
    def cursors(self) -> Cursors:
        return Cursors(self.state)

    @cached_property
    def polls_asked(self) -> PollsAsked:
        return PollsAsked(self.state)

    @cached_property
    def open_jobs(self) -> OpenJobs:
        return OpenJobs(self.state)

    @cached_property
    def turns(self) -> Turns:
        return Turns()

    @cached_property
    def budgets(self) -> Budgets:
        return Budgets(self.state)

    @cached_property
    def watches(self) -> Watches:
        return Watches(self.state)

    @cached_property
    def expectations(self) -> Expectations:
        return Expectations(self.state, self.watches)

    @cached_property
    def sittings(self) -> Sittings:
        return Sittings(self.state)

    @cached_property
    def consents(self) -> Consents:
        return Consents(self.state, self.journal_reader, remember_seconds=self.config.bridge.remember_attempts)

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.state, partitions=self.config.bridge.partitions)

    @cached_property
    def replays(self) -> Replays:
        return Replays(self.state, partitions=self.config.bridge.partitions)

    @cached_property
    def erasures(self) -> Erasures:
        return Erasures(self.state)

    @cached_property
    def audit(self) -> AuditLog:
        return AuditLog(self.state, keep_seconds=self.config.bridge.retention.audit)

    def orphans(self, reach: Reach = EVERYTHING) -> list[str]:
        """Subscriptions that are no longer configured and not forgotten. Raises `StateUnavailable`."""
        partitions = self.config.bridge.partitions
        return orphans(self.state, self.config.subscriptions, partitions=partitions, reach=reach)

    def ingest_context(self, source_name: str, publisher: Publisher | None = None) -> IngestContext:
        """Everything the pipeline needs for one source."""
        source = self.config.sources[source_name]
        return IngestContext(
            vendor=self.vendors[source.vendor],
            source=source,
            bridge=self.config.bridge,
            publisher=publisher or self.journal,
            watches=self.watches,
            expectations=self.expectations,
            sittings=self.sittings,
            consents=self.consents,
            quarantine=self.quarantine,
        )


def load(settings: Settings | None = None, *, config_path: Path | None = None) -> Services:
    """Read settings and bridge.yaml. Raises `ConfigError` with all problems at once.

    Closes `settings.config_descriptor` if it is given: it can be read only once.
    Without `state` the addresses are those of the embedded server under `data_dir`, whether or not it runs.
    """
    settings = settings or read_settings()
    if config_path is not None:
        settings = replace(settings, config=config_path)
    check_addresses(settings)
    vendors, broken = registry.vendors(), registry.broken()
    text = None if settings.config_descriptor is None else _text_of(settings.config_descriptor)
    config = loader.read(settings.config, vendors=vendors, broken=broken, environment=environment(), text=text)
    _check_demo(settings, config)
    if settings.time_scale != 1.0:
        vendors = {name: time_scale.with_time_scale(vendor, settings.time_scale) for name, vendor in vendors.items()}
    state = settings.state or config.bridge.state
    broker = settings.broker or config.bridge.broker
    if state is None:
        require_replicas(config.bridge.durability, settings.config)
        state, embedded_broker = server_socket.addresses(config.bridge.data_dir)
        broker = broker or embedded_broker
    if broker is None:
        raise ConfigError(
            f"{settings.config}: bridge.broker: missing while the state is given. Remedy: give Celery's broker there "
            f"or as {PREFIX}BROKER, such as another database of the same server"
        )
    check_broker(config, state, broker)
    server_clock = ServerClock()
    return Services(
        settings=settings,
        config=config,
        vendors=vendors,
        broken_vendors=broken,
        state_url=state,
        broker_url=broker,
        clients=clients_of(state, config.bridge.durability.confirmation),
        now=server_clock.now,
        server_clock=server_clock,
    )


def _text_of(descriptor: int) -> str:
    with os.fdopen(descriptor, encoding="utf-8", newline="") as file:
        return file.read()


def clients_of(state_url: str, confirmation: Confirmation | None = None) -> Clients:
    """The clients that production uses. `confirmation`: what replicas must confirm of each write."""
    return Clients(
        state=state_client(state_url, confirmation=confirmation),
        blocking=state_client(state_url, timeout=BLOCK_SECONDS + 5, retries=0, confirmation=confirmation),
        vendor_session=_vendor_session,
        confirmation=confirmation,
    )


def _vendor_session() -> requests.Session:
    # `requests` takes longer to import than all of this module, and only callers of a vendor need it.
    from bridge.polling.vendor_http import vendor_session  # noqa: PLC0415

    return vendor_session()


def _check_demo(settings: Settings, config: Config) -> None:
    """Refuse what `demo` sets for its parts with any other file, and open access with a file that names callers."""
    given = {"TIME_SCALE": settings.time_scale != 1.0, "OPEN_ACCESS": settings.open_access}
    problems = [
        f"environment: {PREFIX}{name}: is for demos only. Remedy: unset it"
        for name, is_set in given.items()
        if is_set and not config.demo
    ]
    if settings.open_access and (config.access.tokens or config.access.proxy):
        problems.append(f"environment: {PREFIX}OPEN_ACCESS: {config.path} names callers under access. Remedy: unset it")
    if problems:
        raise ConfigError(*problems)
