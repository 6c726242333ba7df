"""The number of partitions of a cluster changes while attempts are published and a slot moves: each comes once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.journal import Journal
from bridge.journal.reading import Reader
from bridge.state import keys
from bridge.state.repartition import DONE, Repartition
from tests.support.child_processes import services
from tests.support.cluster import Cluster, running_cluster
from tests.support.comparison import misplaced, reconcile
from tests.support.journal import NOW, entry
from tests.support.waiting import until
from tests.support.writers import Writers
from workers.dispatch import repartition
from workers.dispatch.repartition import RepartitionRunner

SERVED, KNOWN = 4, 1000
#: Over how many partitions attempts are spread, one after the other.
NUMBERS = (2, 4, 1)


@pytest.fixture
def cluster(starts_servers: None, tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "cluster", primaries=2, options=("--appendonly", "no")) as cluster:
        yield cluster


@contextmanager
def publishing(cluster: Cluster) -> Iterator[Callable[[], set[int]]]:
    """Processes that publish new attempts, and others that repeat those from the first one on."""

    def connect() -> Journal:
        return Journal(cluster.client(retries=1), partitions=SERVED)

    writers = [Writers(connect, first=KNOWN, pause=0.01), Writers(connect, pause=0.01)]
    try:
        yield lambda: writers[0].acknowledged | writers[1].acknowledged
    finally:
        for each in writers:
            each.stop()


def test_attempts_that_move_between_the_servers_of_a_cluster_are_published_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setattr(repartition, "_BUCKETS", 2)
    client = cluster.client(retries=1)
    assert len({cluster.holder(keys.journal(number)).port for number in range(SERVED)}) == 2
    client.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": str(NUMBERS[0]), "layout": "3"})
    journal = Journal(client, partitions=SERVED)
    journal.publish_batch([entry(number) for number in range(KNOWN)], now=NOW)
    served = services(cluster.nodes[0], partitions=SERVED, state_url=cluster.url)
    store, runner = Repartition(client, configured=SERVED), RepartitionRunner(served, "mover")
    with publishing(cluster) as acknowledged:
        for before, after in pairwise(NUMBERS):
            until(lambda: len(acknowledged()) > KNOWN / 10)
            assert store.begin(after, now=NOW)
            assert runner.step(lambda: NOW) == 0.0
            cluster.move(keys.journal(1), cluster.other_than(keys.journal(1)))
            far = len(acknowledged())
            until(lambda far=far: len(acknowledged()) > far + 100)
            assert misplaced(client, SERVED) > 0
            until(lambda: runner.step(lambda: NOW) > 0.0 and store.read().state == DONE)
            assert (store.read().before, misplaced(client, SERVED)) == (None, 0), (before, after)
        acked = acknowledged() | set(range(KNOWN))
    again = journal.publish_batch([entry(number) for number in sorted(acked)], now=NOW)
    assert Counter(result.outcome for published in again for result in published.results) == {"duplicate": len(acked)}
    counts = reconcile(client, acked={("eu", f"link:{number}") for number in acked}, partitions=SERVED)
    record_property("faults", counts.line())
    assert counts.wrong == {}
    assert {event.partition for event in Reader(client, partitions=SERVED).events()} == set(range(SERVED))
