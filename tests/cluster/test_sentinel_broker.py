"""Worker, beat and dispatch with state and broker behind Sentinel: they go on when the primary is killed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from bridge.state.client import state_client
from tests.support.polling import journal
from tests.support.sentinel import SentinelGroup
from tests.support.servers import Server
from tests.support.workers import listing_vendor, running_parts, stop, wait_for

pytestmark = pytest.mark.usefixtures("starts_processes")


def test_when_the_primary_is_killed_polls_and_deliveries_go_on(group: SentinelGroup, tmp_path: Path) -> None:
    with (
        listing_vendor() as vendor,
        running_parts(tmp_path, group.address(0), group.address(1), vendor.url) as start,
    ):
        worker, beat, dispatch = start("worker"), start("beat"), start("dispatch")
        vendor.rows.append({"id": "1", "finished": int(time.time()) - 100, "score": 10, "graded": True})
        with state_client(group.address(0)) as client:
            wait_for(lambda: len(journal(client)) == 1, worker, beat)
        primary = group.primary()
        primary.kill9()
        group.wait_for_another(primary)
        vendor.rows.append({"id": "2", "finished": int(time.time()) - 50, "score": 10, "graded": True})
        with state_client(group.address(0)) as client:

            def published() -> list[str]:
                try:
                    return [attempt for _, attempt in journal(client)]
                except redis.ConnectionError:
                    return []

            wait_for(lambda: published() == ["a:1", "a:2"], worker, beat)
            for process in ("worker", "beat"):
                wait_for(lambda process=process: client.ttl(f"ab:heartbeat:{process}") > 0, worker, beat)
            queued = redis.Redis(port=group.primary().port, db=1)
            wait_for(lambda: queued.llen("gradebook") >= 2, dispatch)
            queued.close()
        for process in (worker, beat, dispatch):
            stop(process)


def test_without_a_sentinel_that_answers_the_worker_logs_one_line_and_goes_on(
    own_server: Server, tmp_path: Path
) -> None:
    with running_parts(tmp_path, own_server.url, "redis+sentinel://:CANARY@127.0.0.1:1/m/1", "http://x") as start:
        worker = start("worker")
        wait_for(lambda: "no sentinel names a running primary. Remedy: " in worker.log.read_text(), worker)
        log = worker.log.read_text()
        assert worker.poll() is None
        assert "CANARY" not in log
        assert "redis.client" not in log
