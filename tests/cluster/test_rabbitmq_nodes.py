"""RabbitMQ of three nodes: polls, and what doctor says of the queue of ticks, while nodes are down."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kombu import Connection, Producer

from bridge.config import queues
from bridge.monitoring.broker_checks import brokers
from bridge.monitoring.server_checks import FAILURE, OK
from tests.support.child_processes import services
from tests.support.rabbitmq import NodeNames, RabbitCluster, RabbitNode, free_ports
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.workers import listing_vendor, running_parts, wait_for


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


def test_doctor_finds_a_queue_of_which_too_few_members_run(cluster: RabbitCluster, server: Server) -> None:
    nodes, name = cluster.nodes, queues.worker_queue(cluster.url)
    with Connection(nodes[0].url) as connection, connection.channel() as channel:
        channel.confirm_select()
        Producer(channel).publish("tick", routing_key=name)
        connection.drain_events(timeout=30)  # confirmed

    def found() -> tuple[str, str, str]:
        (one,) = [each for each in brokers(replace(services(server), broker_url=nodes[2].url)) if name in each.name]
        return one.status, one.text, one.remedy

    fine = (OK, "1 ticks, 0 workers", "")
    # It takes nothing away.
    for _ in range(2):
        until(lambda: found() == fine)
    nodes[0].kill()
    until(lambda: found() == fine)
    nodes[1].kill()
    down = (FAILURE, "does not answer: too few of its members run", "start the nodes that are missing")
    until(lambda: found() == down)


def test_polls_go_on_after_the_first_of_three_nodes_is_killed(
    cluster: RabbitCluster, server: Server, tmp_path: Path
) -> None:
    with listing_vendor() as vendor, running_parts(tmp_path, server.url, cluster.url, vendor.url) as start:
        worker, beat = start("worker"), start("beat")
        wait_for(lambda: len(vendor.asked) > 3, worker, beat)
        cluster.nodes[0].kill()
        asked = len(vendor.asked)
        wait_for(lambda: len(vendor.asked) > asked + 4, worker, beat, seconds=12)


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
        another.start()
        another.wait()
        asked = len(vendor.asked)
        wait_for(lambda: len(vendor.asked) > asked + 4, worker, beat)


def test_a_node_of_these_tests_gets_other_ports_when_somebody_has_taken_its_own(
    starts_servers: None, starts_processes: None, tmp_path: Path
) -> None:
    names = NodeNames()
    with socket.create_server(("127.0.0.1", 0)) as another:
        taken = [another.getsockname()[1]]

        def ports(number: int) -> list[int]:
            # Once that for other nodes.
            return [*free_ports(number - len(taken)), *[taken.pop() for _ in taken[:]]]

        node = RabbitNode(tmp_path / "node", names, ports)
        try:
            node.wait()
            with Connection(node.url) as connection:
                connection.connect()
        finally:
            node.kill()
            names.close()
