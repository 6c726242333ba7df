"""A server of a cluster that is away stops the lanes of its partitions, and no others, wherever the circuit is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from bridge.config.model import Subscription
from bridge.delivery.consumers import is_alive
from bridge.state import keys
from bridge.state.client import state_client
from tests.support.child_processes import services
from tests.support.cluster import Cluster, running_cluster
from tests.support.dispatch import Receiver, publish
from tests.support.servers import Server
from tests.support.waiting import until
from workers.dispatch.heartbeat import Heartbeat
from workers.dispatch.membership import consumers
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
    dispatcher = Dispatcher(services(server, subscription, partitions=PARTITIONS, state_url=cluster.url), silent=1.0)
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


def test_entries_of_a_dead_process_are_adopted_where_servers_answer(cluster: Cluster, served: Dispatcher) -> None:
    client = cluster.client(retries=1)
    until(lambda: all(client.exists(keys.journal(partition)) for partition in range(PARTITIONS)))
    node = cluster.holder(keys.journal(0))
    (partition, *_) = [each for each in range(PARTITIONS) if cluster.holder(keys.journal(each)) is not node]
    node.kill9()
    until(lambda: 0 in served.heartbeat.away)
    # Its process has no heartbeat in any place.
    client.set(keys.alive(partition, "dead"), 1)
    client.xadd(keys.journal(partition), {"id": "never-settled"}, id="1-1")
    group = keys.group("crm")
    until(lambda: client.xinfo_groups(keys.journal(partition))[0]["pending"] == 0)
    client.xclaim(keys.journal(partition), group, "dead", 0, ["1-1"], force=True)
    client.delete(keys.alive(partition, "dead"))
    groups = [(keys.journal(place), group) for place in (0, partition)]
    until(lambda: consumers(client, groups) == [set(), {served.consumer}])


def test_a_living_process_is_alive_in_a_partition_whatever_other_server_is_away(cluster: Cluster) -> None:
    state = state_client(cluster.url)
    # Where processes of the version before have the heartbeat of all partitions.
    old = keys.heartbeat("dispatch:a")
    node = cluster.holder(old)
    there = {each for each in range(PARTITIONS) if cluster.holder(keys.journal(each)) is node}
    now, others = [1000.0], set(range(PARTITIONS)) - there
    assert there
    heartbeat = Heartbeat(state, "a", partitions=PARTITIONS, silent=1.0, monotonic=lambda: now[0])
    heartbeat.beat(0.0)
    assert all(is_alive(state, "a", partition) for partition in range(PARTITIONS))
    assert state.exists(old)
    assert all(heartbeat.may_adopt(partition) for partition in range(PARTITIONS))
    node.kill9()
    state.set(mark := keys.alive(min(others), "mark"), 1, px=1500)

    def beaten_until_the_old_one_has_ended() -> bool:
        heartbeat.beat(0.0)
        return not state.exists(mark)

    until(beaten_until_the_old_one_has_ended)
    assert heartbeat.away == there
    assert all(is_alive(state, "a", partition) for partition in others)
    assert not any(is_alive(state, "b", partition) for partition in others)
    node.start()
    until(cluster.is_well)
    heartbeat.beat(0.0)
    assert heartbeat.away == frozenset()
    # The others may not have written theirs yet.
    assert {each for each in range(PARTITIONS) if not heartbeat.may_adopt(each)} == there
    now[0] += 1.0
    assert all(heartbeat.may_adopt(partition) for partition in range(PARTITIONS))
    heartbeat.leave()
    assert not any(is_alive(state, "a", partition) for partition in range(PARTITIONS))
