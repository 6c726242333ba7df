"""`ack: replica`: a webhook is answered 200 when a replica has it, and 503 otherwise, at once for all that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from bridge.state import keys
from tests.support.replicas import ReplicatedServer, replicated
from tests.support.waiting import until
from tests.support.web import API_TOKEN, Web, exchange_together, journal_attempts, post, result

pytestmark = pytest.mark.usefixtures("starts_processes", "starts_servers")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ReplicatedServer]:
    with replicated(tmp_path / "servers") as servers:
        yield servers


@pytest.fixture
def web(servers: ReplicatedServer, tmp_path: Path) -> Iterator[Web]:
    web = Web(tmp_path / "web", servers.primary.url, durability="{ack: replica, within: 250ms}")
    until(web.is_ready)
    yield web
    web.close()


def outcomes(web: Web, numbers: Sequence[int]) -> set[str]:
    """Of webhooks that are sent until all are accepted: on a busy disk a replica may be late."""

    def accepted() -> set[str]:
        answers = exchange_together(web, numbers)
        return {answer.outcome for answer in answers} if {answer.status for answer in answers} == {200} else set()

    return until(accepted)


def attempts(servers: ReplicatedServer) -> Counter[str]:
    with servers.replica.client() as replica:
        return Counter(journal_attempts(replica))


def test_while_the_replica_lags_every_webhook_is_postponed_and_afterwards_published_once(
    servers: ReplicatedServer, web: Web
) -> None:
    assert outcomes(web, [1]) <= {"published", "duplicate"}
    assert attempts(servers) == {"link:1": 1}
    numbers = range(1, 101)
    servers.lag()
    try:
        for _ in range(2):
            postponed = exchange_together(web, numbers)
            assert Counter(answer.status for answer in postponed) == {503: 100}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in postponed)
        until(lambda: web.get("/readyz").status == 503)
        assert web.get("/livez").status == 200
        reason = web.get("/readyz", Authorization=f"Bearer {API_TOKEN}").body.decode()
        assert "0 of 1 replicas confirmed within 250 ms. Remedy: " in reason
        refused = web.exchange(
            b"POST /api/v1/sources/eu/resume HTTP/1.1\r\nHost: bridge\r\nContent-Length: 0\r\n"
            b"Authorization: Bearer %b\r\n\r\n" % API_TOKEN.encode()
        )
        assert (refused.status, int(refused.headers["retry-after"]) > 0) == (503, True)
        read = web.get("/api/v1/events", Authorization=f"Bearer {API_TOKEN}")
        assert read.status == 200
    finally:
        servers.catch_up()
    assert outcomes(web, numbers) <= {"published", "duplicate"}
    assert attempts(servers) == {f"link:{number}": 1 for number in numbers}
    metrics = web.get("/metrics", Authorization=f"Bearer {API_TOKEN}").body.decode()
    assert float(metrics.partition("\nbridge_unconfirmed_writes_total ")[2].split()[0]) > 0


def test_the_gate_stays_closed_until_a_replica_confirms(servers: ReplicatedServer, web: Web) -> None:
    before, beats = len(web.log.read_text()), set[object]()
    servers.lag()
    try:
        assert web.exchange(post("/webhooks/eu", result(7))).status == 503
        # The server itself answers: a probe that only asks would open the gate, and the next webhooks would wait.
        with servers.primary.client() as primary:

            def probed() -> bool:
                beats.add(primary.get(keys.heartbeat("web")))
                return len(beats) >= 4

            until(probed)
        assert web.exchange(post("/webhooks/eu", result(7))).status == 503
        assert "state_available_again" not in web.log.read_text()[before:]
    finally:
        servers.catch_up()
    assert outcomes(web, [7]) <= {"published", "duplicate"}
    assert attempts(servers) == {"link:7": 1}


def test_without_a_single_replica_nothing_is_accepted(own_server: object, tmp_path: Path) -> None:
    url = own_server.url  # type: ignore[attr-defined]
    web = Web(tmp_path / "web", url, durability="{ack: replica, replicas: 1, within: 50ms}")
    try:
        assert web.exchange(post("/webhooks/eu", result(1))).status == 503
        with redis.Redis.from_url(url) as state:
            assert journal_attempts(state) == []
    finally:
        web.close()
