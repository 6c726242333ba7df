"""After an erasure, the embedded server's files hold no byte of the person; after a restart, nor does its memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from bridge.services import Services
from bridge.state import keys
from bridge.state.embedded_server import EmbeddedServer
from tests.support.clients import clients_over
from tests.support.dispatch import dispatching
from tests.support.erasing import (
    OTHER,
    SAM,
    Named,
    fill,
    finish,
    make_client,
    make_services,
    places_of,
    receive,
    traces,
)
from tests.support.waiting import until


@pytest.fixture
def embedded(starts_servers: None, starts_processes: None, tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    yield server
    server.stop()


def client_of(embedded: EmbeddedServer) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(embedded.socket), socket_timeout=10)


def files_with(directory: Path, person: Named) -> dict[str, int]:
    """File -> how many of the person's values it holds."""
    texts = list(traces(person))
    held = {
        path.name: sum(text in path.read_bytes() for text in texts) for path in directory.rglob("*") if path.is_file()
    }
    return {name: number for name, number in held.items() if number}


def memory_with(state: redis.Redis, directory: Path, person: Named) -> dict[str, int]:
    """What the server's memory holds, as it writes it into a file that is not compressed."""
    state.config_set("rdbcompression", "no")
    state.save()
    dump = directory / "dump.rdb"
    try:
        return {name: number for name, number in files_with(directory, person).items() if name == dump.name}
    finally:
        dump.unlink()


def services_over(embedded: EmbeddedServer, state: redis.Redis, folder: Path) -> Services:
    services = make_services(state, folder)
    bridge = replace(services.config.bridge, data_dir=embedded.data_dir)
    config = replace(services.config, bridge=bridge)
    return replace(services, config=config, state_url=embedded.state_url, clients=clients_over(state))


@pytest.mark.long
def test_no_byte_is_left_on_disk_and_after_a_restart_in_memory(embedded: EmbeddedServer, tmp_path: Path) -> None:
    state, directory = client_of(embedded), embedded.data_dir
    services = services_over(embedded, state, tmp_path)
    client = make_client(services)
    fill(services, client, OTHER)
    fill(services, client, SAM)
    others = places_of(state, OTHER)
    assert files_with(directory, SAM)
    answer = client.post("/api/v1/erasures", json={"source": "eu", "email": SAM.email})
    until(lambda: finish(services, steps=1000) is None)
    row = client.get(f"/api/v1/erasures/{answer.json['id']}").json
    assert (row["state"], row["report"]["server"]) == ("done", "embedded")
    assert row["report"]["off_disk"] <= row["updated"] < row["report"]["out_of_memory"]
    assert files_with(directory, SAM) == {}
    assert files_with(directory, OTHER)
    # A deleted entry of a stream stays in its block: the report says until when, and what ends it at once.
    assert memory_with(state, directory, SAM)
    # Written anew at any time, the file is clean.
    state.bgrewriteaof()
    until(lambda: state.info("persistence")["aof_rewrite_in_progress"] == 0)
    assert files_with(directory, SAM) == {}
    state.close()
    embedded.stop()
    embedded.start()
    state = client_of(embedded)
    assert memory_with(state, directory, SAM) == {}
    assert memory_with(state, directory, OTHER)
    assert places_of(state, OTHER) == others
    assert state.xinfo_groups(keys.journal(0))
    state.close()


def test_a_dispatch_process_erases_and_a_server_of_somebody_else_is_not_told_to_write_its_file(
    state: redis.Redis, tmp_path: Path
) -> None:
    services = make_services(state, tmp_path)
    services = replace(services, config=replace(services.config, subscriptions={}))
    client = make_client(services)
    receive(services, client, SAM)
    answer = client.post("/api/v1/erasures", json={"source": "eu", "candidate": SAM.user})
    with dispatching(services):
        until(lambda: not services.erasures.running())
    report = client.get(f"/api/v1/erasures/{answer.json['id']}").json["report"]
    assert places_of(state, SAM) == {}
    assert report["server"] == "external"
    assert report["off_disk"] is None
    assert report["out_of_memory"] > report["ended"]
    assert "BGREWRITEAOF" in report["remedy"]
    assert state.config_get("aof-use-rdb-preamble") == {"aof-use-rdb-preamble": "yes"}
