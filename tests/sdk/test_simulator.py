"""The outbox that all simulated vendors share: faults, order, retries, and sending over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from random import Random

import pytest
from werkzeug.wrappers import Request, Response

from bridge.sdk.simulator import NO_FAULTS, Faults, Outbox, OutgoingWebhook
from tests.support.servers import serving
from tests.support.waiting import until

NOW = 1_795_000_000.0
ALL_FAULTS = Faults(lose=0.2, duplicate=0.3, delay=50, reorder=True)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Receiver:
    """A real HTTP server that keeps what it gets and answers with `statuses` first, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, str | None]] = []
        self.statuses: list[int] = []
        self._lock = threading.Lock()
        self.url = ""

    @Request.application
    def app(self, request: Request) -> Response:
        with self._lock:
            self.got.append((request.get_data(), request.headers.get("X-Signature")))
            status = self.statuses.pop(0) if self.statuses else 200
        return Response(status=status, headers={"Location": f"{self.url}/elsewhere"} if status == 302 else None)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with serving(receiver.app) as address:
        receiver.url = f"{address}/webhooks/any"
        yield receiver


def outbox(clock, *, seed: int = 5, faults: Faults = NO_FAULTS, retry_schedule: tuple[float, ...] = ()) -> Outbox:
    return Outbox(clock=clock, rng=Random(seed), faults=faults, retry_schedule=retry_schedule)


def announced(clock: Clock, faults: Faults, *, seed: int = 5) -> tuple[Outbox, list[OutgoingWebhook]]:
    """An outbox after 200 attempts, one a second, and every webhook that it sent, in order."""
    box, sent = outbox(clock, seed=seed, faults=faults), []
    for number in range(200):
        box.announce(str(number).encode(), {}, f"attempt-{number}")
        clock.now += 1
    clock.now += 100
    for message in box.take_due():
        box.settle(message, delivered=True)
        sent.append(message)
    return box, sent


def numbers(sent: list[OutgoingWebhook]) -> list[int]:
    return [int(message.body) for message in sent]


def send(box: Outbox, url: str) -> None:
    box.start(url)
    until(lambda: box.pending() == 0)
    box.stop()


# Faults ---------------------------------------------------------------------------------------------------------------


def test_webhooks_are_lost_and_duplicated_by_their_shares_and_each_attempt_is_accounted_for():
    box, sent = announced(Clock(), ALL_FAULTS)
    counts = box.tally()

    assert 20 < counts["lost"] < 60
    assert 30 < counts["duplicated"] < 90
    assert counts["webhooks_sent"] == len(sent) == 200 - counts["lost"] + counts["duplicated"]
    assert sum(box.delivered.values()) == len(sent)
    assert box.lost.keys() | box.delivered.keys() == {f"attempt-{number}" for number in range(200)}
    assert not box.lost.keys() & box.delivered.keys()
    assert set(box.lost.values()) == {1}
    assert set(box.delivered.values()) == {1, 2}


def test_without_faults_every_webhook_is_sent_once_at_once_and_in_order():
    box, sent = announced(Clock(), NO_FAULTS)

    assert numbers(sent) == list(range(200))
    assert [message.due for message in sent] == [NOW + number for number in range(200)]
    assert (box.tally()["lost"], box.tally()["duplicated"]) == (0, 0)


@pytest.mark.parametrize("reorder", [False, True])
def test_late_webhooks_overtake_each_other_only_if_told_to(reorder):
    _, sent = announced(Clock(), Faults(delay=50, duplicate=0.3, reorder=reorder))

    assert (numbers(sent) == sorted(numbers(sent))) is not reorder
    assert any(message.due > NOW + int(message.body) for message in sent)
    assert all(message.due <= NOW + int(message.body) + 50 for message in sent)


def test_the_same_seed_brings_the_same_faults_and_another_seed_others():
    def history(seed: int) -> list[tuple[float, bytes]]:
        return [(message.due, message.body) for message in announced(Clock(), ALL_FAULTS, seed=seed)[1]]

    assert history(5) == history(5)
    assert history(5) != history(6)


