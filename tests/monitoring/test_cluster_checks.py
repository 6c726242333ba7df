"""What `doctor` says about the servers of a cluster."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest
import redis

from bridge.journal import Journal
from bridge.journal.reading import Reader
from bridge.monitoring.cluster_checks import cluster, coverage, full_coverage, placement
from bridge.monitoring.doctor import examine
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from tests.support.cluster import Cluster, running_cluster
from tests.support.journal import make_submission, outcomes
from tests.support.waiting import until
from tests.support.web import services_over

A, B, C = ("h1", 6379), ("h2", 6379), ("h3", 6379)
NAMES = [f"link:{number}" for number in range(60)]
THIRDS = ((0, 5461, A), (5462, 10923, B), (10924, 16383, C))


def test_uneven_partitions_are_named_with_the_moves_that_even_them() -> None:
    finding = placement(THIRDS, 6, {A: "a" * 40})
    assert (finding.status, finding.text) == (WARNING, "uneven: h1:6379: 1, h2:6379: 3, h3:6379: 2")
    command = "valkey-cli -h h2 -p 6379 CLUSTER MIGRATESLOTS SLOTSRANGE 9974 9974 NODE"
    assert finding.remedy.startswith(f"run {command} {'a' * 40}. ")
    assert f"{command} <id of h1:6379>. " in placement(THIRDS, 6, {}).remedy
    # It has moved.
    moved = ((0, 5461, A), (5462, 9973, B), (9974, 9974, A), (9975, 10923, B), (10924, 16383, C))
    assert placement(moved, 6, {}).status == OK


def test_slots_without_a_server_are_counted() -> None:
    assert coverage(THIRDS).status == OK
    finding = coverage(THIRDS[:2])
    assert (finding.status, finding.text[:25]) == (FAILURE, "5460 of 16384 have no ser")


def test_a_cluster_in_which_one_server_stops_all_is_reported() -> None:
    assert [finding.status for finding in full_coverage("yes")] == [WARNING]
    assert list(full_coverage("no")) == list(full_coverage(None)) == []


def test_each_server_of_a_cluster_is_examined(state_cluster: Cluster, tmp_path: Path) -> None:
    client = state_cluster.client()
    services = dataclasses.replace(services_over(tmp_path, client), state_url=state_cluster.url)
    names = [finding.name for finding in examine(services, outward=False)]
    for node in state_cluster.nodes:
        assert f"state server of 127.0.0.1:{node.port}" in names
    assert names.count("partitions on servers") == names.count("slots of the cluster") == 1


@pytest.mark.parametrize(("partitions", "moves"), [(6, 1), (24, 2)])
def test_a_cluster_is_even_after_the_commands_that_are_named(
    starts_servers: None, tmp_path: Path, partitions: int, moves: int
) -> None:
    with running_cluster(tmp_path, options=("--appendonly", "no")) as servers:
        outcomes(Journal(servers.client(), partitions=partitions), *map(make_submission, NAMES))
        finding = placed(servers, partitions)
        assert (finding.status, finding.text[:8]) == (WARNING, "uneven: ")
        commands = finding.remedy.removeprefix("run ").partition(". ")[0].split("; ")
        assert len(commands) == moves
        for command in commands:
            program, *words = shlex.split(command)
            options, call = words[:4], words[4:]
            assert (program, options[::2]) == ("valkey-cli", ["-h", "-p"])
            with redis.Redis(host=options[1], port=int(options[3])) as node:
                assert node.execute_command(*call) in (b"OK", True)
        until(lambda: placed(servers, partitions).status == OK)
        reader = Reader(servers.client(), partitions=partitions)
        assert sorted(event.attempt for event in reader.events()) == sorted(NAMES)


def placed(servers: Cluster, partitions: int) -> Finding:
    """What a process says that starts now."""
    with servers.client() as client:
        return next(item for item in cluster(client, partitions) if item.name == "partitions on servers")


def test_nothing_is_said_of_a_cluster_over_one_server() -> None:
    assert list(cluster(redis.Redis(), 6)) == []
