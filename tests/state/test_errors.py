"""What the state server says in an error decides whether it is away or whether a script of ours is wrong."""

from __future__ import annotations

import pytest
import redis

from bridge.errors import StateUnavailable
from bridge.state.errors import state_errors
from tests.support.servers import Server


@pytest.mark.parametrize(
    "script",
    [
        "local many = {} for i = 1, 9000 do many[i] = i end return {unpack(many)}",
        "return redis.call('HMGET')",
        "return nothing.at_all",
        "error('x')",
    ],
)
def test_a_fault_of_a_script_is_not_a_state_server_that_is_away(state: redis.Redis, script: str) -> None:
    with pytest.raises(redis.ResponseError), state_errors():
        state.register_script(script)()


@pytest.mark.parametrize("command", ["HGET", "LPUSH"])
def test_a_damaged_key_is_trouble_of_the_state_server(state: redis.Redis, command: str) -> None:
    state.set("k", "v")
    with pytest.raises(StateUnavailable), state_errors():
        state.register_script(f"return redis.call('{command}', KEYS[1], 'a')")(keys=["k"])
    with pytest.raises(StateUnavailable), state_errors():
        state.execute_command(command, "k", "a")


def test_a_script_whose_slot_moves_has_no_fault() -> None:
    text = "Attempted to access a non local key in a cluster node script: 1c, on @user_script:98."
    with pytest.raises(StateUnavailable), state_errors():
        raise redis.ResponseError(text)


def test_a_script_that_finds_no_room_or_a_read_only_server_is_trouble_of_the_state_server(own_server: Server) -> None:
    client = own_server.client()
    write = client.register_script("return redis.call('SET', 'k', string.rep('x', 100000))")
    client.config_set("maxmemory", "1")
    with pytest.raises(StateUnavailable), state_errors():
        write()
    client.config_set("maxmemory", "0")
    client.replicaof("127.0.0.1", "1")
    with pytest.raises(StateUnavailable), state_errors():
        write()
    client.config_set("replica-serve-stale-data", "no")
    with pytest.raises(StateUnavailable), state_errors():
        write()
    own_server.kill9()
    with pytest.raises(StateUnavailable), state_errors():
        write()
