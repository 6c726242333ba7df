"""While a server of a cluster is away, whoever asks about the state is told what the others hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from werkzeug.test import TestResponse

from bridge.config.model import Subscription
from bridge.monitoring.doctor import examine
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.monitoring.server_facts import read_server_facts
from bridge.monitoring.state_collector import StateCollector
from bridge.runtime.processes import PARTS
from bridge.services import Services
from bridge.state import keys
from bridge.state.running import RunningProcesses
from bridge.web import create_app
from bridge.web.health import part_lines
from tests.support.cluster import Cluster, running_cluster
from tests.support.dispatch import publish
from tests.support.servers import Server
from tests.support.watches_api import OpenGate
from tests.support.web import API_TOKEN, services_over

PARTITIONS = 6
CRM = Subscription(name="crm", transport="http")


@pytest.fixture
def cluster(starts_servers: None, tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "cluster", options=("--appendonly", "no")) as cluster:
        yield cluster


@pytest.fixture
def services(cluster: Cluster, tmp_path: Path) -> Services:
    """With an event in each partition, and a heartbeat of each part."""
    client = cluster.client(retries=1, socket_timeout=0.8)
    services = dataclasses.replace(services_over(tmp_path, client), state_url=cluster.url)
    bridge = dataclasses.replace(services.config.bridge, partitions=PARTITIONS)
    config = dataclasses.replace(services.config, bridge=bridge, subscriptions={"crm": CRM})
    for partition in range(PARTITIONS):
        publish(client, partition, partition=partition)
    for part in PARTS:
        client.set(keys.heartbeat(part), f"{services.now():.3f}")
    RunningProcesses(client).report("web:a:1", config.digest, services.now(), services.now())
    return dataclasses.replace(services, config=config)


def examined(services: Services) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(services, outward=False)}


@pytest.mark.parametrize("number", [1, 2])
def test_doctor_names_the_server_and_tells_what_the_others_hold(
    cluster: Cluster, services: Services, number: int
) -> None:
    before, node = examined(services), cluster.nodes[number]
    held = [each for each in range(PARTITIONS) if cluster.holder(keys.journal(each)) is node]
    sources = [name for name in services.config.sources if cluster.holder(keys.paused(name)) is node]
    # The last one hangs, the others refuse connections.
    Server.stop(node) if number == 2 else node.kill9()
    after = examined(services)
    named = f"state server of 127.0.0.1:{node.port}"
    away = [name for name, finding in after.items() if finding.unreachable]
    assert (away, after[named].status) == ([named], FAILURE)
    partitions = ", ".join(map(str, held))
    assert f"; it holds partitions {partitions}{', sources ' if sources else ''}" in after[named].text
    # Nothing is missing but what is said of that server itself, and of processes if it has their register.
    missing = {name for name in before if not name.endswith(f":{node.port}")} - set(after)
    has_register = cluster.holder(keys.configurations()) is node
    assert missing == ({"configuration of web:a:1"} if has_register else set())
    unknown = {name for name, finding in after.items() if finding.text == f"unknown: 127.0.0.1:{node.port} is away"}
    here = {part for part in PARTS if cluster.holder(keys.heartbeat(part)) is node}
    assert {name for name in unknown if name in PARTS} == here
    assert {name for name in unknown if name.startswith("source ")} == {f"source {name}" for name in sources}
    assert after["subscription crm"].status == WARNING
    waiting = PARTITIONS - len(held)
    assert f"without partitions {partitions}, which are away" in after["subscription crm"].text
    assert 0 in held or f"{waiting} waiting" in after["subscription crm"].text
    assert {after[name].status for name in (*PARTS, "partitions") if name not in unknown} <= {OK, WARNING}


def measured(services: Services, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(StateCollector(services))
    return registry.get_sample_value(name, labels)


def test_slots_that_no_server_has_hide_what_is_there_and_nothing_else(cluster: Cluster, services: Services) -> None:
    lost = [keys.journal(3), keys.paused("eu"), keys.heartbeat("beat")]
    for key in lost:
        cluster.give_up(key)
    services.state.map.refresh(services.state.map.version)
    findings = examined(services)
    slots = findings["slots of the cluster"]
    assert (slots.status, slots.text.split(":")[0]) == (FAILURE, "3 of 16384 have no server")
    hidden = {name for name, finding in findings.items() if finding.text == "unknown: no server has its slot"}
    assert hidden == {"beat", "source eu"}
    assert findings["subscription crm"].text.startswith("without partitions 3, which are away: 0 delivered, 5 waiting")
    assert measured(services, "bridge_subscription_backlog", subscription="crm") == PARTITIONS - 1
    assert measured(services, "bridge_watches_open", source="eu") is None
    assert measured(services, "bridge_watches_open", source="closed") == 0


def test_metrics_and_probes_tell_the_rest(cluster: Cluster, services: Services) -> None:
    number = partial(measured, services)
    client = services.state
    node = cluster.holder(keys.journal(0))
    up = {f"127.0.0.1:{each.port}": 1.0 for each in cluster.nodes}
    assert {name: number("bridge_state_server_up", server=name) for name in up} == up
    assert (number("bridge_state_up"), number("bridge_subscription_backlog", subscription="crm")) == (1, PARTITIONS)
    assert number("bridge_deliveries_total", subscription="crm", outcome="delivered") == 0
    held = [each for each in range(PARTITIONS) if cluster.holder(keys.journal(each)) is node]
    node.kill9()
    up[f"127.0.0.1:{node.port}"] = 0.0
    assert {name: number("bridge_state_server_up", server=name) for name in up} == up
    backlog = number("bridge_subscription_backlog", subscription="crm")
    assert (number("bridge_state_up"), backlog) == (0, PARTITIONS - len(held))
    # A counter that is the sum of some would look as if it had begun anew.
    assert number("bridge_deliveries_total", subscription="crm", outcome="delivered") is None
    there = {name for name in services.config.sources if cluster.holder(keys.paused(name)) is not node}
    assert {name for name in services.config.sources if number("bridge_watches_open", source=name) == 0} == there
    assert set(read_server_facts(client, services.now)) == {name for name, is_up in up.items() if is_up}
    lines = part_lines(client, services.now())
    expected = ["unknown" if cluster.holder(keys.heartbeat(part)) is node else "ok" for part in PARTS]
    assert [line.split()[1].rstrip(":") for line in lines] == expected


def test_a_list_over_all_partitions_is_refused_rather_than_incomplete(cluster: Cluster, services: Services) -> None:
    app = create_app(services, gate=OpenGate())

    def answer(name: str) -> TestResponse:
        return app.test_client().get(f"/api/v1/{name}", headers={"Authorization": f"Bearer {API_TOKEN}"})

    lists = ("attempts", "events", "deliveries", "subscriptions", "stats")
    assert [answer(name).status_code for name in lists] == [200] * len(lists)
    node = cluster.holder(keys.journal(0))
    node.kill9()
    for name in lists:
        refused = answer(name)
        assert refused.status_code == 503
        assert f"127.0.0.1:{node.port} is away" in refused.get_json()["detail"]
    assert answer("health").status_code == 200
