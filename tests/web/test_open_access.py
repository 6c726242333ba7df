"""Open access of the demo: who is let in on this machine without signing in, and everything that is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import services as composition
from bridge.config.open_access import is_local_host, is_loopback
from bridge.errors import BridgeError, ConfigError
from bridge.runtime.dashboard_link import dashboard_line
from bridge.services import Services
from bridge.settings import Settings
from bridge.web import create_app, server
from bridge.web.sessions import COOKIE
from tests.support.watches_api import LINK, TOKENS, OpenGate, access_of, build

SESSION, WATCHES, AUDIT = "/api/v1/session", "/api/v1/watches", "/api/v1/audit"
LOCAL = {"Host": "127.0.0.1:8080"}
PAGE = {"Sec-Fetch-Site": "same-origin"}
#: One of everything that web answers, but for webhooks.
ADDRESSES = (
    "/",
    "/ui/",
    "/ui/static/app.css",
    SESSION,
    WATCHES,
    "/api/v1/openapi.json",
    "/livez",
    "/readyz",
    "/metrics",
)


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return replace(build(state, tmp_path), settings=Settings(open_access=True))


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]


def test_who_calls_from_this_machine_is_the_operator_demo(client: FlaskClient) -> None:
    hosts = ("127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8080")
    for host, address in product(hosts, ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1")):
        row = client.get(SESSION, headers={"Host": host}, environ_base={"REMOTE_ADDR": address}).json
        assert (row["name"], row["role"], row["csrf"]) == ("demo", "operator", "same-origin"), (host, address)


def test_every_other_host_is_refused_with_one_line(client: FlaskClient) -> None:
    names = ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "localhost.")
    odd = (
        "0.0.0.0",
        "127.0.0.1@evil.example",
        "evil.example,127.0.0.1",
        "127.0.0.2",
        "::1",
        "[::1]:8x",
        "localhost:",
        "",
    )
    for host, path in product((*names, *odd), ADDRESSES):
        assert not is_local_host(host)
        answer = client.get(path, environ_overrides={"HTTP_HOST": host})
        line = answer.json["detail"] if path.startswith("/api/") else answer.text.removesuffix("\n")
        assert answer.status_code == 403, (host, path)
        assert line.startswith("unknown Host: ")
        assert "\n" not in line


def test_what_came_through_a_proxy_or_tunnel_is_refused(client: FlaskClient) -> None:
    for name, path in product(("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"), ADDRESSES):
        answer = client.get(path, headers={**LOCAL, name: "127.0.0.1"})
        assert (answer.status_code, "came through a proxy: " in answer.text) == (403, True), (name, path)


def test_a_webhook_comes_from_anywhere(client: FlaskClient) -> None:
    headers = {"Host": "bridge.example.test", "Via": "1.1 proxy", "Content-Type": "application/json"}
    assert client.post("/webhooks/eu", data=b"{}", headers=headers).status_code == 401
    assert client.post("/webhooks/none", data=b"{}", headers=headers).status_code == 404


def test_a_caller_from_elsewhere_is_nobody(client: FlaskClient) -> None:
    for address in ("192.0.2.1", "::ffff:192.0.2.1", "10.0.0.1", "", "nonsense"):
        assert not is_loopback(address)
        assert client.get(SESSION, headers=LOCAL, environ_base={"REMOTE_ADDR": address}).status_code == 401


def test_a_change_through_the_api_needs_the_csrf_token_and_is_made_by_demo(client: FlaskClient) -> None:
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x"}):
        assert client.post(WATCHES, json=LINK, headers={**LOCAL, **wrong}).status_code == 403
    csrf = {"X-CSRF-Token": client.get(SESSION, headers=LOCAL).json["csrf"]}
    assert client.post(WATCHES, json=LINK, headers={**LOCAL, **csrf}).status_code == 201
    (entry,) = client.get(AUDIT, headers=LOCAL).json["audit"]
    assert (entry["actor"], entry["role"]) == ("demo", "operator")


def test_a_form_of_another_page_is_refused(client: FlaskClient) -> None:
    sites = [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
    origins = [{"Origin": origin} for origin in ("http://127.0.0.1:9999", "null", "http://evil.example")]
    for headers in ({}, *sites, *origins):
        answer = client.post("/ui/sign-out", data={"csrf": "same-origin"}, headers={**LOCAL, **headers})
        assert (answer.status_code, "was sent by another site" in answer.text) == (403, True)


def test_no_page_of_another_origin_may_read_or_send_what_needs_a_preflight(client: FlaskClient) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Headers": "x-csrf-token"}
    for answer in (
        client.options(WATCHES, headers={**LOCAL, **asked, "Access-Control-Request-Method": "POST"}),
        client.get(SESSION, headers={**LOCAL, "Origin": "http://evil.example"}),
    ):
        assert [name for name, _ in answer.headers if name.lower().startswith("access-control-")] == []


def test_the_dashboard_opens_without_signing_in_and_signing_out_leads_back(client: FlaskClient) -> None:
    assert client.get("/ui/", headers=LOCAL).status_code == 200
    assert client.get("/ui/sign-in", headers=LOCAL).headers["Location"] == "/ui/"
    answer = client.post("/ui/sign-out", data={"csrf": "same-origin"}, headers={**LOCAL, **PAGE})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/sign-in")


def test_a_cookie_of_another_bridge_on_this_machine_changes_nothing(client: FlaskClient) -> None:
    client.set_cookie(COOKIE, "of-another-bridge", domain="127.0.0.1")
    assert client.get(SESSION, headers=LOCAL).json["name"] == "demo"


def test_a_wrong_token_is_not_let_in(client: FlaskClient) -> None:
    assert client.get(SESSION, headers={**LOCAL, "Authorization": "Bearer wrong"}).status_code == 401


def test_without_the_setting_nobody_is_let_in(services: Services) -> None:
    closed = create_app(replace(services, settings=Settings()), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    assert closed.get(SESSION, headers=LOCAL).status_code == 401
    assert closed.get("/livez", headers={"Host": "any.example"}).status_code == 200


# Who may switch it on --------------------------------------------------------------------------------------------


def load(folder: Path, text: str) -> Any:
    (folder / "bridge.yaml").write_text(text)
    return composition.load(Settings(config=folder / "bridge.yaml", open_access=True))


def test_it_is_for_demos_alone(tmp_path: Path) -> None:
    public = "public_url: 'https://bridge.example.org'"
    with pytest.raises(ConfigError, match=r"ATTEMPT_BRIDGE_OPEN_ACCESS: is for demos only\. Remedy: unset it"):
        load(tmp_path, f"bridge: {{name: acme, {public}}}\n")
    assert load(tmp_path, "demo: true\nbridge: {name: acme}\n").settings.open_access


@pytest.mark.parametrize(
    "access",
    [access_of(TOKENS), "access: {proxy: {header: X-User, from: ['127.0.0.0/8'], roles: {operator: [ann]}}}\n"],
)
def test_it_cannot_be_combined_with_names_of_callers(tmp_path: Path, access: str) -> None:
    with pytest.raises(ConfigError, match=r"OPEN_ACCESS: .*bridge\.yaml names callers under access\. Remedy: unset it"):
        load(tmp_path, f"demo: true\nbridge: {{name: acme}}\n{access}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_web_refuses_to_listen_beyond_this_machine(services: Services, host: str) -> None:
    with pytest.raises(
        BridgeError, match=rf"cannot listen on {host}: access is open .* Remedy: use --host 127\.0\.0\.1"
    ):
        server.run(services, host, 0, 1)


def test_the_screen_says_where_it_is_open(services: Services) -> None:
    said = dashboard_line(services, "http://127.0.0.1:8080")
    assert said == "dashboard: http://127.0.0.1:8080/ui/ (open without signing in, on this machine only)"
