"""A server of a cluster that is away stops the lanes of its partitions, and no others, wherever the circuit is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from bridge.config.model import Subscription
from bridge.state import keys
from tests.support.child_processes import services
from tests.support.cluster import Cluster, running_cluster
from tests.support.dispatch import Receiver, publish
from tests.support.servers import Server
from tests.support.waiting import until
from workers.dispatch.process import Dispatcher

PARTITIONS = 6


@pytest.fixture
def cluster(starts_servers: None, tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
def served(cluster: Cluster, server: Server) -> Iterator[Dispatcher]:
    """A process with a lane for each partition. `server` is its broker, which nothing uses."""
    subscription = Subscription(name="crm", transport="kombu", queue="crm")
    dispatcher = Dispatcher(services(server, subscription, partitions=PARTITIONS, state_url=cluster.url))
    for lane in dispatcher.lanes:
        lane.transport = Receiver()
    stop = threading.Event()
    running = threading.Thread(target=dispatcher.serve, args=(stop,))
    running.start()
    try:
        yield dispatcher
    finally:
        stop.set()
        running.join(30)


def got(dispatcher: Dispatcher) -> list[list[str]]:
    """What the receiver of each partition got."""
    return [cast("Receiver", lane.transport).ids for lane in dispatcher.lanes]


def test_the_lanes_of_other_partitions_go_on(cluster: Cluster, served: Dispatcher) -> None:
    client = cluster.client(retries=1)
    expected = [publish(client, partition, partition=partition) for partition in range(PARTITIONS)]
    until(lambda: got(served) == expected)
    # The circuits are where partition 0 is.
    node = cluster.holder(keys.journal(0))
    here = [each for each in range(PARTITIONS) if cluster.holder(keys.journal(each)) is not node]
    node.kill9()
    for number in (10, 20):
        for partition in here:
            expected[partition] += publish(client, number + partition, partition=partition)
        until(lambda: got(served) == expected)
    node.start()
    until(cluster.is_well)
    for partition in range(PARTITIONS):
        expected[partition] += publish(client, 30 + partition, partition=partition)
    until(lambda: got(served) == expected)
