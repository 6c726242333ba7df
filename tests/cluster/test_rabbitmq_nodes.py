"""RabbitMQ of three nodes: polls, and what doctor says of the queue of ticks, while nodes are down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kombu import Connection, Exchange, Producer, Queue

from bridge.config import queues
from bridge.monitoring.broker_checks import brokers
from bridge.monitoring.server_checks import FAILURE, OK
from tests.support.child_processes import services
from tests.support.rabbitmq import RabbitCluster, RabbitNode
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.workers import listing_vendor, running_parts, wait_for


@pytest.fixture
def nodes(starts_servers: None, starts_processes: None, tmp_path: Path) -> Iterator[list[RabbitNode]]:
    cluster = RabbitCluster(tmp_path / "rabbitmq")
    yield cluster.nodes
    cluster.close()


def test_doctor_finds_a_queue_of_which_too_few_members_run(nodes: list[RabbitNode], server: Server) -> None:
    name = queues.worker_queue(nodes[0].url)
    with Connection(nodes[0].url) as connection:
        queue = Queue(name, Exchange(""), routing_key=name, queue_arguments=queues.TICKS_ARGUMENTS)
        queue(connection.default_channel).declare()
        with connection.channel() as channel:
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
    nodes: list[RabbitNode], server: Server, tmp_path: Path
) -> None:
    address = ";".join(node.url for node in nodes)
    with listing_vendor() as vendor, running_parts(tmp_path, server.url, address, vendor.url) as start:
        worker, beat = start("worker"), start("beat")
        wait_for(lambda: len(vendor.asked) > 3, worker, beat)
        nodes[0].kill()
        asked = len(vendor.asked)
        # Ticks are sometimes lost without confirms, not each time: this shows that polls go on, not why.
        wait_for(lambda: len(vendor.asked) > asked + 4, worker, beat, seconds=12)
