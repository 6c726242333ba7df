"""Transport `kafka` over the mock cluster of librdkafka: what is in the topic, what counts as delivered, each fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from bridge.config.kafka_target import KafkaTls
from bridge.config.model import Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import DeliveryFailed
from bridge.kafka.opening import Limits, topic_of
from bridge.state import keys
from tests.support import kafka as cluster_faults
from tests.support.dispatch import at, even, event, lane
from tests.support.kafka import INIT_PRODUCER_ID, PRODUCE, KafkaCluster, running_kafka
from tests.support.waiting import until
from workers.transports import transport_for
from workers.transports.contract import Outgoing
from workers.transports.kafka_topic import KafkaMessages

Make = Callable[..., KafkaMessages]


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[KafkaCluster]:
    with running_kafka() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: KafkaCluster) -> KafkaCluster:
    for request in (PRODUCE, INIT_PRODUCER_ID):
        shared_cluster.forget_failures(request)
    return shared_cluster


@pytest.fixture
def make(cluster: KafkaCluster, request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[KafkaMessages] = []
    topic = request.node.name.removeprefix("test_")

    def new(name: str = topic, *, create: bool = True, confirm: float = 3.0) -> KafkaMessages:
        if create:
            cluster.create(name, partitions=3)
        made.append(_transport(cluster, name, confirm=confirm))
        return made[-1]

    new.topic = topic  # type: ignore[attr-defined]
    yield new
    for transport in made:
        transport.close()


def _transport(cluster: KafkaCluster, topic: str = "attempts", *, confirm: float) -> KafkaMessages:
    subscription = Subscription(
        name="analytics", transport="kafka", servers=cluster.servers, topic=topic, tls=KafkaTls(enabled=False)
    )
    return KafkaMessages(subscription, topic_of(subscription, Limits(connect=1.0, confirm=confirm)))


def out(number: int, *, attempt: str = "", replay: str = "") -> Outgoing:
    attempt = attempt or f"a{number}"
    made = event(number) | {"id": f"e{number}", "partitionkey": f"eu/{attempt}"}
    return Outgoing(made["id"], made["type"], "eu", attempt, json.dumps(made, ensure_ascii=False).encode(), replay)


def failures(transport: KafkaMessages, *events: Outgoing) -> list[DeliveryFailed | None]:
    return [each.failure for each in transport.send(events, now=1_000.0)]


def test_each_event_is_a_structured_message_under_the_key_of_its_attempt(cluster: KafkaCluster, make: Make) -> None:
    transport = make()
    events = [out(number, attempt=f"a{number % 7}", replay="r1" if number == 3 else "") for number in range(60)]
    tries = transport.send(events, now=1_000.0)
    assert [each.failure for each in tries] == [None] * 60
    messages = cluster.messages(make.topic)  # type: ignore[attr-defined]
    by_id = {json.loads(message.value())["id"]: message for message in messages}
    assert len(messages) == len(by_id) == 60
    for each, tried in zip(events, tries, strict=True):
        message = by_id[each.id]
        assert message.value() == each.body
        assert message.key() == f"eu/{each.attempt}".encode()
        replay = [("bridge-replay", b"r1")] if each.id == "e3" else []
        assert message.headers() == [("content-type", b"application/cloudevents+json"), *replay]
        assert tried.answer.decode() == f"partition {message.partition()}, offset {message.offset()}"
    # The events of one attempt are in one partition and in order.
    for attempt in range(7):
        ours = [message for message in messages if message.key() == f"eu/a{attempt}".encode()]
        assert len({message.partition() for message in ours}) == 1
        numbers = [int(json.loads(message.value())["id"][1:]) for message in ours]
        assert numbers == sorted(numbers)
    assert len({message.partition() for message in messages}) > 1


def test_an_event_whose_answer_is_late_is_sent_again_and_counts_once() -> None:
    with running_kafka() as own:
        own.create("attempts")
        transport = _transport(own, confirm=3.0)
        assert failures(transport, out(1)) == [None]
        # Longer than librdkafka waits for an answer, which is half of `confirm`.
        own.hold_answer(PRODUCE, 20_000)
        assert failures(transport, out(2)) == [None]
        # The mock does not drop copies, as brokers do.
        assert [json.loads(message.value())["id"] for message in own.messages("attempts")].count("e2") == 2
        transport.close()


def test_only_confirmed_messages_count_as_delivered(cluster: KafkaCluster, make: Make) -> None:
    transport = make(confirm=1.0)
    cluster.fail_next(PRODUCE, *[cluster_faults.NOT_ENOUGH_REPLICAS] * 50)
    (failure,) = failures(transport, out(1))
    assert failure is not None
    assert (failure.charged, failure.reason) == (False, "kafka_unavailable")
    assert "did not confirm in time (_MSG_TIMED_OUT). Remedy: " in str(failure)
    cluster.forget_failures(PRODUCE)
    until(lambda: failures(transport, out(1)) == [None])


def test_a_cluster_that_is_away_uses_no_try_and_is_used_again_when_it_is_back() -> None:
    with running_kafka() as own:
        own.create("attempts")
        transport = _transport(own, confirm=2.0)
        assert failures(transport, out(1)) == [None]
        own.down()
        for _ in range(2):
            away = failures(transport, out(2), out(3))
            assert [(each.charged, each.reason) for each in away if each] == [(False, "kafka_unavailable")] * 2
        assert "cannot be reached" in str(away[0])
        own.up()
        until(lambda: failures(transport, out(2), out(3)) == [None, None])
        transport.close()


@pytest.mark.parametrize("code", [cluster_faults.TOO_LARGE, cluster_faults.INVALID_RECORD])
def test_an_event_that_is_refused_is_a_dead_letter_and_takes_no_other_with_it(
    cluster: KafkaCluster, make: Make, code: int
) -> None:
    transport = make(f"refused-{code}")
    assert failures(transport, out(0)) == [None]
    # The batch, then the first of its events alone.
    cluster.fail_next(PRODUCE, code, code)
    first, *others = failures(transport, *(out(number, attempt="a") for number in range(1, 5)))
    assert first is not None
    assert (first.permanent, first.about_event, first.charged) == (True, True, True)
    assert first.reason == "message_refused"
    assert others == [None] * 3
    assert len(cluster.messages(f"refused-{code}")) == 4


def test_an_event_that_no_topic_takes_is_a_dead_letter(make: Make) -> None:
    large = replace(out(1), body=json.dumps({"partitionkey": "eu/a1", "x": "x" * 50_000_000}).encode())
    first, second = failures(make(), large, out(2))
    assert first is not None
    assert (first.permanent, first.reason, second) == (True, "message_refused", None)


def test_a_missing_topic_or_right_is_said_and_uses_no_try(cluster: KafkaCluster, make: Make) -> None:
    cluster.fail_topic("missing", cluster_faults.UNKNOWN_TOPIC)
    cluster.fail_topic("denied", cluster_faults.TOPIC_DENIED)
    said = {
        "missing": "kafka: topic missing does not exist, or is not visible (UNKNOWN_TOPIC_OR_PART). Remedy: create it",
        "denied": "kafka: the user may not write to topic denied (TOPIC_AUTHORIZATION_FAILED). Remedy: grant it Write",
    }
    for name, text in said.items():
        for failure in failures(make(name, create=False), out(1), out(2)):
            assert failure is not None
            assert (failure.charged, failure.reason) == (False, "kafka_misconfigured")
            assert str(failure).startswith(text)


def test_a_right_that_is_taken_away_later_is_said_too(cluster: KafkaCluster, make: Make) -> None:
    transport = make()
    assert failures(transport, out(1)) == [None]
    cluster.fail_next(PRODUCE, cluster_faults.TOPIC_DENIED)
    (failure,) = failures(transport, out(2))
    assert failure is not None
    assert (failure.charged, failure.reason) == (False, "kafka_misconfigured")
    assert failures(transport, out(2)) == [None]


@pytest.mark.parametrize(
    ("request_kind", "code", "charged", "reason"),
    [
        (INIT_PRODUCER_ID, cluster_faults.CLUSTER_DENIED, False, "kafka_misconfigured"),
        (PRODUCE, cluster_faults.OUT_OF_ORDER, False, "kafka_unavailable"),
        (PRODUCE, cluster_faults.UNKNOWN_ERROR, True, "kafka_error"),
    ],
)
def test_after_an_error_that_ends_the_producer_a_new_one_is_used(
    cluster: KafkaCluster, make: Make, request_kind: int, code: int, charged: bool, reason: str
) -> None:
    transport = make(f"ends{code}")
    cluster.fail_next(request_kind, *[code] * 3)
    (failure,) = failures(transport, out(1))
    assert failure is not None
    assert (failure.charged, failure.reason) == (charged, reason)
    cluster.forget_failures(request_kind)
    assert failures(transport, out(1)) == [None]


def test_an_event_that_cannot_be_written_as_a_message_fails_alone(make: Make) -> None:
    odd = replace(out(1), body=b"{}")
    first, second = failures(make(), odd, out(2))
    assert first is not None
    assert (first.reason, first.about_event, second) == ("unexpected_error", True, None)


def test_what_is_shown_names_servers_and_key_and_no_password(cluster: KafkaCluster) -> None:
    subscription = Subscription(name="x", transport="kafka", servers=cluster.servers, topic="attempts")
    shown = transport_for(subscription, "").shown(out(1), now=0.0)
    assert shown.to == f"topic attempts of {', '.join(cluster.servers)}"
    assert shown.headers == {"key": "eu/a1", "content-type": "application/cloudevents+json"}


def test_events_wait_for_a_cluster_that_is_away_and_say_so_and_each_is_settled_when_it_is_confirmed(
    state: redis.Redis,
) -> None:
    for number in range(30):
        made = out(number)
        fields = {"id": made.id, "type": made.type, "source": "eu", "attempt": made.attempt, "event": made.body}
        state.xadd(keys.journal(0), fields)  # type: ignore[arg-type]
    with running_kafka() as own:
        own.create("attempts")
        own.down()
        transport = _transport(own, confirm=2.0)
        running = lane(state, transport, subscription=Subscription(name="analytics", transport="kafka"))
        assert running.step(at(1000.0), even) > 0
        status = Deliveries(state).states(["analytics"], now=1e4)["analytics"]
        assert (status.delivered + status.handed_over, status.retrying, status.dead_letters) == (0, 0, 0)
        assert status.blocked_by.startswith("kafka: cannot be reached")
        own.up()
        moments = iter(range(1060, 9000, 60))
        until(lambda: running.step(at(float(next(moments))), even) == 0)
        status = Deliveries(state).states(["analytics"], now=1e4)["analytics"]
        assert (status.delivered + status.handed_over, status.pending, status.blocked_by) == (30, 0, "")
        assert len({json.loads(message.value())["id"] for message in own.messages("attempts")}) == 30
        transport.close()
