"""From the journal to the subscribers of `examples/`, each a real process that imports nothing of ours."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from bridge.config.model import Receipts, RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.net.standard_webhooks import SigningSecret
from tests.support.child_processes import ROOT, Child, services
from tests.support.dispatch import dispatching, publish, replay_all, scheduled
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.tls import Authority, TLSFront
from tests.support.waiting import until
from workers.app import make_celery
from workers.transports.broker import Broker, Message
from workers.transports.contract import Outgoing

EXAMPLES = ROOT / "examples"
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
QUICK = RetryPolicy(schedule=(0.05,) * 60, jitter=0.2)


@pytest.fixture
def child(starts_processes: None) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(*args: str, **options: object) -> Child:
        children.append(Child.python(*args, cwd=EXAMPLES, **options))  # type: ignore[arg-type]
        return children[-1]

    yield start
    for started in children:
        started.end()


def worker(child: Callable[..., Child], server: Server, url: str | None = None) -> Child:
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR")
    program = ("-m", "celery", "-A", "celery_subscriber", "worker", "-P", "solo", "--queues", "gradebook", *quiet)
    return child(*program, GRADEBOOK_BROKER=url or server.broker_url)


def test_a_stock_celery_worker_gets_every_event_once(
    server: Server, state: redis.Redis, child: Callable[..., Child]
) -> None:
    ids = publish(state, *range(50))
    celery = Subscription(name="gradebook", transport="celery", task="gradebook.attempt_completed", queue="gradebook")
    worker_process = worker(child, server)
    with dispatching(services(server, celery)):
        lines = worker_process.received(50)
    assert [line["received"] for line in lines] == ids
    assert lines[7] == {"received": ids[7], "type": "attempt.completed", "attempt": "a7", "revision": 1}


def test_a_kombu_consumer_and_a_journal_reader_get_every_event(
    server: Server, state: redis.Redis, child: Callable[..., Child]
) -> None:
    ids = publish(state, *range(30))
    kombu = child("kombu_subscriber.py", "--broker", server.broker_url, "--queue", "warehouse")
    stream = child("stream_subscriber.py", "--state", server.url)
    with dispatching(services(server, Subscription(name="warehouse", transport="kombu", queue="warehouse"))):
        assert [line["received"] for line in kombu.received(30)] == ids
    assert [line["received"] for line in stream.received(30)] == ids
    (group,) = [group for group in state.xinfo_groups("ab:{0}:journal") if group["name"] == b"certificates"]
    until(lambda: state.xpending("ab:{0}:journal", "certificates")["pending"] == 0)
    assert group["consumers"] == 1


def test_a_receiver_that_fails_a_fifth_of_the_time_gets_every_event_in_the_end(
    server: Server, state: redis.Redis, child: Callable[..., Child]
) -> None:
    ids = publish(state, *range(60))
    receiver = child("http_subscriber.py", "--secret", SECRET, "--fail", "0.2", "--seed", "7")
    url = receiver.wait_for_error("listening").removeprefix("listening ")
    crm = Subscription(
        name="crm", transport="http", url=url, secrets=(SigningSecret(SECRET),), allow_private=True, retry=QUICK
    )
    with dispatching(services(server, crm)):
        assert sorted(line["received"] for line in receiver.received(60)) == sorted(ids)
        deliveries = Deliveries(state)
        until(lambda: deliveries.state("crm", now=time.time()).delivered == 60)
    state_now = deliveries.state("crm", now=time.time())
    assert state_now.failed > 0
    assert (state_now.retrying, state_now.dead_letters, state_now.pending) == (0, 0, 0)


def test_a_receiver_with_another_secret_refuses_and_the_dead_letter_says_why(
    server: Server, state: redis.Redis, child: Callable[..., Child]
) -> None:
    (only,) = publish(state, 1)
    receiver = child("http_subscriber.py", "--secret", SECRET)
    url = receiver.wait_for_error("listening").removeprefix("listening ")
    stranger = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    once = RetryPolicy(schedule=(0.05,), jitter=0.0)
    crm = Subscription(
        name="crm", transport="http", url=url, secrets=(SigningSecret(stranger),), allow_private=True, retry=once
    )
    deliveries = Deliveries(state)
    with dispatching(services(server, crm)):
        until(lambda: deliveries.state("crm", now=time.time()).dead_letters)
    (letter,) = deliveries.dead_letters("crm")
    assert (letter.delivery.id, letter.reason, letter.delivery.error) == (
        only,
        "receiver_refused",
        "receiver answered 401",
    )
    mended = Subscription(name="crm", transport="http", url=url, secrets=(SigningSecret(SECRET),), allow_private=True)
    assert replay_all(deliveries, "crm", now=time.time()) == 1
    with dispatching(services(server, mended)):
        assert receiver.received(1)[0]["received"] == only


def test_a_hanging_receiver_holds_up_no_other_subscription_and_not_the_end(server: Server, state: redis.Redis) -> None:
    publish(state, *range(5))
    hanging = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{hanging.getsockname()[1]}/"
    stuck = Subscription(name="stuck", transport="http", url=url, secrets=(SigningSecret(SECRET),), allow_private=True)
    quick = Subscription(name="quick", transport="kombu", queue="quick")
    broker = redis.Redis.from_url(server.broker_url)
    with dispatching(services(server, stuck, quick)):
        until(lambda: broker.llen("quick") == 5)
    # dispatching() proved that the end came; what hung is still pending and not lost.
    assert state.xpending("ab:{0}:journal", "ab:sub:stuck")["pending"] == 5
    broker.close()
    hanging.close()


def test_a_task_lost_between_pop_and_acknowledgement_is_sent_again_for_want_of_a_receipt(
    server: Server, state: redis.Redis, child: Callable[..., Child]
) -> None:
    proxy = Proxy.before(server.broker_url)
    celery = Subscription(
        name="gradebook",
        transport="celery",
        task="gradebook.attempt_completed",
        queue="gradebook",
        retry=QUICK,
        receipts=Receipts(required=True, within=3.0),
    )
    doomed = worker(child, server, proxy.url(server.broker_url))
    broker = redis.Redis.from_url(server.broker_url)
    until(lambda: any("brpop" in str(client["cmd"]) for client in broker.client_list()))
    proxy.mode = "hold_down"
    (only,) = publish(state, 1)
    deliveries = Deliveries(state)
    with dispatching(services(server, celery)):
        until(lambda: proxy.fired and broker.llen("gradebook") == 0)
        doomed.process.kill()
        proxy.close()
        heir = worker(child, server)
        assert heir.received(1)[0]["received"] == only
        assert deliveries.record_receipt("gradebook", only, now=time.time()) is True
    assert scheduled(state, "gradebook") == []
    assert not doomed.printed_an_event()
    broker.close()


def test_over_rabbitmq_a_topic_exchange_and_a_stock_worker_get_every_event_and_nothing_unroutable_is_lost(
    rabbitmq: str, server: Server, state: redis.Redis, child: Callable[..., Child], tmp_path: Path
) -> None:
    ids = publish(state, *range(20))
    topic = Subscription(name="warehouse", transport="kombu", exchange="attempts", broker=rabbitmq, retry=QUICK)
    celery = Subscription(
        name="gradebook",
        transport="celery",
        task="gradebook.attempt_completed",
        queue="gradebook",
        broker=rabbitmq,
        retry=QUICK,
    )
    deliveries = Deliveries(state)
    with dispatching(services(server, topic, celery)):
        # Nobody has declared a queue: every message comes back and is a failure, not a silent loss.
        until(lambda: deliveries.state("warehouse", now=time.time()).last_error)
        assert "no queue for" in deliveries.state("warehouse", now=time.time()).last_error
        until(lambda: deliveries.state("gradebook", now=time.time()).last_error)
        arguments = ("--broker", rabbitmq, "--exchange", "attempts", "--binding", "attempt.completed.eu-classmarker")
        consumer = child("kombu_subscriber.py", *arguments)
        worker_process = worker(child, server, rabbitmq)
        # The circuit is open by now; an operator who has mended the receiver does not wait for it.
        until(lambda: resumed(deliveries, "warehouse", 20))
        until(lambda: resumed(deliveries, "gradebook", 20))
        assert sorted(line["received"] for line in consumer.received(20)) == sorted(ids)
        assert sorted(line["received"] for line in worker_process.received(20)) == sorted(ids)
    for name in ("warehouse", "gradebook"):
        final = deliveries.state(name, now=time.time())
        assert (final.delivered, final.retrying, final.dead_letters, final.pending) == (20, 0, 0, 0)


@pytest.mark.parametrize("ours", [True, False], ids=["dispatch", "worker and beat"])
def test_over_amqps_a_verified_broker_is_told_the_password_and_another_one_nothing(
    ours: bool, rabbitmq: str, server: Server, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    right, wrong = authority.issue("right", "DNS:localhost"), authority.issue("wrong", "DNS:elsewhere.example")
    backend = urlsplit(rabbitmq).port
    for context, accepted in ((right, True), (wrong, False)):
        front = TLSFront(context, backend)
        address = f"amqps://guest:guest@localhost:{front.port}//?ssl_ca_certs={authority.ca}"
        try:
            if ours:
                broker = Broker(address)
                event = Outgoing("1", "attempt.completed", "eu", "1", b"{}")
                # No queue: the broker has taken the message and sent it back.
                (said,) = broker.publish(
                    [event], lambda _: Message(b"{}", "nowhere", "1", {}), now=1.0, content_type="application/json"
                )
                broker.close()
                assert ("no queue" if accepted else "Hostname mismatch") in str(said.failure)
            else:
                app = make_celery(replace(services(server), broker_url=address))
                with app.connection_for_write() as connection, suppress(OperationalError):
                    connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
                    assert accepted
            assert (b"guest" in front.told) == accepted
        finally:
            front.close()


def resumed(deliveries: Deliveries, name: str, count: int) -> bool:
    result = deliveries.state(name, now=time.time())
    if result.circuit == "open":
        deliveries.resume(name)
    return result.delivered == count


def test_a_queue_that_is_full_fails_the_tries_of_its_events_and_stops_nobody_else(
    rabbitmq: str, server: Server, state: redis.Redis
) -> None:
    ids = publish(state, *range(10))
    full = Subscription(name="full", transport="kombu", exchange="full-attempts", broker=rabbitmq, retry=QUICK)
    other = Subscription(name="warehouse", transport="kombu", queue="warehouse", retry=QUICK)
    deliveries = Deliveries(state)
    with Connection(rabbitmq) as connection:
        exchange = Exchange("full-attempts", type="topic", durable=True)
        limits = {"x-max-length": 3, "x-overflow": "reject-publish"}
        queue = Queue("full", exchange, routing_key="#", queue_arguments=limits)(connection.default_channel)
        queue.declare()
        with dispatching(services(server, full, other)):
            until(lambda: deliveries.state("full", now=time.time()).failed >= 7)
            assert "message refused" in deliveries.state("full", now=time.time()).last_error
            until(lambda: deliveries.state("warehouse", now=time.time()).delivered == 10)
            received: list[str] = []

            def emptied() -> bool:
                while message := queue.get(no_ack=True):
                    received.append(message.properties["correlation_id"])
                return resumed(deliveries, "full", 10)

            until(emptied)
        while message := queue.get(no_ack=True):
            received.append(message.properties["correlation_id"])
    assert sorted(received) == sorted(ids)
    final = deliveries.state("full", now=time.time())
    assert (final.dead_letters, final.retrying, final.unexpected) == (0, 0, 0)


def test_a_receiver_that_asks_for_a_pause_beyond_all_numbers_gets_its_events_later_and_stops_nobody_else(
    server: Server, state: redis.Redis
) -> None:
    ids = publish(state, *range(5))
    answered: list[int] = []

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answered.append(429 if len(answered) < 5 else 204)
            self.send_response(answered[-1])
            self.send_header("Retry-After", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_port}/"
    crm = Subscription(
        name="crm", transport="http", url=url, secrets=(SigningSecret(SECRET),), allow_private=True, retry=QUICK
    )
    other = Subscription(name="warehouse", transport="kombu", queue="warehouse", retry=QUICK)
    deliveries = Deliveries(state)
    with dispatching(services(server, crm, other)):
        until(lambda: deliveries.state("crm", now=time.time()).delivered == len(ids))
        until(lambda: deliveries.state("warehouse", now=time.time()).delivered == len(ids))
    final = deliveries.state("crm", now=time.time())
    assert (final.failed, final.unexpected, final.dead_letters) == (5, 0, 0)
    receiver.shutdown()
    receiver.server_close()
