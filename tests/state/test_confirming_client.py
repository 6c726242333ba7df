"""Writes that replicas confirm: the answers are those of any client, and nothing unconfirmed looks done."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.delivery.history import History
from bridge.errors import StateUnavailable
from bridge.journal.retention import Retention
from bridge.polling.expectations import Expectations
from bridge.polling.watches import Watches
from bridge.state import scripts
from bridge.state.client import state_client
from bridge.state.confirming_client import Confirmation, ConfirmingClient, Unconfirmed, is_write
from bridge.state.errors import state_errors
from tests.support.proxy import Proxy
from tests.support.replicas import ReplicatedServer, replicated
from tests.support.waiting import until

CONFIRMATION = Confirmation(replicas=1, within=0.1)
Call = Callable[[redis.Redis], Any]


@pytest.fixture(scope="module")
def servers(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedServer]:
    with replicated(tmp_path_factory.mktemp("replicated")) as servers:
        yield servers


@pytest.fixture
def plain(servers: ReplicatedServer) -> Iterator[redis.Redis]:
    with servers.primary.client() as client:
        client.flushall()
        servers.follows()
        yield client


@pytest.fixture
def client(servers: ReplicatedServer, plain: redis.Redis) -> Iterator[redis.Redis]:
    with state_client(servers.primary.url, confirmation=Confirmation(replicas=1, within=0.4)) as client:
        yield client


@pytest.fixture
def hasty(servers: ReplicatedServer, plain: redis.Redis) -> Iterator[redis.Redis]:
    """A client of a primary whose replica lags; it waits a moment only."""
    servers.lag()
    with state_client(servers.primary.url, confirmation=CONFIRMATION) as client:
        yield client
    servers.catch_up()


def in_transaction(client: redis.Redis) -> Any:
    pipe = client.pipeline()
    pipe.hset("hash", mapping={"a": 1})
    pipe.hgetall("hash")
    pipe.get("none")
    return pipe.execute()


def in_pipeline(client: redis.Redis) -> Any:
    pipe = client.pipeline(transaction=False)
    pipe.zadd("zset", {"a": 1})
    pipe.zrange("zset", 0, -1, withscores=True)
    return pipe.execute()


def by_script(client: redis.Redis) -> Any:
    return client.register_script("redis.call('SET', KEYS[1], ARGV[1]) return {1, ARGV[1]}")(["script"], ["x"])


def by_script_in_transaction(client: redis.Redis) -> Any:
    pipe = client.pipeline()
    client.register_script("return redis.call('INCR', KEYS[1])")(["n"], client=pipe)
    return pipe.execute()


def read_group(client: redis.Redis) -> Any:
    client.xadd("stream", {"a": "1"}, id="1-0")
    client.xgroup_create("stream", "group", id="0")
    return client.xreadgroup("group", "me", {"stream": ">"}), client.xreadgroup("group", "me", {"stream": ">"})


CALLS: list[Call] = [
    lambda client: client.set("a", "1", ex=60),
    lambda client: client.set("a", "1", nx=True) and client.set("a", "1", nx=True),
    lambda client: client.hset("hash", mapping={"a": 1, "b": 2}),
    in_transaction,
    in_pipeline,
    by_script,
    by_script_in_transaction,
    read_group,
]


@pytest.mark.parametrize("call", CALLS)
def test_answers_are_those_of_any_client(servers: ReplicatedServer, client: redis.Redis, call: Call) -> None:
    confirmed = call(client)
    with servers.primary.client() as plain:
        plain.flushall()
        plain.script_flush()
        assert confirmed == call(plain)
        plain.flushall()
        plain.script_flush()
        # As the first call after a restart, which knows no script.
        assert confirmed == call(client)


@pytest.mark.parametrize("call", CALLS)
def test_a_write_that_the_replica_does_not_have_is_an_error(hasty: redis.Redis, call: Call) -> None:
    with pytest.raises(Unconfirmed, match=r"^0 of 1 replicas confirmed within 100 ms\. Remedy: "):
        call(hasty)


def failing_pipeline(client: redis.Redis) -> Any:
    pipe = client.pipeline(transaction=False)
    pipe.set("text", "x")
    pipe.incr("text")
    return pipe.execute()


def failing_transaction(client: redis.Redis) -> Any:
    pipe = client.pipeline()
    pipe.set("text", "x")
    pipe.incr("text")
    return pipe.execute()


def refused_transaction(client: redis.Redis) -> Any:
    pipe = client.pipeline()
    pipe.execute_command("SET", "only-a-key")  # type: ignore[no-untyped-call]
    return pipe.execute()


def failing_command(client: redis.Redis) -> Any:
    client.set("text", "x")
    return client.incr("text")


@pytest.mark.parametrize("call", [failing_command, failing_pipeline, failing_transaction, refused_transaction])
def test_errors_are_those_of_any_client(client: redis.Redis, plain: redis.Redis, call: Call) -> None:
    with pytest.raises(redis.ResponseError) as wanted:
        call(plain)
    with pytest.raises(redis.ResponseError) as raised:
        call(client)
    assert (type(raised.value), str(raised.value)) == (type(wanted.value), str(wanted.value))


def test_each_command_may_fail_by_itself(client: redis.Redis) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.set("text", "x")
    pipe.incr("text")
    pipe.get("text")
    done, failed, read = pipe.execute(raise_on_error=False)
    assert (done, read, type(failed)) == (True, b"x", redis.ResponseError)


def test_what_only_reads_is_answered_while_no_replica_is_there(hasty: redis.Redis, plain: redis.Redis) -> None:
    plain.hset("hash", "a", "1")
    pipe = hasty.pipeline()
    pipe.hgetall("hash")
    pipe.ttl("hash")
    assert (hasty.hget("hash", "a"), pipe.execute()) == (b"1", [{b"a": b"1"}, -1])


def test_a_call_that_finds_its_work_done_is_confirmed_too(hasty: redis.Redis) -> None:
    # It writes nothing, and its connection has written nothing: WAIT alone would return at once.
    for _ in range(2):
        with pytest.raises(Unconfirmed):
            hasty.sadd("set", "a")
    assert hasty.smembers("set") == {b"a"}


def test_what_a_group_was_waiting_for_is_confirmed(hasty: redis.Redis, plain: redis.Redis) -> None:
    plain.xgroup_create("stream", "group", id="0", mkstream=True)
    event = threading.Thread(target=until, args=[lambda: blocked(plain) and plain.xadd("stream", {"a": "1"})])
    event.start()
    with pytest.raises(Unconfirmed):
        hasty.xreadgroup("group", "me", {"stream": ">"}, block=20_000)
    event.join()
    assert hasty.xpending("stream", "group")["pending"] == 1


def blocked(client: redis.Redis) -> bool:
    return int(client.info("clients")["blocked_clients"]) > 0


def test_a_group_that_has_nothing_new_is_told_so(hasty: redis.Redis, plain: redis.Redis) -> None:
    plain.xgroup_create("stream", "group", id="0", mkstream=True)
    assert not hasty.xreadgroup("group", "me", {"stream": ">"})


def test_an_unconfirmed_write_leaves_the_server_that_it_was_told_to(hasty: redis.Redis) -> None:
    before = hasty.client_id()
    with pytest.raises(Unconfirmed):
        hasty.set("a", "1")
    assert hasty.client_id() != before


def test_a_lost_reply_repeats_the_write_and_its_confirmation(servers: ReplicatedServer, plain: redis.Redis) -> None:
    proxy = Proxy("127.0.0.1", servers.primary.port)
    try:
        with state_client(proxy.url(servers.primary.url), confirmation=CONFIRMATION) as client:
            proxy.drop_replies(b"INCR", times=1)
            assert client.incr("n") == 2
            servers.lag()
            proxy.drop_replies(b"INCR", times=1)
            with pytest.raises(Unconfirmed):
                client.incr("n")
            assert proxy.fired == 2
    finally:
        servers.catch_up()
        proxy.close()


def test_the_state_is_unavailable_with_one_line_that_names_the_remedy(hasty: redis.Redis) -> None:
    with pytest.raises(StateUnavailable) as raised, state_errors():
        hasty.set("a", "1")
    assert raised.value.reason == "unconfirmed"
    assert str(raised.value) == (
        "state server: 0 of 1 replicas confirmed within 100 ms. Remedy: attempt-bridge doctor names the replicas; "
        "repeat the call, it is safe"
    )


def test_a_server_without_replicas_confirms_nothing(server: Any) -> None:
    with state_client(server.url, confirmation=CONFIRMATION) as client, pytest.raises(Unconfirmed):
        client.set("a", "1")


def test_a_mark_that_the_server_refuses_confirms_nothing(server: Any) -> None:
    with server.client() as plain:
        plain.execute_command("ACL", "SETUSER", "default", "resetkeys", "~a")
        try:
            client = ConfirmingClient(plain, CONFIRMATION)
            with pytest.raises(Unconfirmed, match=r"^none of 1"):
                client.set("a", "1")
        finally:
            plain.execute_command("ACL", "SETUSER", "default", "allkeys")


def test_watching_keys_is_refused(client: redis.Redis) -> None:
    with pytest.raises(NotImplementedError, match="write a script instead"):
        client.pipeline().watch("a")


def test_scripts_that_are_called_read_only_have_no_command_that_writes(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without those of mutants that other tests have registered in this process.
    monkeypatch.setattr(scripts, "READ_ONLY", set())
    Retention(client)
    History(client)
    Expectations(client, Watches(client))
    files = [path.read_text() for path in Path(scripts.__file__).parents[1].rglob("*.lua")]
    marked = [text for text in files if sha1(text.encode()).hexdigest() in scripts.READ_ONLY]
    assert len(marked) == len(scripts.READ_ONLY) == 3
    called = {name for text in marked for name in re.findall(r"redis\.p?call\(\s*['\"]?(\w+)", text)}
    assert called
    assert not [name for name in called if is_write((name,))]


def test_whatever_is_not_known_to_read_is_confirmed() -> None:
    assert [is_write((name, "key")) for name in ("GET", "XINFO STREAM", "SCRIPT LOAD")] == [False] * 3
    assert [is_write((name, "key")) for name in ("XGROUP CREATE", "EVALSHA", "GETDEL", "TOMORROWS.COMMAND")] == [
        True
    ] * 4
