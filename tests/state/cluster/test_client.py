"""The client of a cluster, over real nodes: each command reaches the node of its key, also when slots move."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import redis
from redis.exceptions import ClusterDownError, WatchError

from bridge.state.client import state_client
from bridge.state.cluster.client import ClusterClient
from bridge.state.cluster.command_keys import first_key
from bridge.state.cluster.slot_map import parse_slots
from bridge.state.nodes import node_of, primaries
from tests.support.cluster import Cluster, running_cluster
from tests.support.proxy import Proxy
from tests.support.waiting import until

#: Keys on three nodes.
KEYS = tuple(f"t:{{{number}}}:x" for number in range(4))


@pytest.fixture(scope="module")
def moving(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for tests that move slots, or stop a node and let it go on."""
    with running_cluster(tmp_path_factory.mktemp("moving"), options=("--appendonly", "no")) as cluster:
        yield cluster


@pytest.fixture
def cluster(moving: Cluster) -> Iterator[ClusterClient]:
    client = moving.client(retries=1, socket_timeout=0.5)
    client.flushall()
    yield client
    client.close()


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), b"a"),
        (("XGROUP CREATE", b"a", "g"), b"a"),
        (("EVALSHA", "sha", 2, "a", "b", "c"), b"a"),
        (("EVALSHA", "sha", 0, "c"), None),
        (("XREADGROUP", b"GROUP", "g", "c", b"STREAMS", "a", ">"), b"a"),
        (("XREAD", b"COUNT", "1", b"STREAMS", "a", "b", "0", "0"), b"a"),
        (("OBJECT", "encoding", "a"), b"a"),
        (("CONFIG GET", "maxmemory"), None),
        (("INFO",), None),
        (("SCRIPT EXISTS", "sha"), None),
    ],
)
def test_where_the_first_key_of_a_command_stands(command: tuple[object, ...], key: bytes | None) -> None:
    assert first_key(command) == key


def test_an_empty_host_is_that_of_the_node_that_was_asked() -> None:
    ranges, known = parse_slots([[5, 9, [b"", 7001, b"id"], [b"h2", 7002, b"id"]], [0, 4, [None, 7003]]], ("h1", 7))
    assert ranges == ((0, 4, ("h1", 7003)), (5, 9, ("h1", 7001)))
    assert known == (("h1", 7001), ("h2", 7002), ("h1", 7003))


def test_commands_scripts_and_pipelines_reach_the_node_of_each_key(cluster: ClusterClient) -> None:
    for number, key in enumerate(KEYS):
        cluster.set(key, number)
    assert {node_of(cluster, key).connection_pool.connection_kwargs["port"] for key in KEYS} == {
        node.connection_pool.connection_kwargs["port"] for node in primaries(cluster)
    }
    assert cluster.mget(KEYS) == [b"0", b"1", b"2", b"3"]
    add = cluster.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert [add(keys=[key], args=[10]) for key in KEYS] == [10, 11, 12, 13]
    pipe = cluster.pipeline(transaction=False)
    for key in reversed(KEYS):
        add(keys=[key], args=[10], client=pipe)
    pipe.time()
    *sums, now = pipe.execute()
    assert sums == [23, 22, 21, 20]
    assert len(now) == 2
    assert {name.decode() for name in cluster.scan_iter(count=1)} == set(KEYS)


def test_a_transaction_has_keys_of_one_slot_and_sees_changes_of_what_it_watches(cluster: ClusterClient) -> None:
    with cluster.pipeline(transaction=True) as pipe:
        pipe.watch(KEYS[0])
        assert pipe.get(KEYS[0]) is None
        pipe.multi()
        pipe.set(KEYS[0], 1)
        assert pipe.execute() == [True]
    with cluster.pipeline(transaction=True) as pipe:
        pipe.watch(KEYS[0])
        cluster.set(KEYS[0], 2)
        pipe.multi()
        pipe.set(KEYS[0], 3)
        with pytest.raises(WatchError):
            pipe.execute()
    assert cluster.get(KEYS[0]) == b"2"
    several = cluster.pipeline(transaction=True)
    several.set(KEYS[0], 4).set(KEYS[1], 4)
    with pytest.raises(redis.ResponseError):
        several.execute()
    assert cluster.mget(KEYS[:2]) == [b"2", None]


def test_streams_of_several_nodes_are_awaited_together(cluster: ClusterClient) -> None:
    streams = dict.fromkeys(KEYS, "0")
    assert cluster.xread(streams, block=20) == []
    writer = threading.Timer(0.1, lambda: cluster.xadd(KEYS[2], {"a": 1}))
    writer.start()
    reply = cluster.xread(streams, block=20_000)
    assert [(name, [fields for _, fields in entries]) for name, entries in reply] == [
        (KEYS[2].encode(), [{b"a": b"1"}])
    ]
    writer.join()
    cluster.xadd(KEYS[3], {"a": 2})
    assert [name for name, _ in cluster.xread(streams, block=20_000)] == [KEYS[2].encode(), KEYS[3].encode()]


