"""Tests of subscriptions: one labelled event, sent at once by a dispatch process to one subscription.

The process that asks and the one that sends meet in the state server. A test is taken once: if the process that took it
ends, nobody sends it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import redis

from bridge import clock
from bridge.clock import to_datetime
from bridge.config.model import BridgeConfig
from bridge.delivery.consumers import group_names
from bridge.journal import BRIDGE
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.stored_json import UnreadableRecord, read_record, record_or_none
from schemas.envelope import SCHEMA_VERSION, event_id, subscription_path
from schemas.notices import TEST, NoticeEvent

__all__ = [
    "WAIT_SECONDS",
    "AskedTest",
    "Report",
    "SubscriptionTests",
    "build_test_event",
    "event_source",
    "reads_journal",
]

#: How long to wait for a report: longer than a try of any transport takes.
WAIT_SECONDS = 45.0
#: A blocking read lasts at most this long, because its socket does not wait much longer.
_BLOCK_SECONDS = 2.0
#: What is left in the state expires after this time.
_EXPIRY_SECONDS = 60
_TEXT = "A test by an operator: nothing has happened. Do not act on it."


@dataclass(frozen=True, slots=True)
class AskedTest:
    """A test for a dispatch process to do. `digest`: of the configuration of the process that asks."""

    ident: str
    subscription: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a test. Times are UNIX seconds."""

    #: What is wrong, in one line; empty: nothing.
    problem: str = ""
    #: Why it failed, a fixed word.
    reason: str = ""
    #: Id of the event; empty: none was sent.
    event_id: str = ""
    #: When it was sent, and how long that took in seconds; None: it was not.
    at: float | None = None
    seconds: float | None = None
    #: `to`, `headers` and `body` of what was sent, without secrets; empty: nothing was.
    request: Mapping[str, Any] = field(default_factory=dict)
    #: Status of an HTTP answer, and the beginning of its body.
    status: int | None = None
    answer: str = ""

    def to_json(self) -> str:
        """How it is stored."""
        return json.dumps(asdict(self))


class SubscriptionTests:
    """Asks for tests, takes them, hands over reports. Every method raises `StateUnavailable`.

    `blocking`: for blocking reads; never retries a command.
    """

    def __init__(self, client: redis.Redis, blocking: redis.Redis) -> None:
        self._client, self._blocking = client, blocking

    def ask(self, test: AskedTest) -> bool:
        """Ask for a test; False if one of the same subscription is under way."""
        with state_errors():
            if not self._client.set(keys.tested(test.subscription), test.ident, nx=True, ex=_EXPIRY_SECONDS):
                return False
            pipe = self._client.pipeline(transaction=True)
            pipe.set(keys.asked_test(test.ident), json.dumps(asdict(test)), ex=_EXPIRY_SECONDS)
            pipe.rpush(keys.asked_tests(), test.ident)
            pipe.expire(keys.asked_tests(), _EXPIRY_SECONDS)
            pipe.execute()
        return True

    def wait(self, test: AskedTest, seconds: float) -> Report | None:
        """The report of a test; None if none has come. A test that nobody has taken by then is never sent."""
        ends_at = clock.monotonic() + seconds
        with state_errors():
            try:
                while (left := ends_at - clock.monotonic()) > 0:
                    popped = self._blocking.blpop([keys.test_report(test.ident)], timeout=min(_BLOCK_SECONDS, left))
                    if popped is not None:
                        return _report(cast("tuple[bytes, bytes]", popped)[1])
                return None
            finally:
                self._client.delete(keys.asked_test(test.ident), keys.tested(test.subscription))

    def take(self, seconds: float) -> AskedTest | None:
        """The next test to do; waits up to `seconds` for one. Nobody else gets it."""
        with state_errors():
            popped = self._blocking.blpop([keys.asked_tests()], timeout=min(_BLOCK_SECONDS, seconds))
            if popped is None:
                return None
            ident = cast("tuple[bytes, bytes]", popped)[1].decode()
            stored = cast("bytes | None", self._client.getdel(keys.asked_test(ident)))
        return None if stored is None else record_or_none(AskedTest, stored, place=keys.asked_tests(), ident=ident)

    def report(self, test: AskedTest, report: Report) -> None:
        """Hand over what came of a test."""
        name = keys.test_report(test.ident)
        with state_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.rpush(name, report.to_json())
            pipe.expire(name, _EXPIRY_SECONDS)
            pipe.execute()


def _report(text: bytes) -> Report:
    try:
        return read_record(Report, text)
    except UnreadableRecord as error:
        problem = f"the report of the dispatch process cannot be read: {error}. Remedy: run one version everywhere"
        return Report(problem=problem, reason="unreadable")


def event_source(subscription: str) -> str:
    """The name of the source of a test; no configured source can have it."""
    return f"subscriptions/{subscription}"


def build_test_event(bridge: BridgeConfig, subscription: str, *, ident: str, now: float) -> NoticeEvent:
    """The event of a test. `ident`: random, so that no two tests have the same event id. `now`: UNIX seconds."""
    path = subscription_path(bridge.name, subscription)
    return NoticeEvent(
        id=event_id(path, f"test:{ident}", TEST, 1),
        source=path,
        type=TEST,
        subject=subscription,
        time=to_datetime(now),
        dataschema=f"{bridge.public_url}/schemas/notice/{SCHEMA_VERSION}.json",
        recordedtime=to_datetime(now),
        partitionkey=f"{event_source(subscription)}/{subscription}",
        bridgevendor="bridge",
        bridgeorigin=BRIDGE,
        bridgetest=True,
        data={"test": {"subscription": subscription, "text": _TEXT}},
    )


def reads_journal(client: redis.Redis, name: str, *, partitions: int) -> bool:
    """Whether a service reads the journal with a consumer group of this name. Raises `StateUnavailable`."""
    with state_errors():
        return any(name in group_names(client, partition) for partition in range(partitions))
