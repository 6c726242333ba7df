"""`/api/v1/sources`: what is shown, however much there is; pausing, resuming, polling now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import registry
from bridge.journal import Entry, RequestRecord
from bridge.journal import search as searching
from bridge.polling.reconciliation import Reconciliation, Reconciliations
from bridge.sdk.vendor import Pointer
from bridge.services import Services
from bridge.web import create_app
from tests.support.dashboard import Dashboard
from tests.support.watches_api import TOKENS, OpenGate, access_of, build


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return build(state, tmp_path, access=access_of(TOKENS))


def client(services: Services, role: str) -> FlaskClient:
    made = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS[role]}"
    return made


def bound(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    """Let searches end sooner."""
    monkeypatch.setattr(searching.search, "__kwdefaults__", {**searching.search.__kwdefaults__, **limits})


def last_change(api: FlaskClient) -> dict[str, Any]:
    entry: dict[str, Any] = api.get("/api/v1/audit?limit=1").json["audit"][0]
    return {name: entry[name] for name in ("action", "target", "before", "after")}


def test_sources_are_listed_page_by_page_and_shown(api: FlaskClient) -> None:
    first = api.get("/api/v1/sources?limit=1").json
    second = api.get(f"/api/v1/sources?limit=1&cursor={first['next']}").json
    assert [row["name"] for page in (first, second) for row in page["sources"]] == ["eu", "us"]
    assert second["next"] is None
    shown = api.get("/api/v1/sources/eu").json
    assert first["sources"][0].items() <= shown.items()
    assert (shown["webhook_url"], shown["last_webhook"]) == ("https://bridge.example.test/webhooks/eu", None)
    answer = api.get("/api/v1/sources/eux")
    assert (answer.status_code, answer.json["detail"]) == (404, 'unknown source: "eux". Did you mean "eu"?')


def test_a_source_whose_vendor_sends_no_webhooks_has_no_webhook_address_anywhere(
    state: redis.Redis, tmp_path: Path
) -> None:
    polled = replace(registry.vendors()["classmarker"], split=None, verify=None, secret_credential=None)
    services = build(state, tmp_path, access=access_of(TOKENS), vendors={"classmarker": polled})
    api, dashboard = client(services, "operator"), Dashboard(services)
    shown = api.get("/api/v1/sources/eu").json
    assert (shown["webhook"], shown["webhook_url"]) == (False, None)
    answers = [api.post(f"/webhooks/{name}", json={}) for name in ("eu", "nobody")]
    assert [(answer.status_code, answer.data) for answer in answers] == [(404, b"{}")] * 2
    page = dashboard.get("sources/eu")
    assert "the vendor sends no webhooks" in page
    assert "/webhooks/eu" not in page
    assert "Webhook share" not in page
    assert "Rescued" not in page
    assert "attempt-bridge sources test eu" in dashboard.get("")
    assert "webhook address" not in dashboard.get("")


def test_a_source_is_paused_and_resumed_and_the_audit_says_so(api: FlaskClient, services: Services) -> None:
    assert api.post("/api/v1/sources/eu/resume").json == {"changed": False}
    assert api.post("/api/v1/sources/eu/pause").json == {"changed": True}
    change = {"action": "pauseSource", "target": "source eu", "before": {"paused": False}, "after": {"paused": True}}
    assert last_change(api) == change
    assert api.post("/api/v1/sources/eu/pause").json == {"changed": False}
    assert api.get("/api/v1/sources/eu").json["paused"]
    assert services.budgets.paused("eu", services.now()) is not None
    assert api.post("/api/v1/sources/eu/resume").json == {"changed": True}
    assert last_change(api)["after"] == {"paused": False}
    assert api.get("/api/v1/sources/eu").json["paused"] is False
    assert api.post("/api/v1/sources/eux/pause").status_code == 404


def test_a_source_that_the_file_pauses_stays_paused(state: redis.Redis, tmp_path: Path) -> None:
    services = build(state, tmp_path, access=access_of(TOKENS))
    object.__setattr__(services.config.sources["eu"], "paused", True)
    answer = client(services, "operator").post("/api/v1/sources/eu/resume")
    assert answer.status_code == 409
    assert "sources.eu.paused: true keeps it paused. Remedy: remove the line" in answer.json["detail"]


def test_a_poll_is_asked_for_unless_the_source_is_paused_or_has_none(api: FlaskClient, services: Services) -> None:
    answer = api.post("/api/v1/sources/eu/poll")
    assert (answer.status_code, answer.json) == (202, {"changed": True})
    assert api.post("/api/v1/sources/eu/poll").json == {"changed": False}
    assert services.polls_asked.all() == ("eu",)
    assert last_change(api)["action"] == "pollSource"
    services.budgets.pause("us")
    answer = api.post("/api/v1/sources/us/poll")
    assert answer.status_code == 409
    assert answer.json["detail"].startswith("source us is paused: ")
    services.budgets.resume("us")
    object.__setattr__(services.config.sources["us"].poll, "enabled", False)
    assert "has nothing to poll" in api.post("/api/v1/sources/us/poll").json["detail"]
    assert services.polls_asked.all() == ("eu",)


def test_a_row_says_what_is_expected_and_what_the_last_reconciliation_missed(
    api: FlaskClient, services: Services
) -> None:
    now = services.now()
    pointers = [Pointer(key=f"link:{number}@x", reference={"result": f"{number}"}) for number in range(3)]
    services.expectations.expect("eu", pointers, label="x", due=now, deadline=now + 1000, now=now)
    for key, state in (("link:0@x", "overdue"), ("link:1@x", "expanded")):
        expectation = services.expectations.get("eu", key)
        assert expectation is not None
        services.expectations.set_state("eu", expectation, state)
    result = Reconciliation(source="eu", since=now - 100, until=now - 10, made=now - 5, fixed=["link:8"])
    result.days = {"2026-11-01": {"listed": 9, "both": 7, "missing": 2}}
    result.ids = {"missing": ["link:8", "link:9"]}
    Reconciliations(services.state).keep(result)
    eu, us = api.get("/api/v1/sources").json["sources"]
    assert (eu["expected"], eu["overdue"]) == (1, 1)
    assert {name: eu["last_reconciliation"][name] for name in ("listed", "missing", "still_missing")} == {
        "listed": 9,
        "missing": 2,
        "still_missing": 1,
    }
    assert (us["expected"], us["overdue"], us["last_reconciliation"], us["raised_alarms"]) == (0, 0, None, [])


def test_a_viewer_changes_nothing(services: Services) -> None:
    viewer = client(services, "viewer")
    assert viewer.get("/api/v1/sources/eu").status_code == 200
    for action in ("pause", "resume", "poll"):
        assert viewer.post(f"/api/v1/sources/eu/{action}").status_code == 403


def test_a_source_with_many_watches_and_requests_is_shown_by_a_few_of_them(
    services: Services, api: FlaskClient, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = services.now()
    pointers = [Pointer(key=f"link:{number}@x", reference={"result": f"{number}"}) for number in range(300)]
    services.expectations.expect("eu", pointers, label="x", due=now, deadline=now + 1000, now=now)
    for number in range(60):
        record = RequestRecord(id=f"r{number}", source="us", received_at=now, headers={}, body=b"", outcome="ignored")
        services.journal.publish(Entry(request=record), now=now)
    bound(monkeypatch, max_entries=40, max_bytes=10**9)
    read: list[int] = []

    def counted(plain: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            items = plain(*arguments, **options)
            read.append(len(items))
            return items

        return call

    for name in ("zrange", "xrevrange"):
        monkeypatch.setattr(state, name, counted(getattr(state, name)))
    shown = api.get("/api/v1/sources/eu").json
    assert len(shown["watches"]) == 20
    assert shown["last_webhook"] is None  # of this source none is among the newest
    assert sum(read) <= 120
    viewed = client(services, "viewer").get("/api/v1/sources/eu").json
    assert {watch["watch"] for watch in viewed["watches"]} == {"***"}
    assert api.get("/api/v1/sources/us").json["last_webhook"]["outcome"] == "ignored"
