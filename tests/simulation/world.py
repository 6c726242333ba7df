"""One simulated month: all vendors, the bridge in one process on a fake state server, and everything that goes wrong.

Time is virtual and everything random is drawn from the seed, so that a run can be repeated exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import fakeredis
import redis
import yaml

from bridge import registry
from bridge.config import loader
from bridge.config.model import Config
from bridge.errors import BadSignature, ConfigError
from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.journal import Entry, EntryResult, Journal
from bridge.journal.reading import Reader
from bridge.sandbox.verdict import problems
from bridge.sdk.simulator import Faults, OutgoingWebhook, SimulatedVendor
from bridge.sdk.vendor import Vendor
from bridge.services import Services
from bridge.settings import Settings
from bridge.state import keys
from tests.support.clients import clients_over
from tests.support.contract.wire import BASE_URL, session_over, wsgi
from workers.polling.overdue import announce_overdue
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

__all__ = ["A_MONTH", "HOUR", "LEFT_OUT", "VENDORS", "Crash", "Plan", "Verdict", "World"]


def simulated() -> tuple[tuple[str, ...], dict[str, str]]:
    """The names of the bridge's own vendors that have a simulator, and one line about each other vendor."""
    reasons = {name: line for name, line in registry.broken().items() if name not in registry.vendors()}
    for name in registry.vendors():
        try:
            if registry.simulator(name) is None:
                reasons[name] = f"vendor {name}: not simulated: its folder has no simulator.py"
            elif not registry.package(name).startswith("bridge.vendors."):
                reasons[name] = f"vendor {name}: not simulated: it is in the package {registry.package(name)}"
        except ConfigError as error:
            reasons[name] = str(error)
    return tuple(name for name in registry.vendors() if name not in reasons), reasons


HOUR, DAY = 3600.0, 86_400.0
_TOKEN = "an-invented-last-segment-of-the-address"
#: The vendors that are simulated, and of the others why they are not.
VENDORS, LEFT_OUT = simulated()
#: A Monday, 06:00 UTC.
START = 1_795_413_600.0
#: A step when nobody begins anything new any more.
_CALM_STEP = (2 * HOUR, 4 * HOUR)
#: The worst skew of the bridge's clock, seconds.
_SKEW = 120.0


