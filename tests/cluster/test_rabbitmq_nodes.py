"""RabbitMQ of three nodes: polls, receipts, and what doctor says, while nodes are down."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection, Producer

from bridge.config import queues
from bridge.config.addresses import without_user
from bridge.config.model import Subscription
from bridge.monitoring.broker_checks import brokers
from bridge.monitoring.server_checks import FAILURE, OK, WARNING
from tests.support.child_processes import services
from tests.support.junk import EVENT
from tests.support.rabbitmq import RabbitCluster
from tests.support.receipts import await_receipts
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.workers import listing_vendor, running_parts, wait_for
from workers.inbound.receipts import ReceiptReader


@pytest.fixture(scope="module")
def shared_cluster(
    starts_servers: None, starts_processes: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitCluster]:
    cluster = RabbitCluster(tmp_path_factory.mktemp("rabbitmq"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(shared_cluster: RabbitCluster) -> RabbitCluster:
    """All nodes run, and the first has the leader of the queue of ticks."""
    shared_cluster.restart()
    shared_cluster.queue_ticks(shared_cluster.nodes[0])
    return shared_cluster


def test_polls_go_on_after_the_first_of_three_nodes_is_killed(
    cluster: RabbitCluster, server: Server, tmp_path: Path
) -> None:
    with listing_vendor() as vendor, running_parts(tmp_path, server.url, cluster.url, vendor.url) as start:
        worker, beat = start("worker"), start("beat")
        wait_for(lambda: len(vendor.asked) > 3, worker, beat)
        cluster.nodes[0].kill()
        asked = len(vendor.asked)
        wait_for(lambda: len(vendor.asked) > asked + 4, worker, beat)


def test_polls_go_on_when_one_of_two_killed_nodes_is_back_and_that_of_the_leader_is_not(
    cluster: RabbitCluster, server: Server, tmp_path: Path
) -> None:
    old_leader, another, left = cluster.nodes
    with listing_vendor() as vendor, running_parts(tmp_path, server.url, cluster.url, vendor.url) as start:
        worker, beat = start("worker"), start("beat")
        wait_for(lambda: len(vendor.asked) > 3, worker, beat)
        before = left.output.count("accepting AMQP connection")
        # Both before the rest can elect another leader. What is published at the node that is left goes to the old one,
        # and RabbitMQ drops it without a word, on this channel also when there is a new leader: only a confirm tells.
        old_leader.kill()
        another.kill()
        wait_for(lambda: left.output.count("accepting AMQP connection") >= before + 2, worker, beat)
        another.start(another.port)
        another.wait()
        asked = len(vendor.asked)
        wait_for(lambda: len(vendor.asked) > asked + 4, worker, beat)


def test_receipts_are_read_after_the_node_of_their_queue_is_killed_where_new_queues_are_quorum_queues(
    cluster: RabbitCluster, server: Server
) -> None:
    first = cluster.nodes[0]
    first.control("add_vhost", "quorum", "--default-queue-type", "quorum")
    first.permit("guest", ".*", ".*", ".*", virtual_host="quorum")
    address = ";".join(node.address("quorum") for node in cluster.nodes)
    gradebook = Subscription(name="gradebook", transport="celery", task="gradebook.done", queue="gradebook")
    own = replace(services(server, gradebook), broker_url=address)
    stop = threading.Event()
    reader = threading.Thread(target=ReceiptReader(own).run, args=(stop,))
    receiver = Celery("gradebook", broker=address, set_as_current=False)
    # Without confirms a receipt that the queue does not take is dropped; it takes none before there is a new leader.
    receiver.conf.broker_transport_options = {"confirm_publish": True}
    receiver.conf.task_publish_retry_policy = {"max_retries": 100, "interval_start": 0.2, "interval_max": 0.2}

    def confirm(event_id: str) -> None:
        with server.client() as state:
            await_receipts(state, event_id)
        receiver.send_task("bridge.receipt", args=["gradebook", event_id], queue=queues.RECEIPTS)
        until(lambda: own.deliveries.under_way("gradebook", event_id) is None)

    reader.start()
    try:
        confirm(EVENT)
        assert "quorum" in first.evaluate('[amqqueue:get_type(Queue) || Queue <- rabbit_amqqueue:list(<<"quorum">>)]')
        first.kill()
        confirm(str(uuid.UUID(int=1)))
    finally:
        stop.set()
        reader.join()
        receiver.close()


def test_doctor_names_the_nodes_that_are_down_and_the_queues_that_lack_them(
    cluster: RabbitCluster, server: Server
) -> None:
    nodes, name = cluster.nodes, queues.worker_queue(cluster.url)
    own = replace(services(server), broker_url=cluster.url)
    with Connection(nodes[0].url) as connection, connection.channel() as channel:
        channel.queue_delete(queues.RECEIPTS)
        channel.queue_declare(queues.RECEIPTS, durable=True, auto_delete=False)
        channel.confirm_select()
        Producer(channel).publish("tick", routing_key=name)
        connection.drain_events(timeout=30)  # confirmed

    def findings() -> list[tuple[str, str]]:
        """Of each node, the queue of ticks and that of receipts."""
        checked = [f"node {without_user(node.url)}" for node in nodes]
        checked += [f'queue "{each}"' for each in (name, queues.RECEIPTS)]
        results = {each.name: (each.status, each.text.partition(":")[0]) for each in brokers(own)}
        return [results.get(each, ("", "")) for each in checked]

    here, away = (OK, "answers"), (WARNING, "connection refused")
    fine = (OK, "1 ticks, 0 workers")
    # It takes nothing away.
    for _ in range(2):
        assert findings() == [here, here, here, fine, (WARNING, "is on one node")]
    nodes[0].kill()
    lacking = (FAILURE, "cannot be used")
    until(lambda: findings() == [away, here, here, fine, lacking])
    nodes[1].kill()
    until(lambda: findings() == [away, away, here, (FAILURE, "does not answer"), lacking])
    nodes[2].kill()
    assert findings() == [(FAILURE, "connection refused")] * 3 + [("", "")] * 2
    assert all(each.unreachable for each in brokers(own) if each.status == FAILURE)
