"""`doctor` with `ack: replica`: replicas that are missing, too few, or confirm what is not on their disks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.config.durability import Durability
from bridge.monitoring.doctor import examine
from bridge.monitoring.replica_checks import Replica, read_replicas, replicas
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.services import load
from tests.support.replicas import ReplicatedServer, replicated
from tests.support.waiting import until
from tests.support.web import write_config

ALWAYS = {"appendonly": "yes", "appendfsync": "always"}
GOOD = Replica(address="a:1", follows=True, settings=ALWAYS)


@pytest.mark.parametrize(
    ("wanted", "known", "expected"),
    [
        (1, [], {"replicas": (FAILURE, "0 connected, 1 must confirm: webhooks get 503")}),
        (
            1,
            [replace(GOOD, follows=False)],
            {"replicas": (FAILURE, "0 connected"), "replica a:1": (WARNING, "not follow")},
        ),
        (2, [GOOD], {"replicas": (FAILURE, "1 connected, 2 must confirm")}),
        (1, [GOOD], {"replicas": (WARNING, "nothing is accepted while one of them restarts"), "replica a:1": (OK, "")}),
        (1, [GOOD, replace(GOOD, address="b:1")], {"replicas": (OK, "2 connected, 1 must confirm")}),
        (1, [replace(GOOD, settings=ALWAYS | {"appendfsync": "everysec"})], {"replica a:1": (FAILURE, "is everysec")}),
        (1, [replace(GOOD, settings=ALWAYS | {"appendonly": "no"})], {"replica a:1": (FAILURE, "appendonly is no")}),
        (
            1,
            [replace(GOOD, settings=None, problem="NoPermissionError")],
            {"replica a:1": (WARNING, "cannot be asked: NoP")},
        ),
    ],
)
def test_replicas_have_a_finding_each_and_one_together(
    wanted: int, known: list[Replica], expected: dict[str, tuple[str, str]]
) -> None:
    findings = {finding.name: finding for finding in replicas(Durability(ack="replica", replicas=wanted), known)}
    for name, (status, text) in expected.items():
        assert (findings[name].status, text in findings[name].text) == (status, True)
        assert bool(findings[name].remedy) == (status != OK)


@pytest.fixture
def servers(starts_servers: None, tmp_path: Path) -> Iterator[ReplicatedServer]:
    with replicated(tmp_path / "servers") as servers:
        yield servers


def examined(servers: ReplicatedServer, directory: Path, durability: str) -> dict[str, Finding]:
    services = load(config_path=write_config(directory, servers.primary.url, durability))
    return {finding.name: finding for finding in examine(services, outward=False)}


def test_doctor_asks_each_replica_that_the_primary_names(servers: ReplicatedServer, tmp_path: Path) -> None:
    named = f"replica 127.0.0.1:{servers.replica.port}"
    findings = examined(servers, tmp_path, "{ack: replica}")
    assert [findings[name].status for name in ("replicas", named, "appendfsync")] == [WARNING, OK, OK]
    for server in (servers.primary, servers.replica):
        with server.client() as client:
            client.config_set("appendfsync", "everysec")
    findings = examined(servers, tmp_path, "{ack: replica, replicas: 2}")
    assert [findings[name].status for name in ("replicas", named, "appendfsync")] == [FAILURE] * 3
    # Nobody waits for replicas: the primary's own setting is a warning, as it was.
    findings = examined(servers, tmp_path, "{ack: local}")
    assert (findings["appendfsync"].status, "replicas" in findings) == (WARNING, False)


def test_a_replica_that_says_nothing_does_not_count(servers: ReplicatedServer) -> None:
    servers.replica.stop()
    try:
        with servers.primary.client() as primary:
            until(lambda: [replica.follows for replica in read_replicas(primary)] == [False])
    finally:
        servers.replica.cont()
