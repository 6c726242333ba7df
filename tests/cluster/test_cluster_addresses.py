"""A real cluster behind TLS and passwords: web reaches it, and whatever is wrong with its address is one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.config import loader
from bridge.errors import StateUnavailable
from bridge.monitoring.doctor import examine
from bridge.monitoring.server_checks import FAILURE, Finding
from bridge.registry import vendors
from bridge.services import Services, clients_of
from bridge.settings import Settings
from bridge.state.upgrade import make_current
from tests.support.cluster import Cluster, running_cluster
from tests.support.servers import Server
from tests.support.tls import Authority, TLSFront
from tests.support.waiting import until
from tests.support.web import Web, post, result

pytestmark = pytest.mark.usefixtures("starts_processes")

#: Of the default user, and of another that may do everything.
PASSWORD, ACCOUNT = "hunter2", "bridge:s3cret"
LOGIN = "it refuses the user name or password"

Examined = Callable[[str], tuple[Finding, str]]


class Encrypted:
    """Two nodes that give TLS listeners in front of them as their addresses."""

    def __init__(self, directory: Path, cluster: Cluster) -> None:
        authority = Authority(directory / "ca")
        context = authority.issue("right", "IP:127.0.0.1")
        self.cluster, self.ca, self.other_ca = cluster, authority.ca, Authority(directory / "other").ca
        self.fronts = [TLSFront(context, node.port) for node in cluster.nodes]
        for node, front in zip(cluster.nodes, self.fronts, strict=True):
            with node.client() as client:
                client.config_set("cluster-announce-port", front.port)
                client.execute_command("ACL", "SETUSER", "bridge", "on", ">s3cret", "~*", "&*", "+@all")
                client.execute_command("ACL", "SETUSER", "weak", "on", ">s3cret", "~*", "+@all", "-cluster")
        until(lambda: all(cluster.ports(node) == {front.port for front in self.fronts} for node in cluster.nodes))
        for node in cluster.nodes:
            with node.client() as client:
                client.config_set("requirepass", PASSWORD)

    def url(self, account: str = f":{PASSWORD}", *, ca: Path | None = None) -> str:
        hosts = ",".join(f"127.0.0.1:{front.port}" for front in self.fronts)
        return f"rediss+cluster://{account}{'@' if account else ''}{hosts}?ssl_ca_certs={ca or self.ca}"

    def close(self) -> None:
        for front in self.fronts:
            front.close()


@pytest.fixture(scope="module")
def encrypted(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    directory = tmp_path_factory.mktemp("encrypted")
    with running_cluster(directory / "cluster", primaries=2) as cluster:
        encrypted = Encrypted(directory, cluster)
        yield encrypted
        encrypted.close()


@pytest.fixture
def examined(tmp_path: Path) -> Examined:
    """What doctor finds about the state server, and why a process does not start with it."""
    (tmp_path / "bridge.yaml").write_text("demo: true\nbridge: {name: acme}\n")
    config = loader.read(tmp_path / "bridge.yaml", vendors=vendors(), environment={})

    def examine_state(state: str) -> tuple[Finding, str]:
        clients = clients_of(state)
        services = Services(
            settings=Settings(),
            config=config,
            vendors=vendors(),
            state_url=state,
            broker_url="redis://127.0.0.1:1/1",
            clients=clients,
        )
        (finding,) = (each for each in examine(services, outward=False) if each.name == "state server")
        with pytest.raises(StateUnavailable) as caught:
            make_current(clients.state, "web:1", 0.0)
        return finding, str(caught.value)

    return examine_state


@pytest.mark.parametrize("account", [f":{PASSWORD}", ACCOUNT], ids=["password", "user"])
def test_webhooks_are_received_over_tls_to_every_node(encrypted: Encrypted, tmp_path: Path, account: str) -> None:
    before = [len(front.told) for front in encrypted.fronts]
    web = Web(tmp_path / "web", encrypted.url(account), partitions=4)
    try:
        until(lambda: web.get("/readyz").status == 200)
        for number in range(8):
            assert web.exchange(post("/webhooks/eu", result(number))).status == 200
        assert all(len(front.told) > told for front, told in zip(encrypted.fronts, before, strict=True))
    finally:
        web.close()


def test_web_says_in_its_log_what_is_wrong_with_a_certificate(encrypted: Encrypted, tmp_path: Path) -> None:
    web = Web(tmp_path / "web", encrypted.url(ca=encrypted.other_ca))
    try:
        assert web.exchange(post("/webhooks/eu", result(1))).status == 503
        lines = [json.loads(line) for line in web.log.read_text().splitlines()]
        (said,) = {line["error"] for line in lines if line["event"] == "state_unavailable"}
        assert "the server's TLS certificate is refused" in said
        assert "Remedy: name the CA that signed it" in said
    finally:
        web.close()


@pytest.mark.parametrize(
    ("account", "text", "remedy"),
    [
        ("", LOGIN, "correct them in its address"),
        (":wrong", LOGIN, "correct them in its address"),
        ("joe:hunter2", LOGIN, "correct them in its address"),
        ("weak:s3cret", "no permissions to run the 'cluster|slots' command", "allow that user all commands"),
    ],
)
def test_an_account_that_the_nodes_refuse_is_named_as_such(
    encrypted: Encrypted, examined: Examined, account: str, text: str, remedy: str
) -> None:
    finding, refused = examined(encrypted.url(account))
    assert finding.status == FAILURE
    assert text in finding.text
    assert remedy in finding.remedy
    assert f"{finding.text}. Remedy: {finding.remedy}" in refused
    assert "hunter2" not in refused
    assert "s3cret" not in refused


def test_a_certificate_of_somebody_else_is_named_as_such(encrypted: Encrypted, examined: Examined) -> None:
    finding, refused = examined(encrypted.url(ca=encrypted.other_ca))
    assert "the server's TLS certificate is refused" in finding.text
    assert "name the CA that signed it" in finding.remedy
    assert f"{finding.text}. Remedy: {finding.remedy}" in refused


def test_nodes_that_do_not_answer_are_counted(examined: Examined) -> None:
    finding, refused = examined("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    assert finding.text == "none of 2 nodes of the cluster answers, such as 127.0.0.1:1"
    assert f"{finding.text}. Remedy: start them, or correct the hosts" in refused
    assert finding.unreachable


def test_the_address_of_a_single_server_and_that_of_a_cluster_are_told_apart(
    encrypted: Encrypted, examined: Examined, server: Server
) -> None:
    finding, refused = examined(f"redis+cluster://127.0.0.1:{server.port}")
    assert (finding.text, finding.remedy) == (
        "this server is not a node of a cluster",
        "write redis:// for a single server",
    )
    assert f"{finding.text}. Remedy: {finding.remedy}" in refused
    finding, refused = examined(f"redis://:{PASSWORD}@127.0.0.1:{encrypted.cluster.nodes[0].port}/0")
    assert finding.text == "this server is a node of a cluster and may hold a part of the keys"
    assert finding.remedy.startswith("write redis+cluster://")
    assert f"{finding.text}. Remedy: {finding.remedy}" in refused


def test_a_node_without_slots_says_so(examined: Examined, starts_servers: None, tmp_path: Path) -> None:
    lone = Server(tmp_path / "lone", "--cluster-enabled", "yes")
    finding, refused = examined(f"redis+cluster://127.0.0.1:{lone.port}")
    lone.close()
    assert finding.text == f"the cluster of 127.0.0.1:{lone.port} serves no slots"
    assert f"{finding.text}. Remedy: {finding.remedy}" in refused
