"""A state server whose files are cut off, whose disk is full, or that is killed while dead letters are replayed."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.store import Deliveries
from bridge.errors import StateUnavailable
from bridge.journal import Journal
from bridge.journal.reading import Reader
from bridge.state import keys
from bridge.state.client import state_client
from tests.support.comparison import reconcile
from tests.support.dispatch import Receiver, at, even, lane, publish, refuse, replay_all, scheduled
from tests.support.journal import entry
from tests.support.servers import Server, need_program

pytestmark = pytest.mark.usefixtures("starts_servers")

Record = Callable[[str, object], None]


@pytest.fixture(params=["bundled", "distribution"])
def binary(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "bundled" else need_program("redis-server")


def growing_file(directory: Path) -> Path:
    (result,) = (directory / "appendonlydir").glob("*.incr.aof")
    return result


def test_a_publish_that_is_cut_off_anywhere_in_the_file_is_whole_or_not_there(
    tmp_path: Path, binary: str | None, record_property: Record
) -> None:
    server = Server(tmp_path / "whole", binary=binary)
    try:
        with server.client() as client:
            for number in range(3):
                Journal(client).publish(entry(number), now=1.0)
            before = growing_file(server.directory).stat().st_size
            Journal(client).publish(entry(3), now=1.0)
            after = growing_file(server.directory).stat().st_size
    finally:
        server.close()
    there = Counter[int]()
    # In each command at least once: the last, EXEC, is shorter than the steps.
    cuts = (*range(before, after, 31), after - 1)
    for size in (*cuts, after):
        copy = tmp_path / f"cut-{size}"
        shutil.copytree(server.directory / "appendonlydir", copy / "appendonlydir")
        os.truncate(growing_file(copy), size)
        again = Server(copy, binary=binary)
        try:
            with again.client() as client:
                counts = reconcile(client, acked={("eu", f"link:{number}") for number in range(3)})
                assert counts.wrong == {}, size
                there[counts.in_journal] += 1
                # Sent again after the 503 that nobody got: one event, as before.
                Journal(client).publish(entry(3), now=1.0)
                assert [event.attempt for event in Reader(client).events(newest_first=False)] == [
                    f"link:{number}" for number in range(4)
                ], size
        finally:
            again.close()
        shutil.rmtree(copy)
    record_property("faults", counts.line(cuts=there.total(), without_it=there[3], with_it=there[4]))
    assert there[3] >= len(cuts) - 1
    assert there[4] >= 1


@pytest.fixture
def small_disk(starts_processes: None, tmp_path: Path) -> Iterator[Path]:
    """2 MB of memory as a disk; `mount -o remount,size=40m` makes space."""
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(where)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def test_when_the_disk_is_full_nothing_more_is_acknowledged_and_nothing_acknowledged_is_lost(
    small_disk: Path, binary: str | None, record_property: Record
) -> None:
    server = Server(small_disk / "server", binary=binary)
    client = state_client(server.url)
    journal, acked = Journal(client), set()
    try:
        full: StateUnavailable | None = None
        for number in range(20_000):
            try:
                journal.publish(entry(number), now=1.0)
            except StateUnavailable as error:
                full = error
                break
            acked.add(("eu", f"link:{number}"))
        assert full is not None, "the disk was never full"
        assert len(acked) > 1000
        subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
        # With `appendfsync always` the server cannot go on after a failed write: it ended, and is started again.
        assert server.process.wait(30) != 0
        server.start()
        refused = len(acked)
        journal.publish(entry(refused), now=1.0)
        acked.add(("eu", f"link:{refused}"))
        counts = reconcile(client, acked=acked)
    finally:
        client.close()
        server.close()
    record_property("faults", counts.line())
    assert counts.wrong == {}
    assert counts.in_journal == len(acked)


def test_replays_by_three_at_once_while_the_server_is_killed_move_each_dead_letter_once(own_server: Server) -> None:
    once = Subscription(name="crm", transport="http", retry=RetryPolicy(schedule=()))
    with own_server.client() as client:
        ids = publish(client, *range(600))
        failing = lane(client, Receiver(refuse, batch=100), subscription=once)
        while client.xlen(keys.dead("crm")) < len(ids):
            failing.step(at(1000.0), even)
            Deliveries(client).resume("crm")
    faults = []

    def press() -> None:
        mine = redis.Redis.from_url(own_server.url, socket_timeout=5)
        try:
            replay_all(Deliveries(mine), "crm", now=1000.0)
        except StateUnavailable as error:
            faults.append(error)
        finally:
            mine.close()

    people = [threading.Thread(target=press) for _ in range(3)]
    for thread in people:
        thread.start()
    with own_server.client() as client:
        while not 0 < client.zcard(keys.retry("crm")) < len(ids):
            assert any(thread.is_alive() for thread in people), "all was replayed before the server could be killed"
    own_server.kill9()
    for thread in people:
        thread.join()
    assert len(faults) == 3
    own_server.start()
    with own_server.client() as client:
        deliveries = Deliveries(client)
        left = [letter.delivery.id for letter in deliveries.dead_letters("crm", limit=None)]
        moved = [delivery.id for delivery in scheduled(client, "crm")]
        assert moved
        assert left
        assert Counter([*left, *moved]) == Counter(ids)
        assert replay_all(deliveries, "crm", now=1000.0) == len(left)
        receiver = Receiver(batch=100)
        mended = lane(client, receiver, subscription=once, consumer="two")
        while deliveries.state("crm", now=1001.0).retrying:
            mended.step(at(1001.0), even)
        assert Counter(receiver.ids) == Counter(ids)
