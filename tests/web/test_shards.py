"""Which servers of a cluster web takes for away, whoever notices it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from bridge.errors import StateUnavailable
from bridge.services import Services
from bridge.state import keys
from bridge.state.client import state_client
from bridge.state.cluster.client import ClusterClient
from bridge.state.confirming_client import Confirmation
from bridge.web.shards import Shards
from bridge.web.state_probe import StateProbe
from tests.support.cluster import Cluster, running_cluster
from tests.support.servers import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.usefixtures("starts_servers"), pytest.mark.single_server]

#: Long: what follows may be late on a busy disk.
CONFIRMATION = Confirmation(replicas=1, within=1.0)
BEAT = keys.heartbeat("web")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Of three primaries two are a majority: they go on when one is away."""
    with running_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def replicated_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path, primaries=2, replicas=1) as cluster:
        yield cluster


def client(cluster: Cluster, confirmation: Confirmation | None = None) -> ClusterClient:
    client = state_client(cluster.url, timeout=0.5, retries=0, confirmation=confirmation)
    assert isinstance(client, ClusterClient)
    return client


def passes(probe: StateProbe) -> bool:
    """Whether the gate is open. On a busy disk a replica may be late."""
    with suppress(StateUnavailable):
        probe()
        return True
    return False


@pytest.fixture
def away(cluster: Cluster, request: pytest.FixtureRequest) -> Server:
    """The server with or without what is asked for first: which sources are paused."""
    holder = cluster.holder(keys.paused("eu"))
    return holder if request.param == "asked first" else cluster.other_than(keys.paused("eu"))


@pytest.mark.parametrize("away", ["asked first", "asked later"], indirect=True)
def test_a_server_that_stalls_while_the_probe_asks_its_questions_is_alone_refused(
    cluster: Cluster, services: Services, away: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every server is asked for its memory in each call.
    monkeypatch.setattr("bridge.web.state_probe._MEMORY_SECONDS", 0.0)
    with client(cluster) as probing, client(cluster) as served:
        shards = Shards(probing, served)
        probe = StateProbe(probing, services.config, services.now, shards=shards)
        until(lambda: passes(probe) and not shards.away)
        answers = shards.probe

        def stalls_after_its_answer() -> None:
            answers()
            shards.probe = answers  # type: ignore[method-assign]
            away.stop()

        shards.probe = stalls_after_its_answer  # type: ignore[method-assign]
        try:
            probe()
            assert set(probing.away) == {("127.0.0.1", away.port)}
            probe()
        finally:
            away.cont()
        until(lambda: passes(probe) and not shards.away)


def test_a_server_whose_replicas_are_away_is_alone_refused_if_no_webhook_but_the_heartbeat_notices(
    replicated_cluster: Cluster, services: Services
) -> None:
    cluster = replicated_cluster
    holder = cluster.holder(BEAT)
    replica = cluster.replica_of(holder)
    elsewhere = next(name for name in map(str, range(1000)) if cluster.holder(name) is not holder)
    with client(cluster, CONFIRMATION) as probing, client(cluster, CONFIRMATION) as served:
        shards = Shards(probing, served)
        probe = StateProbe(probing, services.config, services.now, shards=shards)

        # Each call stores a heartbeat.
        probe.is_doubtful = lambda: True
        until(lambda: passes(probe) and not shards.away)
        replica.stop()
        try:
            probe()
            assert shards.away
            assert not shards.reaches(BEAT)
            assert shards.reaches(elsewhere)
            with pytest.raises(redis.ConnectionError, match="is away: 0 of 1 replicas confirmed"):
                served.set(BEAT, "1")
            assert served.set(elsewhere, "1")
            probe()
            assert shards.away
        finally:
            replica.cont()
        until(lambda: passes(probe) and not shards.away)
        assert served.set(BEAT, "1")
