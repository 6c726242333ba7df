"""A vendor that refuses every call and says "come back at once": polls, rechecks and backfills pause anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import formatdate

import pytest
import redis

from bridge.config.model import PollConfig
from bridge.polling.backfill_jobs import Backfill
from bridge.polling.vendor_http import DEFAULT_PAUSE
from bridge.sdk.records import Pointer
from tests.support.contract.wire import session_over
from tests.support.polling import DAY, START, Api, Sitting, journal, make_services, make_vendor
from workers.polling.backfill import BackfillCallbacks, preview, run
from workers.polling.listing import Interrupted
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck
from workers.polling.reconcile import ReconcileOptions, reconcile

pytestmark = pytest.mark.long

NAME = "eu-little"
MINUTES = 120.0


class World:
    """Every call of the first two minutes gets this answer. `calls`: when they came, seconds from the start."""

    def __init__(self, state: redis.Redis, status: int, headers: Mapping[str, str]) -> None:
        self.moment, self.refusing = START, True
        self.calls: list[float] = []

        def answer(*_: object) -> tuple[int, Mapping[str, str], bytes]:
            self.calls.append(self.moment - START)
            return (status, headers, b"") if self.refusing else (200, {}, b"")

        api = Api(lambda: self.moment)
        api.add(Sitting("1", START - 600))
        self.services = make_services(
            state,
            make_vendor(api),
            lambda: self.moment,
            poll=PollConfig(every=2, overlap=100, look_back=DAY),
            vendor_session=lambda: session_over(answer),
        )

    def sleep(self, seconds: float) -> None:
        self.moment += seconds

    def check(self) -> None:
        if self.refusing and self.moment > START + MINUTES:
            raise Interrupted("two minutes are over")

    @property
    def job(self) -> Backfill:
        return Backfill(id="b", source=NAME, first=START - DAY, last=START, streams=["results"])

    @property
    def callbacks(self) -> BackfillCallbacks:
        return BackfillCallbacks(
            sleep=self.sleep,
            show=lambda *_: None,
            stopping=lambda: self.refusing and self.moment > START + MINUTES,
        )


def _every_two_seconds(turn: Callable[[World], object]) -> Callable[[World], None]:
    def ticks(world: World) -> None:
        while world.moment < START + MINUTES:
            turn(world)
            world.moment += 2.0

    return ticks


def _expect(world: World) -> None:
    services = world.services
    pointers = [Pointer(key=f"a:{number}", reference={"sitting": "1"}) for number in range(3)]
    services.expectations.expect(NAME, pointers, label="x", due=START, deadline=START + DAY, now=START)
    services.watches.add_pointers(NAME, [Pointer(key="a:9", reference={"sitting": "1"})], now=START)
    _every_two_seconds(lambda _: recheck(services, NAME))(world)


def _preview(world: World) -> None:
    with pytest.raises(Interrupted):
        preview(world.services, world.job, world.callbacks)


def _reconcile(world: World) -> None:
    options = ReconcileOptions(since=START - DAY, until=START, check=world.check, sleep=world.sleep)
    with pytest.raises(Interrupted):
        reconcile(world.services, NAME, options)


READERS: dict[str, Callable[[World], None]] = {
    "polls": _every_two_seconds(lambda world: poll_once(world.services, NAME)),
    "rechecks": _expect,
    "polls and rechecks": _every_two_seconds(
        lambda world: (_watch(world), recheck(world.services, NAME), poll_once(world.services, NAME))
    ),
    "backfills": lambda world: run(world.services, world.job, world.callbacks),
    "previews": _preview,
    "reconciliations": _reconcile,
}


def _watch(world: World) -> None:
    """A webhook comes: its pointer is due at once."""
    world.services.watches.add_pointers(NAME, [Pointer(key="a:9", reference={"sitting": "1"})], now=world.moment)


#: What says "at once" or nothing that can be meant: the refusal itself contradicts it.
AT_ONCE: dict[str, Mapping[str, str]] = {
    "zero": {"Retry-After": "0"},
    "zeros": {"Retry-After": "000"},
    "a second ago": {"Retry-After": formatdate(START - 1, usegmt=True)},
    "now": {"Retry-After": formatdate(START, usegmt=True)},
    "an hour ago": {"Retry-After": formatdate(START - 3600, usegmt=True)},
    "1970": {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"},
    "negative": {"Retry-After": "-5"},
    "no number": {"Retry-After": "soon"},
    "empty": {"Retry-After": ""},
    "nothing": {},
    "reset at once": {"Retry-After": "0", "RateLimit-Reset": "0", "RateLimit-Remaining": "0"},
    "reset in the past": {"X-RateLimit-Reset": f"{START - 60:.0f}", "X-RateLimit-Remaining": "0"},
}


@pytest.mark.parametrize("headers", AT_ONCE.values(), ids=AT_ONCE)
@pytest.mark.parametrize("reader", READERS)
def test_a_refused_source_is_left_alone_for_a_minute(
    state: redis.Redis, reader: str, headers: Mapping[str, str]
) -> None:
    world = World(state, 429, headers)
    READERS[reader](world)
    assert world.calls[0] == 0.0
    assert len(world.calls) <= MINUTES / DEFAULT_PAUSE + 1
    pauses = [later - earlier for earlier, later in zip(world.calls, world.calls[1:], strict=False)]
    assert all(pause >= DEFAULT_PAUSE for pause in pauses)


@pytest.mark.parametrize("reader", ["polls", "rechecks", "backfills"])
def test_a_pause_that_the_vendor_asks_for_is_kept_and_reading_goes_on_after_it(state: redis.Redis, reader: str) -> None:
    world = World(state, 429, {"Retry-After": "45"})
    READERS[reader](world)
    assert [round(moment) for moment in world.calls] == pytest.approx([0, 45, 90], abs=6)
    world.refusing = False
    world.moment = max(world.moment, START + MINUTES) + 60.0
    run(world.services, world.job, world.callbacks)
    assert journal(state) == [("attempt.completed", "a:1")]


FAILS_AT_ONCE = pytest.mark.parametrize(
    "headers", [{"Retry-After": "0"}, {"Retry-After": formatdate(START - 60, usegmt=True)}, {}], ids=str
)


@FAILS_AT_ONCE
def test_a_backfill_waits_longer_and_longer_for_a_server_that_fails(
    state: redis.Redis, headers: Mapping[str, str]
) -> None:
    world = World(state, 503, headers)
    run(world.services, world.job, world.callbacks)
    assert world.calls == [0.0, 10.0, 40.0]


@FAILS_AT_ONCE
def test_rechecks_leave_a_server_that_fails_alone_for_half_a_minute(
    state: redis.Redis, headers: Mapping[str, str]
) -> None:
    world = World(state, 503, headers)
    pointers = [Pointer(key=f"a:{number}", reference={"sitting": "1"}) for number in range(100)]
    world.services.watches.add_pointers(NAME, pointers, now=START)
    report = recheck(world.services, NAME)
    assert (len(world.calls), report.retry_at) == (3, START + 30.0)
