"""Primaries behind Sentinel and of a cluster are lost, or wake up: nothing that was acknowledged goes with them."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

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
from tests.support.replicas import held_back
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


def repeated_until_acknowledged(journal: Journal, numbers: Iterable[int]) -> int:
    """How often they were refused."""
    refused = 0
    for number in numbers:
        while True:
            try:
                journal.publish(entry(number), now=NOW)
                break
            except StateUnavailable:
                refused += 1
    return refused


def acknowledged_by_woken(group: SentinelGroup, client: redis.Redis, numbers: range, record: Record) -> int:
    """The primary pauses, is replaced and wakes; who was connected all the time goes on. What the new one lacks."""
    group.wait_until_whole()
    old, journal = group.primary(), Journal(client)
    journal.publish(entry(numbers[0]), now=NOW)
    old.stop()
    new = group.wait_for_another(old)
    until(lambda: new.replication().get("connected_slaves", 0) >= 1)
    old.cont()
    refused = repeated_until_acknowledged(journal, numbers)
    until(lambda: old.replication().get("role") == "slave")
    with new.client() as there:
        gone = lost(numbers, attempts([there]))
    record("faults", json.dumps({"acknowledged": len(numbers), "refused": refused, "lost": gone, "doubled": 0}))
    return gone


class Lagging:
    """Attempts that a client acknowledges which waits for replicas, and one which does not, until replicas lag.

    Large events fill the buffers between the servers: what is behind them is lost when the primary is killed.
    """

    def __init__(self, url: str, first: int) -> None:
        self._numbers = itertools.count(first)
        self._journals = {
            "waits": Journal(state_client(url, confirmation=CONFIRMATION)),
            "not": Journal(state_client(url)),
        }
        self.acknowledged: dict[str, set[int]] = {"waits": set(), "not": set()}
        self.refused = 0

    def write_until_killed(self, primary: Server, replicas: Sequence[Server]) -> None:
        for _ in range(20):
            self._write("waits")
            self._write("not")
        for replica in replicas:
            replica.stop()
        try:
            while held_back(primary) < 1_000_000:
                self._write("not", padding=200_000)
            self._write("waits")
            primary.kill9()
        finally:
            for replica in replicas:
                replica.cont()

    def lost(self, there: Counter[str], record: Record) -> dict[str, int]:
        """Of each client's acknowledged attempts, how many are not there."""
        counts = {name: lost(numbers, there) for name, numbers in self.acknowledged.items()}
        acknowledged = {name: len(numbers) for name, numbers in self.acknowledged.items()}
        record(
            "faults", json.dumps({"acknowledged": acknowledged, "refused": self.refused, "lost": counts, "doubled": 0})
        )
        return counts

    def close(self) -> None:
        for journal in self._journals.values():
            journal.client.close()

    def _write(self, name: str, padding: int = 0) -> None:
        number = next(self._numbers)
        try:
            self._journals[name].publish(entry(number, padding=padding), now=NOW)
        except StateUnavailable:
            self.refused += 1
        else:
            self.acknowledged[name].add(number)


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
    group.bring_back(old)


def test_behind_sentinel_what_lagging_replicas_lack_is_lost_only_to_those_who_do_not_wait(
    group: SentinelGroup, record_property: Record
) -> None:
    group.wait_until_whole()
    old = group.primary()
    with closing(Lagging(group.address(0), first=1_000_000)) as lagging:
        lagging.write_until_killed(old, [server for server in group.servers if server is not old])
        with group.wait_for_another(old).client() as there:
            losses = lagging.lost(attempts([there]), record_property)
    assert losses["waits"] == 0 < losses["not"]
    group.bring_back(old)


@pytest.fixture(scope="module")
def cluster(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), primaries=2, replicas=1) as cluster:
        yield cluster


def test_on_a_cluster_each_server_s_own_replica_confirms(cluster: Cluster) -> None:
    first = "0"
    holder = cluster.holder(first)
    second = next(name for name in map(str, range(1000)) if cluster.holder(name) is not holder)
    replica = cluster.replica_of(holder)
    with state_client(cluster.url, retries=0, confirmation=CONFIRMATION) as client:
        for name in (first, second):
            until(lambda name=name: confirmed(client, name))
        replica.stop()
        try:
            for _ in range(2):
                with pytest.raises(Unconfirmed):
                    client.sadd(f"{{{first}}}:set", "a")
            pipe = client.pipeline(transaction=True)
            pipe.set(first, "2")
            with pytest.raises(Unconfirmed):
                pipe.execute()
            until(lambda: confirmed(client, second))
            assert client.get(first) == b"2"
        finally:
            replica.cont()
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
    old = cluster.holder(keys.journal(0))
    replica = cluster.replica_of(old)
    client = state_client(cluster.url, confirmation=CONFIRMATION)
    writers = Writers(lambda: Journal(client, partitions=partitions))
    until(lambda: len(writers.acknowledged) >= 30)
    old.kill9()
    # Of two primaries none is a majority: an operator decides.
    cluster.take_over(replica)
    before = len(writers.acknowledged)
    # The new primary has no replica: it accepts nothing, the other one goes on.
    until(lambda: len(writers.refused) >= 4 and len(writers.acknowledged) >= before + 10)
    writers.stop()
    with state_client(cluster.url) as there:
        assert lost(writers.acknowledged, attempts([there], partitions)) == 0
    record_property("faults", writers.line(lost=0))
    cluster.bring_back(old)


def test_on_a_cluster_what_a_lagging_replica_lacks_is_lost_only_to_those_who_do_not_wait(
    cluster: Cluster, record_property: Record
) -> None:
    old = cluster.holder(keys.journal(0))
    replica = cluster.replica_of(old)
    with closing(Lagging(cluster.url, first=1_000_000)) as lagging:
        lagging.write_until_killed(old, [replica])
        cluster.take_over(replica)
        with state_client(cluster.url) as there:
            losses = lagging.lost(attempts([there]), record_property)
    assert losses["waits"] == 0 < losses["not"]
    cluster.bring_back(old)


def test_on_a_cluster_a_primary_that_wakes_takes_nothing_from_those_who_were_connected(
    cluster: Cluster, record_property: Record
) -> None:
    """It has no mutant: the nodes tell a primary that wakes at once, and without WAIT twelve of twelve lost nothing."""
    old = cluster.holder(keys.journal(0))
    replica = cluster.replica_of(old)
    numbers = range(2_000_000, 2_000_100)
    with state_client(cluster.url, confirmation=CONFIRMATION) as client:
        journal = Journal(client)
        journal.publish(entry(numbers[0]), now=NOW)
        old.stop()
        cluster.take_over(replica)
        old.cont()
        refused = repeated_until_acknowledged(journal, numbers)
    cluster.bring_back(old)
    with state_client(cluster.url) as there:
        gone = lost(numbers, attempts([there]))
    record_property(
        "faults", json.dumps({"acknowledged": len(numbers), "refused": refused, "lost": gone, "doubled": 0})
    )
    assert gone == 0