class Crash(BaseException):
    """The process is gone: nothing of ours may catch it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a run came to. `wrong`: one line per attempt; `refused`: calls over a vendor's quota, `early`: calls before
    a `Retry-After` was over, both by vendor; `happened`: disasters by kind."""

    seed: int
    wrong: Sequence[str]
    refused: Mapping[str, int]
    early: Mapping[str, int]
    attempts: Mapping[str, int]
    calls: Mapping[str, int]
    happened: Mapping[str, int] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        return not self.lines()

    def lines(self) -> list[str]:
        """What is wrong, one line each."""
        over = [f"{name}: {number} calls over the quota" for name, number in self.refused.items() if number]
        soon = [f"{name}: {number} calls before Retry-After was over" for name, number in self.early.items() if number]
        return [*self.wrong, *over, *soon]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`attempts` per vendor within `days`; a step takes so many seconds, from and to; a poll is due `poll_every`.

    `afterwards`: days that the bridge has at most for what has begun.
    """

    attempts: int = 30
    days: float = 30.0
    step: tuple[float, float] = (10 * 60.0, 100 * 60.0)
    poll_every: float = 3 * HOUR
    afterwards: float = 45.0

    @property
    def end(self) -> float:
        """UNIX seconds after which nobody begins anything new."""
        return START + self.days * DAY


A_MONTH = Plan()


class World:
    """One run. `known`: the vendors' declarations, which a mutant may change before it."""

    #: Gives an empty state server. The tests take a real one, in which scripts run many times faster.
    connect: ClassVar[Callable[[], redis.Redis]] = staticmethod(fakeredis.FakeRedis)

    def __init__(
        self,
        seed: int,
        vendors: Sequence[str],
        *,
        plan: Plan = A_MONTH,
    ) -> None:
        self.plan = plan
        self.seed, self.now, self.skew = seed, START, 0.0
        self.draw = Random(seed)
        self.happened: Counter[str] = Counter()
        self._early: Counter[str] = Counter()
        self._throttled_until: dict[str, float] = {}
        self._sat: Counter[str] = Counter()
        self._expected: Counter[str] = Counter()
        self._polled: dict[str, float] = {}
        self._calm, self._at = False, ""
        faults = Faults(lose=0.3, duplicate=0.3, delay=2 * DAY, reorder=True)
        self.simulators: dict[str, SimulatedVendor] = {}
        for number, name in enumerate(vendors):
            module: Any = registry.simulator(name)
            self.simulators[name] = module.sandbox(seed * 100 + number, lambda: self.now, scale=1.0, faults=faults)
        self.wires = {name: wsgi(simulator.wsgi) for name, simulator in self.simulators.items()}
        with TemporaryDirectory() as folder:
            self._config = _config(Path(folder), self.simulators, plan.poll_every)
        self.known: Mapping[str, Vendor] = registry.vendors()
        self.state = self.connect()
        self.services = self.process()

    def process(self) -> Services:
        """A new process on the same state."""
        return Services(
            settings=Settings(),
            config=self._config,
            vendors=self.known,
            state_url="redis://unused.invalid/0",
            broker_url="redis://unused.invalid/1",
            clients=clients_over(self.state, lambda: session_over(self._call)),
            now=lambda: self.now + self.skew,
            make_journal=lambda client, **options: _CrashingJournal(self, Journal(client, **options)),
        )

    def run(self) -> Verdict:
        """The month, and what is left to do after it."""
        while self.now < self.plan.end:
            self.step()
        self._calm, self.skew = True, 0.0
        while self.now < self.plan.end + self.plan.afterwards * DAY and not self._quiet():
            self.step()
        return self._judge()

    def step(self) -> None:
        """A while passes: people act, webhooks arrive, the bridge rechecks and polls."""
        self.now += self.draw.uniform(*(_CALM_STEP if self._calm else self.plan.step))
        if not self._calm and self.draw.random() < 0.05:
            self.skew = self.draw.uniform(-_SKEW, _SKEW)
            self.happened["clock skewed"] += 1
        for name, simulator in self.simulators.items():
            due = self.plan.attempts * min(1.0, (self.now - START) / (self.plan.end - START))
            while self._sat[name] < due:
                self._sit(name)
            simulator.tick(self.now)
            self._expect(name, simulator)
            self._deliver(name, simulator)
            self._work(name)
        announce_overdue(self.services)

    def _sit(self, name: str) -> None:
        """One candidate finishes; now and then several in the same second."""
        for _ in range(1 + 2 * (self.draw.random() < 0.1)):
            self._sat[name] += 1
            self.simulators[name].sit(self.now, candidate=self.seed * 1_000_000 + self._sat[name])

    def _expect(self, name: str, simulator: SimulatedVendor) -> None:
        services, vendor = self.services, self.services.vendors[name]
        fresh = simulator.expectations()[self._expected[name] :]
        if fresh and vendor.expect is not None:
            options = services.config.sources[name].options
            pointers = [vendor.expect(reference, options) for reference in fresh]
            services.expectations.expect(
                name, pointers, label=None, due=self.now, deadline=self.plan.end + 90 * DAY, now=services.now()
            )
            self._expected[name] += len(fresh)

    def _deliver(self, name: str, simulator: Any) -> None:
        for message in simulator.outbox.take_due():
            simulator.outbox.settle(message, delivered=self._receive(name, message))

    def _receive(self, name: str, message: OutgoingWebhook) -> bool:
        if not self._calm and self.draw.random() < 0.1:
            self.happened["webhook refused"] += 1
            return False
        request = WebhookRequest(
            id=f"{self.draw.getrandbits(128):032x}",
            body=message.body,
            headers={key.lower(): value for key, value in message.headers.items()},
            kept_headers={},
            received_at=self.services.now(),
        )
        try:
            receive(self.services.ingest_context(name), request)
        except Crash:
            self._restart()
            return False
        except BadSignature as error:
            # Whoever signs a time does so once: a webhook that is days late is refused, and the list has its result.
            if error.reason == "stale_timestamp":
                self.happened["webhook too old"] += 1
                return False
            raise AssertionError(f"{name}: the simulated webhook is not authentic: {error}") from error
        return True

    def _work(self, name: str) -> None:
        self._at = name
        try:
            while recheck(self.services, name).outcome == "done":
                pass
            if self.now - self._polled.get(name, 0.0) >= self.plan.poll_every:
                self._polled[name] = self.now
                poll_once(self.services, name)
        except Crash:
            self._restart()

    def _restart(self) -> None:
        self.happened["killed"] += 1
        # The lease of the dead runs out, on the server's clock, before the next one comes.
        self.state.delete(*(keys.lease(f"poll:{name}") for name in self.simulators))
        self.services = self.process()

    def _call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One call of the bridge to a vendor, with what may happen to it."""
        name = self._at
        self._early[name] += self.now + self.skew < self._throttled_until.get(name, 0.0)
        fate = 1.0 if self._calm else self.draw.random()
        if fate < 0.01:
            raise Crash
        if fate < 0.02:
            self.happened["503"] += 1
            return 503, {}, b""
        if fate < 0.03:
            self.happened["429"] += 1
            self._throttled_until[name] = self.now + self.skew + HOUR
            return 429, {"Retry-After": str(int(HOUR))}, b""
        answer = self.wires[name](method, path, headers, body)
        # New sittings and other changes while somebody pages.
        if not self._calm and self.draw.random() < 0.1 and self._sat[name] < self.plan.attempts:
            self._sit(name)
        if fate < 0.04:
            raise Crash
        return answer

    def _quiet(self) -> bool:
        settled = all(simulator.idle() for simulator in self.simulators.values())
        return settled and not self._judge().wrong and not self._open()

    def _open(self) -> bool:
        """Whether a recheck that may find something is still to come; re-reads of settled results may go on long."""
        return any(watch.kind != "reread" for name in self.simulators for watch in self.services.watches.list(name))

    def _judge(self) -> Verdict:
        truth = {
            (name, attempt): facts
            for name, simulator in self.simulators.items()
            for attempt, facts in simulator.expected().items()
        }
        events = list(Reader(self.state).events(newest_first=False))
        counts = {name: simulator.counts() for name, simulator in self.simulators.items()}
        return Verdict(
            seed=self.seed,
            wrong=problems(truth, events, {}),
            refused={name: _counted(name, count, "quota_refusals") for name, count in counts.items()},
            early=self._early,
            attempts={name: self._sat[name] for name in self.simulators},
            calls={name: _counted(name, count, "api_calls") for name, count in counts.items()},
            happened=self.happened,
        )


def _counted(name: str, counts: Mapping[str, int], what: str) -> int:
    assert what in counts, f"vendor {name}: simulator.py: counts has no {what}; see docs/adding-a-vendor.md#simulator"
    return counts[what]


class _CrashingJournal:
    """The journal, in a process that may die right before or right after it has published."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world = world
        self._journal = journal

    def publish(self, entry: Entry, *, now: float) -> EntryResult:
        world = self._world
        fate = 1.0 if world._calm else world.draw.random()
        if fate < 0.005:
            raise Crash
        written = self._journal.publish(entry, now=now)
        if fate < 0.01:
            raise Crash
        return written


def _config(folder: Path, simulators: Mapping[str, SimulatedVendor], poll_every: float) -> Config:
    sources = {
        name: {
            "vendor": name,
            "credentials": {key: list(v) if isinstance(v, tuple) else v for key, v in simulator.credentials.items()},
            **({} if registry.vendors()[name].split is None else {"webhook": {"token": _TOKEN}}),
            "poll": {"every": f"{poll_every:g}s", "overlap": "1h", "look_back": "7d"},
            "options": dict(simulator.options),
        }
        for name, simulator in simulators.items()
    }
    document = {"demo": True, "bridge": {"name": "acme"}, "sources": sources}
    path = folder / "bridge.yaml"
    path.write_text(yaml.safe_dump(document))
    config = loader.read(path, vendors=registry.vendors(), environment={})
    # Plain HTTP is refused in a file, rightly.
    return replace(
        config,
        sources={
            name: replace(source, base_url=f"{BASE_URL}{simulators[name].base_path}")
            for name, source in config.sources.items()
        },
    )
