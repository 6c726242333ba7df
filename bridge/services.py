"""The composition root: builds clients and stores from settings. Nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import redis
from marshmallow import ValidationError
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from bridge import clock, config_file, embedded, pace, registry
from bridge.budgets import Budgets
from bridge.config import Config
from bridge.config_shapes import broker_problem, state_problem
from bridge.config_yaml import Reference
from bridge.consent import Consents
from bridge.cursors import Cursors
from bridge.deliveries import Deliveries
from bridge.errors import ConfigError
from bridge.expectations import Expectations
from bridge.generations import Generations
from bridge.journal import Journal
from bridge.journal.publishing import Publisher
from bridge.journal.quarantine import QuarantineStore
from bridge.journal.reading import Reader
from bridge.journal.requests import RequestStore
from bridge.pipeline import Way
from bridge.settings import PREFIX, Settings, environment, read_settings
from bridge.vendor import Vendor
from bridge.watches import Watches

__all__ = ["Services", "load", "state_client"]

#: A web request must be answered within 3 s even when the state stalls: 0.8 s, once more, and the gate in front.
PUBLISH_TIMEOUT_SECONDS = 0.8
#: A blocking read waits at most this long, so that a process can stop; its socket waits longer.
BLOCK_SECONDS = 2.0


def state_client(url: str, *, timeout: float = PUBLISH_TIMEOUT_SECONDS, retries: int = 1) -> redis.Redis:
    """A client of the state server.

    Only scripts that may be repeated go through a client with retries: redis-py repeats any command whose reply was
    lost. Use `retries=0` for consumer groups (a repeated XREADGROUP hides entries). No health check: its PING has
    retries of its own inside those of the command and stretches an error to 14 s.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=min(timeout, 1.0),
        socket_timeout=timeout,
        retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), retries) if retries else Retry(NoBackoff(), 0),
        health_check_interval=0,
        client_name="attempt-bridge",
        max_connections=200,
    )


@dataclass(frozen=True)
class Services:
    """What a process of the bridge works with. Clients connect on first use, so build it before forking."""

    settings: Settings
    config: Config
    vendors: Mapping[str, Vendor]
    state_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    now: Callable[[], float] = clock.now

    @cached_property
    def state(self) -> redis.Redis:
        """For scripts that may be repeated, and for reads."""
        return state_client(self.state_url)

    @cached_property
    def reader(self) -> redis.Redis:
        """For consumer groups and blocking reads: never repeats a command by itself."""
        return state_client(self.state_url, timeout=BLOCK_SECONDS + 5, retries=0)

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.state, partitions=self.config.bridge.partitions)

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
    def budgets(self) -> Budgets:
        return Budgets(self.state)

    @cached_property
    def watches(self) -> Watches:
        return Watches(self.state)

    @cached_property
    def expectations(self) -> Expectations:
        return Expectations(self.state, self.watches)

    @cached_property
    def generations(self) -> Generations:
        return Generations(self.state)

    @cached_property
    def consents(self) -> Consents:
        reader = Reader(self.state, partitions=self.config.bridge.partitions)
        return Consents(self.state, reader, remember_seconds=self.config.bridge.remember_attempts)

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self.state, partitions=self.config.bridge.partitions)

    def way(self, source_name: str, publisher: Publisher | None = None) -> Way:
        """Everything the pipeline needs for one source."""
        source = self.config.sources[source_name]
        return Way(
            vendor=self.vendors[source.vendor],
            source=source,
            bridge=self.config.bridge,
            publisher=publisher or self.journal,
            watches=self.watches,
            expectations=self.expectations,
            generations=self.generations,
            consents=self.consents,
            quarantine=self.quarantine,
        )


def load(settings: Settings | None = None, *, config_path: Path | None = None) -> Services:
    """Read settings and bridge.yaml. Raises `ConfigError` with all problems at once.

    Without `state` the addresses are those of the embedded server under `data_dir`, whether or not it runs.
    """
    settings = settings or read_settings()
    if config_path is not None:
        settings = replace(settings, config=config_path)
    _check_addresses(settings)
    vendors = registry.vendors()
    config = config_file.read(settings.config, vendors=vendors, environment=environment())
    if settings.time_scale != 1.0:
        if not config.demo:
            raise ConfigError(f"environment: {PREFIX}TIME_SCALE: is for demos alone. Remedy: unset it")
        vendors = {name: pace.quicker(vendor, settings.time_scale) for name, vendor in vendors.items()}
    state = settings.state or config.bridge.state
    broker = settings.broker or config.bridge.broker
    if state is None:
        state, embedded_broker = embedded.addresses(config.bridge.data_dir)
        broker = broker or embedded_broker
    if broker is None:
        raise ConfigError(
            f"{settings.config}: bridge.broker: missing while the state is given. Remedy: give Celery's broker there "
            f"or as {PREFIX}BROKER, such as another database of the same server"
        )
    return Services(settings=settings, config=config, vendors=vendors, state_url=state, broker_url=broker)


def _check_addresses(settings: Settings) -> None:
    """Those from the environment, as strictly as those of the file, but for passwords, which may stand there."""
    problems = []
    for name, given, problem_of in (
        ("STATE", settings.state, state_problem),
        ("BROKER", settings.broker, broker_problem),
    ):
        try:
            problem = problem_of(Reference(given)) if given else None
        except ValidationError as error:
            problem = str(error.messages[0])
        if problem:
            problems.append(f"environment: {PREFIX}{name}: {problem}")
    if problems:
        raise ConfigError(*problems)
