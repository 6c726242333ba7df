"""The client of a primary behind Sentinel: when it asks the sentinels again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from bridge.net.sentinels import Sentinels
from bridge.net.server_group import server_group
from bridge.state.client import state_client
from tests.support.sentinel import MASTER, SentinelGroup
from tests.support.servers import Server
from tests.support.waiting import until


@pytest.fixture(scope="module")
def group(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    group = SentinelGroup(tmp_path_factory.mktemp("group"))
    yield group
    group.close()


def port_of(address: Any) -> int:
    return int(address[1])


def connections(server: Server) -> int:
    """Of ours to this server."""
    with server.client() as client:
        return sum(each["name"] == "attempt-bridge" for each in client.client_list())


@pytest.mark.parametrize(
    ("fault", "cure", "said"),
    [
        (
            ("CONFIG", "SET", "min-replicas-to-write", "9"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "NOREPLICAS",
        ),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "You can't write against a read only replica"),
    ],
    ids=["its replicas have left", "it is a replica"],
)
@pytest.mark.parametrize("way", ["command", "transaction", "script"])
def test_a_server_that_may_be_deposed_ends_the_connections_to_it(
    group: SentinelGroup, fault: tuple[str, ...], cure: tuple[str, ...], said: str, way: str
) -> None:
    primary = group.primary()
    with state_client(group.address(0), retries=0) as client:
        idle = client.connection_pool.get_connection()
        assert client.set("a", 1)
        client.connection_pool.release(idle)
        assert connections(primary) == 2

        def write() -> None:
            if way == "command":
                client.set("a", 2)
            elif way == "transaction":
                client.pipeline().set("a", 2).execute()
            else:
                client.register_script("return redis.call('SET', KEYS[1], 2)")(keys=["a"])

        with primary.client() as control:
            control.execute_command(*fault)
            try:
                with pytest.raises(redis.ConnectionError, match=f"127.0.0.1:{primary.port} refuses to write: .*{said}"):
                    write()
                assert connections(primary) == 0
            finally:
                control.execute_command(*cure)
        write()
        assert client.get("a") == b"2"


def test_after_a_failover_by_hand_a_client_leaves_the_old_primary_while_it_still_takes_writes(
    group: SentinelGroup,
) -> None:
    """A sentinel makes it a replica eight seconds later."""
    primary = group.primary()
    with state_client(group.address(0)) as client:
        client.set("b", 1)
        group.wait_until_whole()
        with redis.Redis(port=group.sentinels[0].port) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", MASTER)
            until(lambda: port_of(sentinel.sentinel_get_master_addr_by_name(MASTER)) != primary.port)
            # It lists the old one for another second.
            leader = Sentinels(server_group(f"redis+sentinel://127.0.0.1:{group.sentinels[0].port}/{MASTER}/0"))
            assert port_of(leader.discover_master(MASTER)) != primary.port
        now = group.wait_for_another(primary)

        with now.client() as direct:

            def is_written_there() -> bool:
                try:
                    client.set("b", 2)
                except redis.ConnectionError:
                    return False
                return direct.get("b") == b"2"

            until(is_written_there)
        with primary.client() as old:
            assert old.info("replication")["role"] == "master"