def test_a_slot_that_moves_and_one_that_has_moved(moving: Cluster, cluster: ClusterClient) -> None:
    add = cluster.register_script("return redis.call('INCR', KEYS[1])")
    add(keys=[KEYS[1]])
    source, target = moving.holder(KEYS[1]), moving.other_than(KEYS[1])
    moving.begin_move(KEYS[1], target)
    # The key is still at the source; a new one of the same slot is made at the target.
    assert add(keys=[KEYS[1]]) == 2
    new = KEYS[1] + ":new"
    assert add(keys=[new]) == 1
    assert add(keys=[new]) == 2
    pipe = cluster.pipeline(transaction=False)
    pipe.get(KEYS[1]).get(new).get(KEYS[0])
    assert pipe.execute() == [b"2", b"2", None]
    moving.end_move(KEYS[1], source, target)
    assert add(keys=[KEYS[1]]) == 3
    assert add(keys=[new]) == 3
    pipe = cluster.pipeline(transaction=True)
    pipe.incr(KEYS[1]).incr(new)
    assert pipe.execute() == [4, 4]
    moving.move(KEYS[1], source)
    pipe = cluster.pipeline(transaction=True)
    pipe.incr(KEYS[1]).incr(new)
    assert pipe.execute() == [5, 5]


def test_a_node_that_hangs_delays_only_what_needs_its_keys(moving: Cluster, cluster: ClusterClient) -> None:
    for key in KEYS:
        cluster.xadd(key, {"a": 1})
    away = moving.holder(KEYS[0])
    here = [key for key in KEYS if moving.holder(key) is not away]
    away.stop()
    try:
        for key in here:
            assert cluster.xlen(key) == 1
        with pytest.raises(redis.TimeoutError):
            cluster.xlen(KEYS[0])
        pipe = cluster.pipeline(transaction=False)
        for key in (KEYS[0], *here):
            pipe.xlen(key)
        first, *others = pipe.execute(raise_on_error=False)
        assert isinstance(first, redis.TimeoutError)
        assert others == [1] * len(here)
        reply = cluster.xread(dict.fromkeys(KEYS, "0"), block=50)
        assert [name.decode() for name, _ in reply] == here
    finally:
        away.cont()
    until(lambda: moving.is_well())
    assert cluster.xlen(KEYS[0]) == 1


@pytest.mark.parametrize("repeats", [0, 1])
def test_a_command_whose_reply_is_lost_is_repeated_only_by_a_client_that_may(moving: Cluster, repeats: int) -> None:
    holder = ("127.0.0.1", moving.holder(KEYS[0]).port)
    proxy = Proxy(*holder)
    client = moving.client(retries=repeats)
    client.detours[holder] = ("127.0.0.1", proxy.port)
    for send in (lambda: client.incr(KEYS[0]), lambda: client.pipeline(transaction=False).incr(KEYS[0]).execute()):
        client.set(KEYS[0], 0)
        proxy.drop_replies(b"INCR", times=1)
        with nullcontext() if repeats else pytest.raises(redis.ConnectionError):
            send()
        assert client.get(KEYS[0]) == str(1 + repeats).encode()
    assert proxy.fired == 2
    client.close()
    proxy.close()


def test_an_address_names_nodes_and_the_others_are_found(moving: Cluster, cluster: ClusterClient) -> None:
    client = state_client(f"redis+cluster://127.0.0.1:1,127.0.0.1:{moving.nodes[1].port}")
    for key in KEYS:
        client.set(key, 1)
    assert cluster.mget(KEYS) == [b"1"] * len(KEYS)


def test_a_server_that_is_not_a_node_of_a_cluster_says_so(state: redis.Redis, server: object, tmp_path: Path) -> None:
    port = state.connection_pool.connection_kwargs["port"]
    with pytest.raises(ClusterDownError, match=r"not a node of a cluster\. Remedy: write redis://"):
        state_client(f"redis+cluster://127.0.0.1:{port}").get("a")


def test_a_wrong_password_is_told_though_other_addresses_are_dead(moving: Cluster) -> None:
    node = moving.nodes[0]
    with node.client(single_connection_client=True) as admin:
        admin.config_set("requirepass", "right")
        try:
            with pytest.raises(redis.AuthenticationError, match="invalid username-password pair"):
                state_client(f"redis+cluster://:wrong@127.0.0.1:1,127.0.0.1:{node.port}").get("a")
        finally:
            admin.config_set("requirepass", "")
