"""RabbitMQ as others have set it up: exchanges, permissions and alarms that the bridge did not choose."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Exchange, Queue

from bridge.config import queues
from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.store import Deliveries, SubscriptionState
from bridge.delivery.subscription_test import AskedTest, SubscriptionTests
from bridge.monitoring.broker_checks import brokers
from bridge.monitoring.server_checks import FAILURE, OK, WARNING
from tests.support.child_processes import services
from tests.support.dispatch import dispatching, event, outcomes, publish
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RabbitNode
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.watches_api import build
from workers.app import make_celery
from workers.dispatch.subscription_tests import SubscriptionTester
from workers.tasks import beat_schedule
from workers.transports import transport_for
from workers.transports.amqp_link import AmqpLink
from workers.transports.contract import Outgoing

PATIENT = RetryPolicy(schedule=(600.0,) * 5)


def of_user(url: str, user: str) -> str:
    return url.replace("guest:guest", f"{user}:{user}")


@contextmanager
def bound_queue(url: str, exchange: str, key: str, **arguments: Any) -> Iterator[Any]:
    """A queue of a receiver, bound to an exchange that is declared with `arguments`. `queue`: those of the queue."""
    with Connection(url) as connection:
        own = arguments.pop("queue", {})
        topic = Exchange(exchange, type=arguments.pop("type", "topic"), durable=True, arguments=arguments)
        queue = Queue(f"{exchange}-receiver", topic, routing_key=key, queue_arguments=own)(connection.default_channel)
        queue.declare()
        yield queue
        queue.delete()
        topic(connection.default_channel).delete()


def received(queue: Any) -> list[str]:
    ids = []
    while message := queue.get(no_ack=True):
        ids.append(message.properties["correlation_id"])
    return ids


def out(number: int) -> Outgoing:
    made = event(number)
    return Outgoing(made["id"], made["type"], "eu-classmarker", f"a{number}", json.dumps(made).encode())


def now_of(deliveries: Deliveries, name: str) -> SubscriptionState:
    return deliveries.state(name, now=time.time())


def test_a_message_has_the_properties_that_consumers_and_management_tools_show(rabbitmq: str) -> None:
    subscription = Subscription(name="crm", transport="kombu", exchange="props", broker=rabbitmq)
    with bound_queue(rabbitmq, "props", "attempt.#") as queue:
        transport = transport_for(subscription, rabbitmq)
        assert outcomes(transport, [replace(out(1), replay="replay-1")], now=1_800_000_000.7) == [None]
        transport.close()
        message = queue.get(no_ack=True)
    assert message.headers == {"bridge-replay": "replay-1"}
    properties = message.properties
    assert properties["message_id"] == properties["correlation_id"] == out(1).id
    assert (properties["type"], properties["app_id"]) == (out(1).type, "attempt-bridge")
    sent_at = properties["timestamp"]
    assert (sent_at.timestamp() if isinstance(sent_at, datetime) else sent_at) == 1_800_000_000
    assert message.content_type == "application/cloudevents+json"


def test_events_without_a_queue_delay_no_event_that_has_one(rabbitmq: str, server: Server, state: redis.Redis) -> None:
    publish(state, *range(30), kind="attempt.revised")
    ids = publish(state, *range(100, 120))
    topic = Subscription(name="completed", transport="kombu", exchange="mixed", broker=rabbitmq)
    deliveries = Deliveries(state)
    with bound_queue(rabbitmq, "mixed", "attempt.completed.#") as queue, dispatching(services(server, topic)):
        until(lambda: now_of(deliveries, "completed").delivered == 20)
        # The retries of the unroutable events have all failed again before these come.
        until(lambda: now_of(deliveries, "completed").failed >= 60)
        assert now_of(deliveries, "completed").circuit == "closed"
        ids += publish(state, *range(200, 205))
        until(lambda: now_of(deliveries, "completed").delivered == 25)
        assert sorted(received(queue)) == sorted(ids)


@pytest.mark.parametrize("arguments", [{}, {"alternate-exchange": "elsewhere"}, {"type": "direct"}])
def test_a_user_who_may_only_write_delivers_to_an_exchange_of_others(
    rabbitmq: str, rabbitmq_node: RabbitNode, server: Server, state: redis.Redis, arguments: dict[str, Any]
) -> None:
    ids = publish(state, *range(5))
    topic = Subscription(name="w", transport="kombu", exchange="attempts-of-others", broker=of_user(rabbitmq, "wr"))
    deliveries = Deliveries(state)
    key = "attempt.completed.eu-classmarker"
    with (
        rabbitmq_node.user("wr", "^$", r"^(attempts-of-others|amq\.default)$", "^$"),
        bound_queue(rabbitmq, "attempts-of-others", key, **arguments) as queue,
        dispatching(services(server, topic)),
    ):
        until(lambda: now_of(deliveries, "w").delivered == 5)
        assert received(queue) == ids


def test_a_celery_receiver_gets_tasks_from_a_user_who_may_only_write(rabbitmq: str, rabbitmq_node: RabbitNode) -> None:
    celery = Subscription(name="g", transport="celery", task="t", queue="tasks-receiver")
    with (
        rabbitmq_node.user("wr", "^$", r"^amq\.default$", "^$"),
        bound_queue(rabbitmq, "tasks", "#") as queue,
    ):
        transport = transport_for(celery, of_user(rabbitmq, "wr"))
        assert outcomes(transport, [replace(out(1), replay="replay-1")]) == [None]
        transport.close()
        message = queue.get(no_ack=True)
    assert message.properties["correlation_id"] == message.headers["id"] == out(1).id
    assert message.headers["bridge-replay"] == "replay-1"


def test_an_exchange_that_the_user_may_neither_find_nor_create_is_named_and_opens_the_circuit(
    rabbitmq: str, rabbitmq_node: RabbitNode, server: Server, state: redis.Redis
) -> None:
    publish(state, *range(12))
    topic = Subscription(name="w", transport="kombu", exchange="missing", broker=of_user(rabbitmq, "wr"), retry=PATIENT)
    deliveries = Deliveries(state)
    with rabbitmq_node.user("wr", "^$", ".*", "^$"), dispatching(services(server, topic)):
        until(lambda: now_of(deliveries, "w").circuit == "open")
    result = now_of(deliveries, "w")
    assert result.circuit_reason == (
        'broker: exchange "missing" does not exist, and the user may not create it. Create it, or grant the permission '
        "configure"
    )
    assert (result.failed, result.blocked_by) == (12, "")


def test_an_exchange_that_the_user_may_not_write_to_is_named(rabbitmq: str, rabbitmq_node: RabbitNode) -> None:
    topic = Subscription(name="w", transport="kombu", exchange="closed")
    with rabbitmq_node.user("no", "^$", "^$", "^$"), bound_queue(rabbitmq, "closed", "#"):
        transport = transport_for(topic, of_user(rabbitmq, "no"))
        (failure,) = outcomes(transport, [out(1)])
        transport.close()
    assert failure is not None
    assert (failure.charged, failure.about_event, failure.reason) == (True, False, "exchange_refused")
    assert 'may not write to exchange "closed"' in str(failure)


def test_a_routing_key_that_the_user_may_not_use_fails_its_events_alone(
    rabbitmq: str, rabbitmq_node: RabbitNode
) -> None:
    topic = Subscription(name="w", transport="kombu", exchange="topics", routing_key="{type}")
    with rabbitmq_node.user("half", "^$", ".*", "^$"), bound_queue(rabbitmq, "topics", "#") as queue:
        rabbitmq_node.permit_topics("half", "topics", r"^attempt\.completed$", ".*")
        transport = transport_for(topic, of_user(rabbitmq, "half"))
        revised = Outgoing("r", "attempt.revised", "eu", "a9", b"{}")
        results = outcomes(transport, [out(1), revised, out(2)])
        # Nobody knows what the broker had taken before it ended the channel: what was not confirmed is sent again.
        assert set(received(queue)) == {out(1).id, out(2).id}
        # The next time the event goes alone, and no other is sent twice.
        again = outcomes(transport, [revised, out(3), out(4)])
        transport.close()
        assert received(queue) == [out(3).id, out(4).id]
    assert [outcome and outcome.about_event for outcome in results] == [None, True, None]
    assert [outcome and outcome.about_event for outcome in again] == [True, None, None]


def test_a_message_over_the_brokers_limit_fails_alone(rabbitmq: str, rabbitmq_node: RabbitNode) -> None:
    topic = Subscription(name="w", transport="kombu", exchange="small")
    rabbitmq_node.evaluate("application:set_env(rabbit, max_message_size, 10000)")
    try:
        with bound_queue(rabbitmq, "small", "#") as queue:
            transport = transport_for(topic, rabbitmq)
            large = Outgoing("large", "attempt.completed", "eu", "a9", b"x" * 20_000)
            first, refused, last = outcomes(transport, [out(1), large, out(2)])
            transport.close()
            assert set(received(queue)) == {out(1).id, out(2).id}
    finally:
        rabbitmq_node.evaluate("application:set_env(rabbit, max_message_size, 134217728)")
    assert (first, last) == (None, None)
    assert refused is not None
    assert (refused.charged, refused.about_event) == (True, True)


def test_many_messages_are_under_way_at_a_time_and_each_counts_when_it_is_confirmed(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = Subscription(name="w", transport="kombu", exchange="many")
    events = [out(number) for number in range(150)]
    read, under_way = AmqpLink._read, []

    def noted(link: AmqpLink) -> None:
        under_way.append(len(link._under_way))
        read(link)

    monkeypatch.setattr(AmqpLink, "_read", noted)
    with bound_queue(rabbitmq, "many", "#", queue={"x-queue-type": "quorum"}) as queue:
        transport = transport_for(topic, rabbitmq)
        assert outcomes(transport, events) == [None] * 150
        transport.close()
        assert received(queue) == [each.id for each in events]
    assert 1 < max(under_way) <= 100


def test_what_is_not_confirmed_when_the_connection_breaks_is_sent_again_without_a_try(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy.before(rabbitmq)
    topic = Subscription(name="w", transport="kombu", exchange="cut")
    events = [out(number) for number in range(150)]
    read = AmqpLink._read

    def cut(link: AmqpLink) -> None:
        if not proxy.fired:
            proxy.fired = 1
            proxy.cut()
        read(link)

    monkeypatch.setattr(AmqpLink, "_read", cut)
    with bound_queue(rabbitmq, "cut", "#") as queue:
        transport = transport_for(topic, proxy.url(rabbitmq))
        failures = outcomes(transport, events)
        assert {(failure.reason, failure.charged) for failure in failures if failure} == {("broker_unavailable", False)}
        waiting = [event for event, failure in zip(events, failures, strict=True) if failure]
        # One by one, to find the event that breaks connections; then together again.
        assert outcomes(transport, waiting) == [None] * len(waiting)
        transport.close()
        assert set(received(queue)) == {each.id for each in events}
    proxy.close()


def test_a_full_queue_and_a_key_without_a_queue_fail_their_own_events(rabbitmq: str) -> None:
    topic = Subscription(name="w", transport="kombu", exchange="full", routing_key="{type}")
    full = {"x-max-length": 3, "x-overflow": "reject-publish"}
    with bound_queue(rabbitmq, "full", "attempt.completed", queue=full) as queue:
        transport = transport_for(topic, rabbitmq)
        stray = Outgoing("stray", "attempt.revised", "eu", "a9", b"{}")
        results = outcomes(transport, [out(1), stray, out(2), out(3), out(4), out(5)])
        transport.close()
        assert received(queue) == [out(number).id for number in (1, 2, 3)]
    reasons = [outcome and (outcome.reason, outcome.about_event) for outcome in results]
    assert reasons == [None, ("unroutable", True), None, None, ("nacked", True), ("nacked", True)]


@pytest.mark.parametrize(
    ("change", "fact", "remedy"),
    [
        (("guest:guest", "guest:wrong"), "it refuses the user name or password", "correct them in its address"),
        (("//", "/nowhere"), "its virtual host does not exist", "correct the path of its address"),
        (("guest:guest", "stranger:stranger"), "its user may not use the virtual host", "set_permissions"),
        (("127.0.0.1", "nowhere.invalid"), "its host name does not resolve", "correct the host"),
    ],
)
def test_a_wrong_address_is_named_for_what_it_is(
    rabbitmq: str, rabbitmq_node: RabbitNode, change: tuple[str, str], fact: str, remedy: str
) -> None:
    scheme, _, rest = rabbitmq.partition("//")
    url = scheme + "//" + rest.replace(*change)
    with rabbitmq_node.user("stranger"):
        transport = transport_for(Subscription(name="w", transport="kombu", exchange="x"), url)
        (failure,) = outcomes(transport, [out(1)])
        transport.close()
    assert failure is not None
    assert fact in str(failure)
    assert remedy in str(failure)
    assert failure.charged is False


def test_an_alarm_leaves_one_connection_and_no_copy(rabbitmq: str, rabbitmq_node: RabbitNode) -> None:
    topic = Subscription(name="w", transport="kombu", exchange="alarm")
    with bound_queue(rabbitmq, "alarm", "#") as queue:
        transport = transport_for(topic, rabbitmq)
        with rabbitmq_node.alarm():
            before = len(rabbitmq_node.connections())
            for _ in range(3):
                results = outcomes(transport, [out(1), out(2)])
                assert [outcome and outcome.reason for outcome in results] == ["broker_blocked"] * 2
                assert not any(outcome and outcome.charged for outcome in results)
            assert len(rabbitmq_node.connections()) == before + 1
        until(lambda: outcomes(transport, [out(1), out(2)]) == [None, None])
        assert received(queue) == [out(1).id, out(2).id]
        transport.close()


def test_under_an_alarm_ticks_wait_on_one_connection_come_once_each_and_expire(
    rabbitmq: str, rabbitmq_node: RabbitNode, server: Server
) -> None:
    what = replace(services(server), broker_url=rabbitmq)
    schedule = beat_schedule(what)
    app = make_celery(what)
    with rabbitmq_node.alarm():
        # One of an earlier test may still be there, and be used: kombu has one pool for each address in a process.
        before = rabbitmq_node.connections()
        sent = []
        for _ in range(10):
            for entry in schedule.values():
                sent.append(app.send_task(entry["task"], entry["args"], **entry["options"]).id)
        assert len(rabbitmq_node.connections() - before) <= 1
    with Connection(rabbitmq) as connection:
        name = queues.worker_queue(rabbitmq)
        queue = Queue(name, Exchange(""), routing_key=name)(connection.default_channel)
        until(lambda: queue.queue_declare(passive=True).message_count == len(sent))
        messages = [queue.get(no_ack=True) for _ in sent]
        assert queue.get(no_ack=True) is None
        queue.delete()
    app.close()
    assert sorted(message.headers["id"] for message in messages) == sorted(sent)
    assert all(message.headers["expires"] for message in messages)


def test_doctor_names_the_exchange_that_is_missing_or_has_other_settings(
    rabbitmq: str, rabbitmq_node: RabbitNode, server: Server
) -> None:
    topic = Subscription(name="w", transport="kombu", exchange="looked-at", broker=of_user(rabbitmq, "wr"))
    mine = Subscription(name="m", transport="kombu", exchange="looked-at", broker=rabbitmq)

    def findings() -> dict[str, tuple[str, str]]:
        return {broker.name: (broker.status, broker.text) for broker in brokers(services(server, topic, mine))}

    with rabbitmq_node.user("wr", "^$", ".*", "^$"):
        missing = (WARNING, 'exchange "looked-at" does not exist')
        assert findings()["subscription w"] == findings()["subscription m"] == missing
        with bound_queue(rabbitmq, "looked-at", "#", **{"alternate-exchange": "elsewhere"}):
            result = findings()
    text = 'exchange "looked-at" exists; the user may not configure it, and need not'
    assert result["subscription w"] == (OK, text)
    status, text = result["subscription m"]
    assert status == WARNING
    assert text.startswith('exchange "looked-at" exists with other settings')
    assert "alternate-exchange" in text


def test_doctor_names_an_alarm_and_what_is_wrong_with_the_queue_of_ticks(
    rabbitmq: str, rabbitmq_node: RabbitNode, server: Server
) -> None:
    own = replace(services(server), broker_url=rabbitmq)
    name = queues.worker_queue(rabbitmq)
    label = f'queue "{name}"'

    def findings(of: Any = own) -> dict[str, tuple[str, str]]:
        return {each.name: (each.status, each.text) for each in brokers(of)}

    with Connection(rabbitmq) as connection:
        channel = connection.default_channel
        channel.queue_delete(name)
        assert findings()[label] == (WARNING, "does not exist")
        channel.queue_declare(name, durable=True, auto_delete=False)
        status, text = findings()[label]
        assert (status, text.partition(":")[0]) == (FAILURE, "exists with other arguments")
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=queues.TICKS_ARGUMENTS)
        assert findings()[label] == (OK, "0 ticks, 0 workers")
        assert findings()["broker of the bridge"] == (OK, "answers")
        with rabbitmq_node.user("no", "^$", ".*", ".*"):
            status, text = findings(replace(own, broker_url=of_user(rabbitmq, "no")))[label]
        assert (status, text.partition(":")[0]) == (FAILURE, "the user lacks a permission")
        with rabbitmq_node.alarm():
            assert findings()["broker of the bridge"] == (
                FAILURE,
                "an alarm blocks publishers: connection blocked, see broker logs",
            )
        channel.queue_delete(name)


def test_a_test_of_a_subscription_reaches_the_queue_that_is_bound_for_it_and_no_other(
    rabbitmq: str, state: redis.Redis, tmp_path: Path
) -> None:
    section = f"a: {{transport: kombu, exchange: tested, broker: '{rabbitmq}'}}"
    made = build(state, tmp_path, access=f"subscriptions: {{{section}}}\n")
    tests = SubscriptionTests(made.state, made.blocking_client)
    with bound_queue(rabbitmq, "tested", "bridge.test.#") as queue:
        reports = []
        for number in range(2):
            asked = AskedTest(str(number), "a", made.config.digest)
            assert tests.ask(asked)
            assert SubscriptionTester(made, made.now).step(1.0)
            reports.append(tests.wait(asked, 1.0))
            # The second one finds no binding.
            queue.unbind_from(queue.exchange, "bridge.test.#")
        message = queue.get()
        assert queue.get() is None
    first, second = reports
    assert first is not None
    assert second is not None
    assert (first.problem, second.reason) == ("", "unroutable")
    assert message.body == first.request["body"]
    assert "guest:****@" in first.request["to"]
    assert message.properties.items() >= {"message_id": first.event_id, "type": "bridge.test"}.items()
