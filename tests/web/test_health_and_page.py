"""`/api/v1/health`, and the description of the API as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import cli
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from bridge.web.api.page import render
from tests.support.http_bridge import served
from tests.support.servers import Server
from tests.support.watches_api import TOKENS, OpenGate, access_of, build

HEALTH = "/api/v1/health"


@pytest.fixture
def real(server: Server, state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Over a real server: the checks ask for what a fake does not know."""
    services = replace(build(state, tmp_path, access=access_of(TOKENS)), state_url=server.url)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    return services


@pytest.fixture
def viewer(real: Services) -> FlaskClient:
    client = create_app(real, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['viewer']}"
    return client


def test_health_has_the_parts_and_the_findings_of_the_doctor(viewer: FlaskClient, real: Services) -> None:
    real.state.set(keys.heartbeat("worker"), f"{real.now():.3f}")
    real.budgets.pause("eu")
    health = viewer.get(HEALTH).json
    parts = {part["name"]: part["heartbeat_at"] for part in health["parts"]}
    assert set(parts) == {"web", "worker", "beat", "dispatch"}
    assert (parts["worker"] is None, parts["beat"]) == (False, None)
    findings = {finding["name"]: finding for finding in health["findings"]}
    assert (findings["source eu"]["status"], findings["source us"]["status"]) == ("warning", "ok")
    assert findings["source eu"]["remedy"] == "attempt-bridge sources resume eu"
    assert findings["state server"]["status"] == "ok"
    of_bridge = [finding["name"] for finding in viewer.get(f"{HEALTH}?about=bridge").json["findings"]]
    assert of_bridge == [name for name in findings if not name.startswith("source ")]
    assert health["status"] == max(
        (finding["status"] for finding in health["findings"]), key=["ok", "warning", "failure"].index
    )


def test_health_asks_no_broker_and_no_dns(viewer: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr("bridge.monitoring.doctor.brokers", fail)
    monkeypatch.setattr("bridge.net.address_policy.resolve", fail)
    assert viewer.get(HEALTH).status_code == 200


def test_health_says_that_the_state_server_is_away(viewer: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise redis.ConnectionError("away")

    monkeypatch.setattr("redis.Redis.execute_command", away)
    health = viewer.get(HEALTH).json
    assert (health["status"], {part["heartbeat_at"] for part in health["parts"]}) == ("failure", {None})
    assert [finding["name"] for finding in health["findings"] if finding["unreachable"]] == ["state server"]


def test_doctor_of_a_bridge_elsewhere_prints_its_findings(
    real: Services, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTEMPT_BRIDGE_TOKEN", TOKENS["viewer"])
    real.budgets.pause("eu")
    with served(real) as url:
        assert cli.run(["--url", url, "doctor"]) in (0, 1)
        assert "[!] source eu: " in capfd.readouterr().out
        assert cli.run(["--url", url, "doctor", "-o", "json"]) in (0, 1)
        findings = json.loads(capfd.readouterr().out)
        assert {"name", "status", "text", "remedy", "unreachable"} == set(findings[0])
        real.state.hset(keys.BRIDGE, "partitions", "7")
        assert cli.run(["--url", url, "doctor"]) == 1


# The page -----------------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, name: str) -> Iterator[str]:
        return (value for _, attributes in self.tags for key, value in attributes.items() if key == name and value)


@pytest.mark.parametrize("address", ["/api/v1/", "/api/v1"])
def test_the_page_names_every_operation_and_needs_neither_scripts_nor_other_hosts(
    api: FlaskClient, address: str
) -> None:
    answer = api.get(address)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
    page = _Page(answer.text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]
    addresses = [*page.values("href"), *page.values("src")]
    assert [each for each in addresses if not each.startswith(("#", "/api/v1/"))] == []
    assert all(api.get(each).status_code == 200 for each in set(addresses) if each.startswith("/"))
    ids = list(page.values("id"))
    assert len(ids) == len(set(ids))
    assert {each[1:] for each in addresses if each.startswith("#")} <= set(ids)
    document = api.get("/api/v1/openapi.json").json
    operations = [
        operation["operationId"]
        for methods in document["paths"].values()
        for method, operation in methods.items()
        if method != "parameters"
    ]
    assert set(operations) <= set(ids)
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= set(ids)
    assert not re.search(r"url\(|@import|https?:", api.get("/api/v1/page.css").text)


def test_nothing_of_the_document_is_markup() -> None:
    evil = "<script>alert(1)</script>`<b>`"
    operation = {
        "operationId": "x",
        "summary": evil,
        "description": evil,
        "tags": [evil],
        "parameters": [{"name": evil, "in": "query", "description": evil, "schema": {"enum": [evil]}}],
        "responses": {"200": {"description": evil, "content": {"x": {"schema": {"$ref": f"#/c/s/{evil}"}}}}},
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": evil, "version": evil, "description": evil},
        "paths": {f"/{evil}": {"get": operation}},
        "components": {"schemas": {evil: {"description": evil, "properties": {evil: {"type": ["string", "null"]}}}}},
    }
    page = render(document)
    assert "<script" not in page
    assert "<b>" not in page
    assert "<code>&lt;b&gt;</code>" in page


def test_the_page_needs_a_token(state: redis.Redis, tmp_path: Path) -> None:
    client = create_app(build(state, tmp_path, access=access_of(TOKENS)), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    for address in ("/api/v1/", "/api/v1", "/api/v1/page.css", HEALTH):
        assert client.get(address).status_code == 401
