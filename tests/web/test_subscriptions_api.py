"""`/api/v1/subscriptions`: what is shown without secrets; pausing, resuming, forgetting; the command over the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import cli, clock
from bridge.config.model import RetryPolicy, Subscription
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from tests.support.dispatch import Receiver, at, even, lane, publish, refuse
from tests.support.http_bridge import served
from tests.support.watches_api import TOKENS, OpenGate, access_of, build

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SUBSCRIPTIONS = f"""
subscriptions:
  books: {{transport: celery, task: t, queue: q, broker: "redis://:hush@127.0.0.1:1/1"}}
  crm: {{transport: http, url: "https://crm.example.test/in?key=hush", secrets: [{SECRET}],
        headers: {{X-Api-Key: hush}}, authorization: {{bearer: hush-hush}}}}
"""


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return build(state, tmp_path, access=access_of(TOKENS) + SUBSCRIPTIONS)


def client(services: Services, role: str) -> FlaskClient:
    made = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS[role]}"
    return made


def last_change(api: FlaskClient) -> dict[str, Any]:
    entry: dict[str, Any] = api.get("/api/v1/audit?limit=1").json["audit"][0]
    return {name: entry[name] for name in ("action", "target", "before", "after")}


def removed(state: redis.Redis, name: str = "old") -> None:
    """A subscription that is no longer configured, with two waiting events and a retry."""
    publish(state, 1, 2, 3)
    policy = RetryPolicy(schedule=(3600.0,))
    served_lane = lane(
        state, Receiver(refuse, batch=1), subscription=Subscription(name=name, transport="http", retry=policy)
    )
    served_lane.step(at(clock.now()), even)
    served_lane.leave()


def test_subscriptions_are_listed_page_by_page_with_those_that_were_removed_last(
    api: FlaskClient, state: redis.Redis
) -> None:
    removed(state)
    first = api.get("/api/v1/subscriptions?limit=2").json
    second = api.get(f"/api/v1/subscriptions?limit=2&cursor={first['next']}").json
    rows = [*first["subscriptions"], *second["subscriptions"]]
    assert [(row["name"], row["state"], row["circuit"]) for row in rows] == [
        ("books", "active", "closed"),
        ("crm", "active", "closed"),
        ("old", "removed", "removed"),
    ]
    assert second["next"] is None
    assert (rows[2]["waiting"], rows[2]["retrying"], rows[0]["waiting"]) == (2, 1, 3)
    assert "configuration" not in api.get("/api/v1/subscriptions/old").json


def test_a_subscription_is_shown_without_its_secrets(services: Services) -> None:
    viewer = client(services, "viewer")
    for name in ("books", "crm"):
        answer = viewer.get(f"/api/v1/subscriptions/{name}")
        assert "hush" not in answer.text
        assert SECRET not in answer.text
    configuration = answer.json["configuration"]
    assert (configuration["transport"], configuration["secrets"]) == ("http", [f"****{SECRET[-4:]}"])
    assert answer.headers["ETag"]
    answer = viewer.get("/api/v1/subscriptions/boks")
    assert (answer.status_code, answer.json["detail"]) == (404, 'unknown subscription: "boks". Did you mean "books"?')


def test_a_paused_subscription_says_what_waits_since_when_and_when_it_is_deleted(
    api: FlaskClient, services: Services, state: redis.Redis
) -> None:
    publish(state, 1, 2)
    assert api.get("/api/v1/subscriptions/books").json["deleted_from"] is None
    assert api.post("/api/v1/subscriptions/books/pause").json == {"changed": True, "sending": 0}
    assert last_change(api) == {
        "action": "pauseSubscription",
        "target": "subscription books",
        "before": {"state": "active", "circuit": "closed"},
        "after": {"state": "paused", "circuit": "paused"},
    }
    shown = api.get("/api/v1/subscriptions/books").json
    assert (shown["state"], shown["waiting"], shown["unsent"], shown["sending"]) == ("paused", 2, 0, 0)
    assert shown["waiting_since"] < shown["deleted_from"]
    assert api.post("/api/v1/subscriptions/books/pause").json["changed"] is False


def test_a_pause_says_which_lanes_may_still_be_sending(
    api: FlaskClient, services: Services, state: redis.Redis
) -> None:
    publish(state, 1)
    served_lane = lane(state, Receiver(), subscription=services.config.subscriptions["books"])
    served_lane.step(at(1.0), even)
    state.set(keys.heartbeat("dispatch:one"), 1)
    assert api.post("/api/v1/subscriptions/books/pause").json["sending"] == 1
    assert api.get("/api/v1/subscriptions/books").json["sending"] == 1
    served_lane.step(at(2.0), even)
    assert api.get("/api/v1/subscriptions/books").json["sending"] == 0


def test_a_resumed_subscription_tries_its_retries_at_once(
    api: FlaskClient, services: Services, state: redis.Redis
) -> None:
    publish(state, 1)
    policy = RetryPolicy(schedule=(3600.0,))
    crm = Subscription(name="crm", transport="http", retry=policy)
    lane(state, Receiver(refuse), subscription=crm).step(at(clock.now()), even)
    services.deliveries.pause("crm")
    assert api.post("/api/v1/subscriptions/crm/resume").json == {"changed": True, "retries": 1}
    change = last_change(api)
    assert (change["before"], change["after"]) == (
        {"state": "paused", "circuit": "paused"},
        {"state": "active", "circuit": "closed", "retries_due": 1},
    )
    assert api.post("/api/v1/subscriptions/crm/resume").json == {"changed": False, "retries": 0}


def test_a_removed_subscription_is_forgotten_but_not_by_a_dry_run_and_not_while_it_is_served(
    api: FlaskClient, state: redis.Redis
) -> None:
    removed(state)
    lost = {"waiting": 2, "retrying": 1, "dead_letters": 0}
    assert api.post("/api/v1/subscriptions/old/pause").status_code == 404
    answer = api.post("/api/v1/subscriptions/old/forget", json={"dry_run": True})
    assert answer.json == {"forgotten": False, **lost}
    state.xreadgroup(keys.group("old"), "alive", {keys.journal(0): ">"}, count=1)
    state.set(keys.heartbeat("dispatch:alive"), 1)
    answer = api.post("/api/v1/subscriptions/old/forget", json={})
    assert (answer.status_code, "still served" in answer.json["detail"]) == (409, True)
    state.delete(keys.heartbeat("dispatch:alive"))
    assert api.post("/api/v1/subscriptions/old/forget", json={}).json == {"forgotten": True, **lost}
    assert last_change(api)["before"] == lost
    assert [entry["action"] for entry in api.get("/api/v1/audit").json["audit"]] == ["forgetSubscription"]
    assert api.post("/api/v1/subscriptions/old/forget", json={}).status_code == 404
    answer = api.post("/api/v1/subscriptions/books/forget", json={})
    assert (answer.status_code, "Remove it there" in answer.json["detail"]) == (409, True)


def test_a_viewer_reads_subscriptions_and_changes_nothing(services: Services) -> None:
    viewer = client(services, "viewer")
    assert viewer.get("/api/v1/subscriptions").status_code == 200
    for action in ("pause", "resume", "forget"):
        assert viewer.post(f"/api/v1/subscriptions/books/{action}", json={}).status_code == 403


@pytest.mark.long
def test_the_command_prints_the_same_beside_the_server_and_remotely(
    services: Services,
    state: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    removed(state)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        return code, *capfd.readouterr()

    lines = [("list",), ("show", "crm"), ("show", "boks"), ("pause", "crm"), ("resume", "crm"), ("forget", "old")]
    with served(services) as url:
        for line in lines:
            remotely = run("--url", url, "--token", TOKENS["operator"], "subscriptions", *line)
            assert run("subscriptions", *line) == remotely, line
