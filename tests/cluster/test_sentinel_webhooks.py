"""A primary that is killed or stalled under webhooks: sentinels name another one, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bridge.state.client import state_client
from tests.support.comparison import reconcile
from tests.support.sentinel import SentinelGroup
from tests.support.servers import Server
from tests.support.traffic import Traffic
from tests.support.waiting import until
from tests.support.web import Web

pytestmark = pytest.mark.usefixtures("starts_processes")

Record = Callable[[str, object], None]


@pytest.fixture
def web(group: SentinelGroup, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Web]:
    """With confirmation by a replica, unless a test asks for `local`: then a further failover may lose something."""
    durability = "{ack: local}" if getattr(request, "param", "") == "local" else "{ack: replica, within: 500ms}"
    web = Web(tmp_path / "web", group.address(0), durability=durability)
    yield web
    web.close()


def acknowledges_more(traffic: Traffic, count: int = 100) -> Callable[[], bool]:
    before = len(traffic.acked)
    return lambda: len(traffic.acked) >= before + count


def appended(server: Server) -> int | None:
    """The entries of streams that a primary has appended since it started; None if it is a primary no longer."""
    with server.client() as client:
        try:
            if client.info("replication")["role"] != "master":
                return None
            return int(client.info("commandstats").get("cmdstat_xadd", {"calls": 0})["calls"])
        except redis.ConnectionError:
            # When its role changes it closes the connections of clients.
            return None


@pytest.mark.parametrize("fault", [Server.kill9, Server.stop], ids=["killed", "stalled"])
def test_while_a_primary_is_replaced_webhooks_are_postponed_and_none_is_lost(
    group: SentinelGroup, web: Web, record_property: Record, fault: Callable[[Server], None]
) -> None:
    primary = group.primary()
    with Traffic(web) as traffic:
        until(acknowledges_more(traffic))
        fault(primary)
        group.wait_for_another(primary)
        until(acknowledges_more(traffic))
    with state_client(group.address(0)) as client:
        counts = reconcile(client, acked=traffic.acked)
    record_property("faults", counts.line(**traffic.line()))
    assert set(traffic.statuses) == {200, 503}
    assert counts.wrong == {}


@pytest.mark.parametrize("web", ["local"], indirect=True)
def test_a_stalled_primary_that_wakes_after_its_replacement_gets_no_webhook(
    group: SentinelGroup, web: Web, record_property: Record
) -> None:
    """It acknowledges for up to ten seconds what it drops when a sentinel makes it a replica."""
    primary = group.primary()
    with Traffic(web) as before:
        until(acknowledges_more(before))
    at_first = appended(primary)
    # Without webhooks, only the probe of web notices.
    primary.stop()
    group.wait_for_another(primary)
    until(lambda: web.get("/readyz").status == 200)
    primary.cont()
    seen: list[int | None] = []
    with Traffic(web, first=100_000, senders=1) as traffic:
        until(lambda: seen.append(appended(primary)) or seen[-1] is None)
        until(acknowledges_more(traffic))
    with state_client(group.address(0)) as client:
        counts = reconcile(client, acked=before.acked | traffic.acked)
    record_property("faults", counts.line(**traffic.line()))
    assert set(traffic.statuses) <= {200, 503}
    assert set(seen) == {at_first, None}
    assert counts.doubled == 0
