"""What `doctor` says about the servers of a cluster."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import redis

from bridge.monitoring.cluster_checks import cluster, coverage, full_coverage, placement
from bridge.monitoring.doctor import examine
from bridge.monitoring.server_checks import FAILURE, OK, WARNING
from tests.support.cluster import Cluster
from tests.support.web import services_over

A, B, C = ("h1", 6379), ("h2", 6379), ("h3", 6379)
THIRDS = ((0, 5461, A), (5462, 10923, B), (10924, 16383, C))


def test_uneven_partitions_are_named_with_the_moves_that_even_them() -> None:
    found = placement(THIRDS, 6)
    assert (found.status, found.text) == (WARNING, "uneven: h1:6379: 1, h2:6379: 3, h3:6379: 2")
    assert "slot 9974 to h1:6379" in found.remedy
    # It has moved.
    moved = ((0, 5461, A), (5462, 9973, B), (9974, 9974, A), (9975, 10923, B), (10924, 16383, C))
    assert placement(moved, 6).status == OK


def test_slots_without_a_server_are_counted() -> None:
    assert coverage(THIRDS).status == OK
    found = coverage(THIRDS[:2])
    assert (found.status, found.text[:25]) == (FAILURE, "5460 of 16384 have no ser")


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


def test_nothing_is_said_of_a_cluster_over_one_server() -> None:
    assert list(cluster(redis.Redis(), 6)) == []
