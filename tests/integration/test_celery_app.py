"""Worker and beat as real processes over a real server: ticks become polls, faults pass, SIGTERM ends them cleanly."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.polling.worker_jobs import TEST, WorkerJob, WorkerJobs
from tests.support.polling import journal
from tests.support.workers import ListingVendor, stop, wait_for

pytestmark = pytest.mark.usefixtures("starts_processes")


def _row(number: int, *, graded: bool = True) -> dict[str, Any]:
    return {"id": f"{number}", "finished": int(time.time()) - 100 + number, "score": 10, "graded": graded}


@contextmanager
def _client(own_server: Any) -> Iterator[redis.Redis]:
    client = own_server.client()
    yield client
    client.close()


def _run_job(client: redis.Redis, *processes: Any) -> None:
    """What the API stores is found by a tick, passes the worker's filter of messages, and ends."""
    jobs, ident = WorkerJobs(client), "eu-little/1"
    jobs.add(WorkerJob(id=ident, kind=TEST, source="eu-little", created=time.time()))
    wait_for(lambda: (job := jobs.get(ident)) and job.state == "done", *processes)


def test_ticks_become_polls_rechecks_and_jobs_and_both_processes_end_on_sigterm(
    start_part: Any, own_server: Any, vendor: ListingVendor, tmp_path: Path
) -> None:
    vendor.rows += [_row(number, graded=number != 2) for number in range(5)]
    worker, beat = start_part("worker"), start_part("beat")
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 5, worker, beat)
        assert sorted(attempt for _, attempt in journal(client)) == [f"a:{number}" for number in range(5)]

        # The watch of this test's vendor is due after 60 s; the clock of a real process cannot be turned.
        client.zadd("ab:{eu-little}:watch:rereads", {"a:2": time.time()}, xx=True)
        wait_for(lambda: "/one" in vendor.asked, worker, beat)
        vendor.rows[2]["graded"] = True
        wait_for(lambda: ("attempt.revised", "a:2") in journal(client), worker, beat)

        # One more full turn after the news: nothing is published again.
        asked = len(vendor.asked)
        wait_for(lambda: len(vendor.asked) >= asked + 6, worker, beat)
        assert len(journal(client)) == 6
        _run_job(client, worker, beat)
        for process in ("worker", "beat"):
            wait_for(lambda process=process: client.ttl(f"ab:heartbeat:{process}") > 0, worker, beat)
    stop(worker)
    stop(beat)
    assert [path.name for path in tmp_path.iterdir() if "celerybeat" in path.name] == []


def test_two_beats_and_two_workers_poll_no_more_often_than_one(
    start_part: Any, own_server: Any, vendor: ListingVendor
) -> None:
    vendor.rows.append(_row(1))
    processes = [start_part("worker", every=3600), start_part("worker", every=3600), start_part("beat", every=3600)]
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 1, *processes)
        # A beat starts by sending everything, housekeeping too; what was polled a moment ago is left alone.
        tidied = "".join(process.log.read_text() for process in processes).count("housekeeping ")
        processes.append(start_part("beat", every=3600))
        wait_for(
            lambda: "".join(process.log.read_text() for process in processes).count("housekeeping ") > tidied,
            *processes,
        )
        broker = redis.Redis.from_url(own_server.broker_url)
        wait_for(lambda: broker.llen("attempt-bridge") == 0, *processes)
        broker.close()
    for process in processes:
        stop(process)
    assert vendor.asked == ["/results"]


def test_a_worker_that_is_killed_in_a_poll_leaves_nothing_lost_or_doubled(
    start_part: Any, own_server: Any, vendor: ListingVendor
) -> None:
    vendor.rows += [_row(number) for number in range(5)]
    vendor.hold.clear()
    worker, beat = start_part("worker"), start_part("beat")
    wait_for(lambda: vendor.asked, worker, beat)
    worker.kill()
    worker.wait()
    vendor.hold.set()
    with _client(own_server) as client:
        assert journal(client) == []
        # Its lease would end by itself after a while; the test does not wait for that.
        assert client.delete("ab:lease:poll:eu-little") == 1
        worker = start_part("worker")
        wait_for(lambda: len(journal(client)) == 5, worker, beat)
        assert len({attempt for _, attempt in journal(client)}) == 5


def test_worker_and_beat_go_on_by_themselves_after_the_server_was_away(
    start_part: Any, own_server: Any, vendor: ListingVendor
) -> None:
    vendor.rows.append(_row(1))
    worker, beat = start_part("worker"), start_part("beat")
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 1, worker, beat)
    own_server.kill9()
    own_server.start()
    vendor.rows.append(_row(2))
    with _client(own_server) as client:
        wait_for(lambda: len(journal(client)) == 2, worker, beat, seconds=90)
        client.delete("ab:heartbeat:worker")
        wait_for(lambda: client.get("ab:heartbeat:worker"), worker, beat, seconds=60)


def test_ticks_that_nobody_took_in_time_are_thrown_away(
    start_part: Any, own_server: Any, vendor: ListingVendor
) -> None:
    beat = start_part("beat", every=0.5)
    broker = redis.Redis.from_url(own_server.broker_url)
    wait_for(lambda: broker.llen("attempt-bridge") >= 4, beat)
    expires = [json.loads(message)["headers"]["expires"] for message in broker.lrange("attempt-bridge", 0, -1)]
    broker.close()
    assert all(expires)
