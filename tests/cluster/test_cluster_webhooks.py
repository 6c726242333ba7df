"""A server of a cluster that is away refuses its own attempts, and no others; and nothing is lost or doubled."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from bridge.state import keys
from bridge.state.partitions import attempt_field, partition_of_field
from tests.support.cluster import Cluster, running_cluster
from tests.support.comparison import Attempt, reconcile
from tests.support.replicas import held_back
from tests.support.servers import Server
from tests.support.traffic import ANSWER_SECONDS, Traffic
from tests.support.waiting import until
from tests.support.web import Web, post, result

pytestmark = pytest.mark.usefixtures("starts_processes")

PARTITIONS = 6
#: Longer than usual: a busy machine is no fault.
_REPLICA = "{ack: replica, within: 500ms}"
Record = Callable[[str, object], None]


@pytest.fixture
def cluster(request: pytest.FixtureRequest, starts_servers: None, tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "cluster", **request.param) as cluster:
        yield cluster


@pytest.fixture
def web(cluster: Cluster, tmp_path: Path) -> Iterator[Web]:
    web = Web(tmp_path / "web", cluster.url, partitions=PARTITIONS)
    yield web
    web.close()


def partition_of(number: int) -> int:
    return partition_of_field(attempt_field("eu", f"link:{number}"), PARTITIONS)


class Sender:
    """Sends a new attempt of each partition. `first`: the number of its first one."""

    def __init__(self, web: Web, *, first: int = 1) -> None:
        web.timeout = ANSWER_SECONDS
        self._web, self._numbers = web, itertools.count(first)
        self.acked: set[Attempt] = set()
        self.slowest = 0.0

    def statuses(self) -> dict[int, int]:
        """Partition -> status of the answer."""
        statuses: dict[int, int] = {}
        while len(statuses) < PARTITIONS:
            number = next(self._numbers)
            if partition_of(number) not in statuses:
                statuses[partition_of(number)] = self.send(number)
        return statuses

    def wait_for(self, expected: Mapping[int, int]) -> None:
        """Send attempts of each partition until it gives its status; on a slow disk they do not all confirm at once."""
        for partition, status in expected.items():
            numbers = (number for number in self._numbers if partition_of(number) == partition)
            until(lambda numbers=numbers, status=status: self.send(next(numbers)) == status)

    def send_large(self, partitions: Container[int]) -> int:
        """Send an attempt of one of these partitions; the status of the answer."""
        number = next(number for number in self._numbers if partition_of(number) in partitions)
        return self.send(number, padding="x" * 200_000)

    def send(self, number: int, **members: str) -> int:
        began = time.monotonic()
        status = self._web.exchange(post("/webhooks/eu", result(number, **members))).status
        self.slowest = max(self.slowest, time.monotonic() - began)
        if status == 200:
            self.acked.add(("eu", f"link:{number}"))
        return status


@pytest.mark.parametrize("cluster", [{}], indirect=True, ids=["alone"])
@pytest.mark.parametrize("fault", [Server.kill9, Server.stop], ids=["killed", "stalled"])
def test_only_the_attempts_of_a_server_that_is_away_are_refused(
    cluster: Cluster, web: Web, fault: Callable[[Server], None]
) -> None:
    node, away = cluster.apart_from("eu", PARTITIONS)
    sender = Sender(web)
    everywhere = dict.fromkeys(range(PARTITIONS), 200)
    until(lambda: sender.statuses() == everywhere)
    fault(node)
    expected = {partition: 503 if partition in away else 200 for partition in range(PARTITIONS)}
    for _ in range(5):
        assert sender.statuses() == expected
    assert web.get("/readyz").status == 200
    # Once it is known to be away nobody waits for it.
    sender.slowest = 0.0
    assert sender.statuses() == expected
    assert sender.slowest < ANSWER_SECONDS / 4
    if fault is Server.kill9:
        node.start()
    else:
        node.cont()
    until(lambda: sender.statuses() == everywhere)
    counts = reconcile(cluster.client(), acked=sender.acked, partitions=PARTITIONS)
    assert counts.wrong == {}


@pytest.mark.parametrize("cluster", [{"replicas": 1}], indirect=True, ids=["with replicas"])
def test_while_a_replica_takes_over_webhooks_are_postponed_and_none_is_lost(
    cluster: Cluster, web: Web, record_property: Record
) -> None:
    node, _ = cluster.apart_from("eu", PARTITIONS)
    with Traffic(web) as traffic:
        until(lambda: len(traffic.acked) > 100)
        node.kill9()
        until(lambda: traffic.statuses[503] > 0)
        before = len(traffic.acked)
        until(lambda: all(cluster.holder(keys.journal(each)) is not node for each in range(PARTITIONS)))
        until(lambda: len(traffic.acked) > before + 200)
    counts = reconcile(cluster.client(), acked=traffic.acked, partitions=PARTITIONS)
    record_property("faults", counts.line(**traffic.line()))
    assert set(traffic.statuses) == {200, 503}
    assert counts.wrong == {}


@pytest.mark.parametrize("cluster", [{"primaries": 2, "replicas": 1}], indirect=True, ids=["a replica lags"])
def test_with_ack_replica_what_a_lagging_replica_lacks_is_not_acknowledged(
    cluster: Cluster, tmp_path: Path, record_property: Record
) -> None:
    """With `ack: local` it is, and lost with the primary. Of two primaries none is a majority: an operator decides."""
    node, away = cluster.apart_from("eu", PARTITIONS)
    replica = cluster.replica_of(node)
    everywhere = dict.fromkeys(range(PARTITIONS), 200)
    with (
        closing(Web(tmp_path / "local", cluster.url, partitions=PARTITIONS)) as web_local,
        closing(Web(tmp_path / "web", cluster.url, partitions=PARTITIONS, durability=_REPLICA)) as web,
    ):
        waits, local = Sender(web), Sender(web_local, first=1_000_000)
        waits.wait_for(everywhere)
        local.wait_for(everywhere)
        replica.stop()
        try:
            until(lambda: local.send_large(away) == 200 and held_back(node) >= 1_000_000)
            refused = {partition: 503 if partition in away else 200 for partition in range(PARTITIONS)}
            waits.wait_for(refused)
            node.kill9()
        finally:
            replica.cont()
        cluster.take_over(replica)
        local.wait_for(everywhere)
        # The new primary has no replica yet.
        waits.wait_for(refused)
        cluster.bring_back(node)
        waits.wait_for(everywhere)
    counts = reconcile(cluster.client(), acked=waits.acked, partitions=PARTITIONS)
    without = reconcile(cluster.client(), acked=local.acked, partitions=PARTITIONS)
    record_property("faults", counts.line(acked_local=without.acked, lost_local=without.lost))
    assert counts.wrong == {}
    assert without.lost > 0
