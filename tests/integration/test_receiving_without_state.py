"""A state server that is down, stalled, full, read-only or loading: every webhook is answered 503, and none is lost."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import API_TOKEN, Web, exchange_together, journal_attempts, post, result

pytestmark = pytest.mark.usefixtures("starts_processes")


@pytest.fixture
def web(own_server: Server, tmp_path: Path) -> Iterator[Web]:
    web = Web(tmp_path / "web", own_server.url)
    yield web
    web.close()


@pytest.fixture
def control(own_server: Server) -> Iterator[redis.Redis]:
    client = own_server.client()
    yield client
    client.close()


def test_while_the_server_stalls_every_webhook_is_postponed_and_afterwards_published_once(
    own_server: Server, web: Web, control: redis.Redis
) -> None:
    numbers = range(1, 201)
    assert web.exchange(post("/webhooks/eu", result(1))).outcome == "published"
    own_server.stop()
    try:
        postponed = exchange_together(web, numbers)
        assert web.get("/livez").status == 200
        assert web.get("/readyz").status == 503
    finally:
        own_server.cont()
    assert Counter(answer.status for answer in postponed) == {503: 200}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in postponed)
    until(web.is_ready)
    again = exchange_together(web, numbers)
    # What the stalled server had in its socket was done after all: those come as duplicates.
    assert {answer.outcome for answer in again} <= {"published", "duplicate"}
    assert Counter(journal_attempts(control)) == {f"link:{number}": 1 for number in numbers}


def test_while_the_server_is_down_webhooks_are_postponed(own_server: Server, web: Web, control: redis.Redis) -> None:
    assert web.exchange(post("/webhooks/eu", result(1))).outcome == "published"
    own_server.kill9()
    assert {answer.status for answer in exchange_together(web, range(1, 51))} == {503}
    own_server.start()
    until(web.is_ready)
    outcomes = Counter(answer.outcome for answer in exchange_together(web, range(1, 51)))
    assert outcomes == {"duplicate": 1, "published": 49}
    assert sorted(journal_attempts(control)) == sorted(f"link:{number}" for number in range(1, 51))


@pytest.mark.parametrize(
    ("fault", "cure"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), ("CONFIG", "SET", "maxmemory-policy", "noeviction")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    ],
    ids=["out of memory", "evicting", "read-only", "too few replicas"],
)
def test_while_the_server_refuses_to_write_webhooks_are_postponed(
    web: Web, control: redis.Redis, fault: tuple[str, ...], cure: tuple[str, ...]
) -> None:
    assert web.exchange(post("/webhooks/eu", result(1))).outcome == "published"
    control.execute_command(*fault)
    # One truth for webhooks and readiness.
    until(lambda: web.get("/readyz").status == 503)
    answers = exchange_together(web, range(2, 22))
    assert {answer.status for answer in answers} == {503}
    assert {answer.body for answer in answers} == {b"{}"}
    assert web.get("/readyz").status == 503
    control.execute_command(*cure)
    until(lambda: web.get("/readyz").status == 200)
    assert {answer.outcome for answer in exchange_together(web, range(2, 22))} == {"published"}
    assert sorted(journal_attempts(control)) == sorted(f"link:{number}" for number in range(1, 22))


def test_while_the_server_loads_webhooks_are_postponed(own_server: Server, web: Web, control: redis.Redis) -> None:
    pipe = control.pipeline(transaction=False)
    for number in range(30_000):
        pipe.set(f"filler:{number}", "x")
    pipe.execute()
    own_server.kill9()
    slowly = [*own_server.args, "--key-load-delay", "100"]
    own_server.process = subprocess.Popen(slowly, stdout=own_server.log, stderr=own_server.log)

    def loads() -> bool:
        try:
            control.ping()
        except redis.exceptions.BusyLoadingError:
            return True
        except redis.ConnectionError:
            return False
        pytest.fail("the server was loaded before anybody looked")

    until(loads)
    assert web.exchange(post("/webhooks/eu", result(1))).status == 503
    until(web.is_ready)
    assert web.exchange(post("/webhooks/eu", result(1))).outcome == "published"


def test_a_server_that_may_delete_data_is_not_ready(web: Web, control: redis.Redis) -> None:
    control.config_set("maxmemory-policy", "allkeys-lru")
    until(lambda: web.get("/readyz").status == 503)
    answer = web.get("/readyz?verbose", Authorization=f"Bearer {API_TOKEN}")
    assert b"[-]state failed: maxmemory-policy allkeys-lru: the server would evict events" in answer.body
    control.config_set("maxmemory-policy", "noeviction")
    until(lambda: web.get("/readyz?verbose").body.startswith(b"[+]state ok\n[+]web ok: heartbeat "))