def test_one_fault_does_not_change_which_webhooks_another_affects():
    with_loss, sent = announced(Clock(), Faults(lose=0.2, duplicate=0.3))
    without_loss, all_sent = announced(Clock(), Faults(duplicate=0.3))

    doubled = {number for number in numbers(all_sent) if numbers(all_sent).count(number) == 2}
    lost = {int(attempt_id.partition("-")[2]) for attempt_id in with_loss.lost}
    assert {number for number in numbers(sent) if numbers(sent).count(number) == 2} == doubled - lost
    assert without_loss.tally()["lost"] == 0


def test_a_webhook_that_is_put_is_spared_from_faults_and_waits_until_it_is_due():
    clock = Clock()
    box = outbox(clock, faults=Faults(lose=1.0, duplicate=1.0, delay=50))
    box.put(b"later", {}, due=NOW + 10)
    box.put(b"now", {})
    clock.now = NOW + 9

    assert [message.body for message in box.take_due()] == [b"now"]
    clock.now = NOW + 10
    assert [message.body for message in box.take_due()] == [b"later"]


# Retries --------------------------------------------------------------------------------------------------------------


def test_a_refused_webhook_is_retried_after_each_step_of_the_schedule_and_then_given_up():
    clock = Clock()
    box = outbox(clock, retry_schedule=(60, 300, 1800))
    box.announce(b"body", {"X-Signature": "abc"}, "attempt-1")
    tries = box.take_due()
    assert box.pending() == 1
    box.settle(tries[0], delivered=False)
    for pause in (60, 300, 1800):
        clock.now += pause - 1
        assert box.take_due() == []
        clock.now += 1
        tries += (due := box.take_due())
        box.settle(due[0], delivered=False)

    assert [(message.body, message.headers) for message in tries] == [(b"body", {"X-Signature": "abc"})] * 4
    assert (box.pending(), box.counts["tries"], box.delivered) == (0, 4, {})
    assert box.tally() == {"lost": 0, "duplicated": 0, "given_up": 1, "webhooks_sent": 0, "webhooks_refused": 4}


def test_only_2xx_is_a_delivery_and_every_retry_has_the_same_bytes(receiver):
    box = outbox(time.time, retry_schedule=(0.01,) * 4)
    box.announce(b"first", {"X-Signature": "abc"}, "attempt-1")
    receiver.statuses = [500, 401, 302, 404, 204]

    send(box, receiver.url)

    assert receiver.got == [(b"first", "abc")] * 5
    assert box.delivered == {"attempt-1": 1}
    assert box.tally() == {"lost": 0, "duplicated": 0, "given_up": 0, "webhooks_sent": 1, "webhooks_refused": 4}


def test_no_answer_is_a_refusal():
    box = outbox(time.time, retry_schedule=(0.01,))
    box.announce(b"body", {})

    send(box, "http://127.0.0.1:9/nobody")

    assert (box.tally()["given_up"], box.tally()["webhooks_refused"]) == (1, 2)


# Sending --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [NO_FAULTS, Faults(reorder=True)])
def test_every_webhook_is_sent_over_http_once(receiver, faults):
    box = outbox(time.time, faults=faults)
    for number in range(30):
        box.announce(str(number).encode(), {})

    send(box, receiver.url)

    bodies = [int(body) for body, _ in receiver.got]
    assert sorted(bodies) == list(range(30))
    assert faults.reorder or bodies == list(range(30))


def test_a_webhook_that_waits_when_sending_stops_is_sent_after_the_next_start(receiver):
    clock = Clock()
    box = outbox(clock)
    box.put(b"early", {})
    box.put(b"late", {}, due=NOW + 10)
    box.start(receiver.url)
    until(lambda: box.pending() == 1)
    box.stop()
    clock.now += 10
    assert (box.pending(), len(receiver.got)) == (1, 1)

    send(box, receiver.url)

    assert [body for body, _ in receiver.got] == [b"early", b"late"]
