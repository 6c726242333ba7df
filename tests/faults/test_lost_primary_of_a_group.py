"""Primaries behind Sentinel and of a cluster are lost, or wake up: nothing that was acknowledged goes with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest
import redis

from bridge.errors import StateUnavailable
from bridge.journal import Journal
from bridge.net.sentinels import Sentinels
from bridge.state import keys
from bridge.state.client import state_client
from bridge.state.confirming_client import Confirmation, Unconfirmed
from tests.support.cluster import Cluster, running_cluster
from tests.support.journal import NOW, entry
from tests.support.sentinel import SentinelGroup
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.writers import Writers

pytestmark = pytest.mark.usefixtures("starts_servers")

CONFIRMATION = Confirmation(replicas=1, within=0.25)
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def group(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    group = SentinelGroup(tmp_path_factory.mktemp("sentinel"))
    yield group
    group.close()


@pytest.fixture
def without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients do not ask the sentinels by themselves: between two questions, WAIT alone holds."""
    monkeypatch.setattr(Sentinels, "is_due", lambda _: False)


def attempts(clients: Iterable[redis.Redis], partitions: int = 1) -> Counter[str]:
    journals = [client.xrange(keys.journal(number)) for client in clients for number in range(partitions)]
    return Counter(fields[b"attempt"].decode() for journal in journals for _, fields in journal)


def lost(acknowledged: Iterable[int], there: Counter[str]) -> int:
    assert set(there.values()) == {1}, "an attempt was published twice"
    return sum(f"link:{number}" not in there for number in acknowledged)


def acknowledged_by_woken(group: SentinelGroup, client: redis.Redis, numbers: range, record: Record) -> int:
    """The primary pauses, is replaced and wakes; who was connected all the time goes on. What the new one lacks."""
    group.wait_until_whole()
    old, journal, refused = group.primary(), Journal(client), 0
    journal.publish(entry(numbers[0]), now=NOW)
    old.stop()
    new = group.wait_for_another(old)
    until(lambda: replication(new).get("connected_slaves", 0) >= 1)
    old.cont()
    for number in numbers:
        while True:
            try:
                journal.publish(entry(number), now=NOW)
                break
            except StateUnavailable:
                refused += 1
    until(lambda: replication(old).get("role") == "slave")
    with new.client() as there:
        gone = lost(numbers, attempts([there]))
    record("faults", json.dumps({"acknowledged": len(numbers), "refused": refused, "lost": gone, "doubled": 0}))
    return gone


def replication(server: Server) -> dict[str, Any]:
    """What a server says of itself; a sentinel that gives it another role cuts its connections."""
    try:
        with server.client() as client:
            return cast("dict[str, Any]", client.info("replication"))
    except redis.ConnectionError:
        return {}


@pytest.mark.usefixtures("without_asking")
def test_a_primary_that_wakes_takes_nothing_from_those_who_were_connected(
    group: SentinelGroup, record_property: Record
) -> None:
    with state_client(group.address(0), confirmation=CONFIRMATION) as client:
        assert acknowledged_by_woken(group, client, range(100), record_property) == 0


@pytest.mark.usefixtures("without_asking")
def test_without_waiting_a_primary_that_wakes_takes_what_is_lost(group: SentinelGroup, record_property: Record) -> None:
    with state_client(group.address(0)) as client:
        assert acknowledged_by_woken(group, client, range(100, 200), record_property) > 0


def test_behind_sentinel_nothing_acknowledged_is_lost_with_a_killed_primary(
    group: SentinelGroup, record_property: Record
) -> None:
    group.wait_until_whole()
    old = group.primary()
    writers = Writers(lambda: Journal(state_client(group.address(0), confirmation=CONFIRMATION)), first=1000)
    until(lambda: len(writers.acknowledged) >= 30)
    old.kill9()
    new = group.wait_for_another(old)
    before = len(writers.acknowledged)
    until(lambda: len(writers.acknowledged) >= before + 30)
    writers.stop()
    with new.client() as there:
        assert lost(writers.acknowledged, attempts([there])) == 0
    record_property("faults", writers.line(lost=0))


@pytest.fixture(scope="module")
def cluster(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), primaries=2, replicas=1) as cluster:
        yield cluster


def key_on(cluster: Cluster, node: Server) -> str:
    return next(name for name in map(str, range(1000)) if cluster.holder(name) is node)


def test_on_a_cluster_each_server_s_own_replica_confirms(cluster: Cluster) -> None:
    first, second = (key_on(cluster, node) for node in cluster.nodes[:2])
    with state_client(cluster.url, retries=0, confirmation=CONFIRMATION) as client:
        assert [client.set(first, "1"), client.set(second, "1")] == [True, True]
        cluster.nodes[2].stop()
        try:
            for _ in range(2):
                with pytest.raises(Unconfirmed):
                    client.sadd(f"{{{first}}}:set", "a")
            pipe = client.pipeline(transaction=True)
            pipe.set(first, "2")
            with pytest.raises(Unconfirmed):
                pipe.execute()
            assert client.set(second, "2")
            assert client.get(first) == b"2"
        finally:
            cluster.nodes[2].cont()
        until(lambda: confirmed(client, first))


def confirmed(client: redis.Redis, key: str) -> bool:
    try:
        return bool(client.set(key, "3"))
    except Unconfirmed:
        return False


def test_on_a_cluster_nothing_acknowledged_is_lost_with_a_killed_primary(
    cluster: Cluster, record_property: Record
) -> None:
    partitions = 4
    client = state_client(cluster.url, confirmation=CONFIRMATION)
    writers = Writers(lambda: Journal(client, partitions=partitions))
    until(lambda: len(writers.acknowledged) >= 30)
    cluster.nodes[0].kill9()
    # Of two primaries none is a majority: an operator decides.
    with cluster.nodes[2].client() as replica:
        replica.execute_command("CLUSTER FAILOVER", "TAKEOVER")
    before = len(writers.acknowledged)
    # The new primary has no replica: it accepts nothing, the other one goes on.
    until(lambda: len(writers.refused) >= 4 and len(writers.acknowledged) >= before + 10)
    writers.stop()
    with state_client(cluster.url) as there:
        assert lost(writers.acknowledged, attempts([there], partitions)) == 0
    record_property("faults", writers.line(lost=0))
