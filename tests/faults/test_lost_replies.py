"""The state server does the work and its answer is lost: one attempt stays one event, a call is charged once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import StateUnavailable
from bridge.journal import Journal
from bridge.journal.reading import Reader
from bridge.journal.requests import RequestStore
from bridge.state import keys
from bridge.state.client import state_client
from tests.support.comparison import reconcile
from tests.support.dispatch import Receiver, at, even, lane, publish, refuse, replay_one
from tests.support.journal import entry
from tests.support.polling import START, Api, Sitting, journal, make_services, make_vendor
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import Web, post, result
from workers.dispatch.lane import Lane
from workers.dispatch.schedule import Limits
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck
from workers.transports.contract import Outcome, Outgoing

#: How a client calls the script, once the server knows it.
PUBLISH_ONCE = Journal(redis.Redis())._script.sha.encode()
Record = Callable[[str, object], None]


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    made = Proxy.before(server.url, seed=3)
    yield made
    made.close()


@pytest.fixture
def away(server: Server, proxy: Proxy) -> Iterator[redis.Redis]:
    """The client of every process of the bridge, through the proxy."""
    client = state_client(proxy.url(server.url))
    yield client
    client.close()


def test_one_attempt_is_one_event_however_many_answers_of_the_publish_script_are_lost(
    state: redis.Redis, away: redis.Redis, proxy: Proxy, record_property: Record
) -> None:
    # The server knows the script from now on; otherwise only "never heard of it" would be lost.
    Journal(away).publish(entry(0), now=1.0)
    acked = {("eu", "link:0")}
    for number in range(1, 31):
        version = number % 2
        if version:
            Journal(state).publish(entry(number), now=1.0)
        proxy.drop_replies(PUBLISH_ONCE, times=1 + number % 3)
        for _ in range(4):
            try:
                (verdict,) = Journal(away).publish(entry(number, version), now=1.0).results
            except StateUnavailable:
                continue
            acked.add(("eu", f"link:{number}"))
            break
        # The answer that came names the event of the call whose answer was lost.
        (newest, *_) = Reader(state).events(attempt=f"link:{number}")
        assert verdict.entry_id == newest.entry_id
        assert verdict.revision == 1 + version
    assert proxy.fired == sum(1 + number % 3 for number in range(1, 31))
    counts = reconcile(state, acked=acked)
    record_property("faults", counts.line(replies_lost=proxy.fired))
    assert counts.wrong == {}
    assert (counts.acked, counts.in_journal, counts.events) == (31, 31, 46)


def test_a_bare_append_through_a_client_with_retries_is_doubled_so_this_harness_would_see_it(
    server: Server, state: redis.Redis, proxy: Proxy
) -> None:
    with redis.Redis(port=proxy.port) as careless:
        proxy.drop_replies(b"XADD", times=3)
        careless.xadd(keys.journal(0), {"id": "1", "type": "attempt.completed", "attempt": "a", "source": "eu"})
    assert proxy.fired == 3
    assert state.xlen(keys.journal(0)) == 4


@pytest.mark.usefixtures("starts_processes")
def test_a_webhook_that_is_sent_again_until_it_is_answered_200_is_one_event(
    server: Server, state: redis.Redis, proxy: Proxy, tmp_path: Path, record_property: Record
) -> None:
    web = Web(tmp_path / "web", proxy.url(server.url))
    acked, statuses = set(), Counter[int]()
    try:
        assert web.exchange(post("/webhooks/eu", result(1000))).outcome == "published"
        acked.add(("eu", "link:1000"))
        proxy.drop_replies(PUBLISH_ONCE, times=60, share=0.7)
        for number in range(40):

            def taken(number: int = number) -> bool:
                answer = web.exchange(post("/webhooks/eu", result(number + 1)))
                statuses[answer.status] += 1
                return answer.status == 200

            until(taken)
            acked.add(("eu", f"link:{number + 1}"))
    finally:
        web.close()
    counts = reconcile(state, acked=acked)
    record_property("faults", counts.line(replies_lost=proxy.fired, answers=statuses))
    assert proxy.fired >= 20
    assert set(statuses) == {200, 503}
    assert counts.wrong == {}
    assert (counts.acked, counts.in_journal, counts.events) == (41, 41, 41)
    # Every answer of 200 was of a request that is kept.
    assert len({request.id for request in RequestStore(state).list()}) >= 41


@pytest.mark.parametrize("of", ["publish", "cursor", "history", "lease", "budget", "watch"])
def test_a_poll_whose_answers_are_lost_publishes_once_pays_once_and_ends_where_it_should(
    of: str, state: redis.Redis, away: redis.Redis, proxy: Proxy
) -> None:
    match = {"publish": PUBLISH_ONCE, "history": b":rounds", "lease": b"ab:lease:"}.get(of, f"}}:{of}".encode())
    moment = [START]
    api = Api(clock=lambda: moment[0], page_size=4)
    api.add(*(Sitting(f"{number}", START - 900 + number, graded=number % 5 > 0) for number in range(30)))
    services = make_services(away, make_vendor(api), lambda: moment[0])
    draw, ended = Random(7), 0
    poll_once(services, "eu-little")
    proxy.drop_replies(match, times=25, share=0.5)
    for turn in range(40):
        moment[0] += 60.0
        if turn < 25:
            api.add(Sitting(f"late {turn}", moment[0] - draw.randrange(50)))
        if turn == 25:
            proxy.mode = "pass"
            for sitting in api.streams["results"]:
                sitting.graded = True
        try:
            recheck(services, "eu-little")
            poll_once(services, "eu-little")
        except StateUnavailable:
            ended += 1
            # The turn is over; its lease ends by itself, which takes no time here.
            state.delete(keys.lease("poll:eu-little"))
    published = journal(state)
    assert proxy.fired >= 8
    assert Counter(attempt for kind, attempt in published if kind == "attempt.completed") == Counter(
        f"a:{sitting.id}" for sitting in api.streams["results"]
    )
    revised = Counter(attempt for kind, attempt in published if kind == "attempt.revised")
    assert revised == {f"a:{number}": 1 for number in range(0, 30, 5)}
    # A turn that ended for want of the second answer too may have paid for a call that it did not make.
    paid = state.zcard(keys.budget("eu-little"))
    assert len(api.calls) <= paid <= len(api.calls) + (ended if of == "budget" else 0)
    position = services.cursors.position("eu-little", "results")
    assert position.resume is None
    assert position.cursor == f"{max(sitting.finished for sitting in api.streams['results']):.0f}"


def test_lost_answers_of_every_script_of_dispatch_lose_no_retry_and_double_no_dead_letter(
    server: Server, state: redis.Redis, away: redis.Redis, proxy: Proxy
) -> None:
    ids = publish(state, *range(60))
    doomed = set(ids[::3])
    got: Counter[str] = Counter()

    def answer(sent: Outgoing) -> Outcome:
        got[sent.id] += 1
        return refuse(sent) if sent.id in doomed or got[sent.id] == 1 else None

    crm = Subscription(name="crm", transport="http", retry=RetryPolicy(schedule=(5.0, 5.0), jitter=0.0))
    reader = state_client(proxy.url(server.url), retries=0)
    deliveries, moment = Deliveries(state), 1000.0
    receiving_lane = Lane(
        crm,
        0,
        transport=Receiver(answer, batch=10),
        state=away,
        blocking_client=reader,
        consumer="one",
        limits=Limits(),
    )
    receiving_lane.step(at(moment), even)
    proxy.drop_replies(b"EVALSHA", times=60, share=0.3)
    for _ in range(600):
        try:
            wait = receiving_lane.step(at(moment), even)
        except StateUnavailable:
            receiving_lane.recover()
            continue
        deliveries.resume("crm")
        if wait > 0:
            moment += 61.0
        result = deliveries.state("crm", now=moment)
        if result.delivered + result.dead_letters == len(ids):
            break
    assert proxy.fired >= 20
    letters = [letter.delivery.id for letter in deliveries.dead_letters("crm", limit=None)]
    assert Counter(letters) == Counter(doomed)
    assert (result.delivered, result.pending, result.retrying) == (40, 0, 0)
    assert set(got) == set(ids)
    assert state.hlen(keys.deliveries("crm")) == state.hlen(keys.claims("crm")) == 0
    reader.close()


def test_a_replay_whose_answer_is_lost_and_is_pressed_again_sends_each_letter_once(
    state: redis.Redis, away: redis.Redis, proxy: Proxy
) -> None:
    ids = publish(state, *range(20))
    moment = time.time()
    never = Subscription(name="crm", transport="http", retry=RetryPolicy(schedule=()))
    failing = lane(state, Receiver(refuse), subscription=never)
    while len(list(Deliveries(state).dead_letters("crm", limit=None))) < len(ids):
        failing.step(at(moment), even)
        Deliveries(state).resume("crm")
    proxy.drop_replies(b"EVALSHA", times=30, share=0.6)
    while any(Deliveries(state).dead_letters("crm")):
        try:
            for letter in Deliveries(away).dead_letters("crm"):
                replay_one(Deliveries(away), "crm", letter, now=moment)
        except StateUnavailable:
            continue
    assert proxy.fired >= 10
    receiver = Receiver()
    mended = lane(state, receiver, subscription=never, consumer="two")
    for _ in range(10):
        mended.step(at(moment + 1), even)
    assert sorted(receiver.ids) == sorted(ids)
