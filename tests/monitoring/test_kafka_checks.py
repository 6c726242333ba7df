"""What doctor says of a kafka subscription's topic."""

from __future__ import annotations

from dataclasses import replace

from bridge.config.kafka_target import KafkaTls
from bridge.config.model import Subscription
from bridge.kafka.opening import Topic
from bridge.monitoring.kafka_checks import judge, topic
from bridge.monitoring.server_checks import FAILURE, OK, WARNING
from tests.support.kafka import TOPIC_DENIED, UNKNOWN_TOPIC, running_kafka


def test_the_topic_is_asked_for_and_not_created() -> None:
    with running_kafka() as cluster:
        cluster.create("attempts", partitions=4)
        cluster.fail_topic("missing", UNKNOWN_TOPIC)
        cluster.fail_topic("denied", TOPIC_DENIED)
        subscription = Subscription(
            name="analytics", transport="kafka", servers=cluster.servers, topic="attempts", tls=KafkaTls(enabled=False)
        )
        (finding,) = topic(subscription)
        assert (finding.name, finding.status) == ("topic of subscription analytics", OK)
        servers = ", ".join(cluster.servers)
        assert finding.text == f"topic attempts of {servers}: 4 partitions on 3 brokers, not encrypted, 3 copies"
        for name, said in (("missing", "topic missing does not exist"), ("denied", "the user may not write to topic")):
            (finding,) = topic(replace(subscription, topic=name))
            assert (finding.status, finding.unreachable) == (FAILURE, False)
            assert finding.text.startswith(said)
            assert finding.remedy


def test_a_single_copy_and_a_partition_without_a_leader_are_told() -> None:
    subscription = Subscription(name="analytics", transport="kafka", servers=("k:9093",), topic="attempts")
    single = judge(subscription, "topic", Topic(brokers=1, partitions=3, leaderless=0, copies=1))
    assert (single.status, single.remedy) == (WARNING, "give the topic three replicas and min.insync.replicas 2")
    no_leader = judge(subscription, "topic", Topic(brokers=2, partitions=3, leaderless=1, copies=3))
    assert (no_leader.status, no_leader.text) == (FAILURE, "1 of 3 partitions have no leader: their events wait")
