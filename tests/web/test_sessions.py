"""Logging in: sessions by cookie, what protects them from foreign pages, and too many failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge.errors import StateUnavailable
from bridge.state import keys
from bridge.web import create_app
from bridge.web.api.failures import OVERALL, PER_ADDRESS
from bridge.web.sessions import COOKIE, SECONDS
from tests.support.watches_api import LINK, TOKENS, OpenGate, access_of, build

SESSION, WATCHES, AUDIT = "/api/v1/session", "/api/v1/watches", "/api/v1/audit"
PROXY = "proxy: {header: X-Forwarded-User, from: ['10.0.0.0/8'], roles: {operator: [ann]}}"
NOW = 1_800_000_000.0

#: A browser: keeps cookies, and has no token of its own.
Make = Callable[..., FlaskClient]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


@pytest.fixture
def make(state: redis.Redis, tmp_path: Path) -> Make:
    def browser(*more: str, tokens: dict[str, str] = TOKENS, now: Callable[[], float] = lambda: NOW) -> FlaskClient:
        access = access_of(tokens).removesuffix("}\n") + "".join(f", {line}" for line in more) + "}\n"
        services = replace(build(state, tmp_path, access=access), now=now)
        return create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]

    return browser


def login(browser: FlaskClient, role: str = "operator") -> Any:
    return browser.post(SESSION, json={"token": TOKENS[role]})


def test_a_session_is_opened_used_and_closed(make: Make, state: redis.Redis) -> None:
    browser = make()
    assert browser.get(SESSION).status_code == 401
    opened = login(browser)
    assert opened.status_code == 201
    row = opened.json
    assert (row["name"], row["role"]) == ("operator", "operator")
    assert browser.get(SESSION).json == row
    csrf = {"X-CSRF-Token": row["csrf"]}
    assert browser.post(WATCHES, json=LINK, headers=csrf).status_code == 201
    assert [entry["action"] for entry in browser.get(AUDIT).json["audit"]] == ["addWatch", "openSession"]
    copy = browser.get_cookie(COOKIE)
    assert browser.delete(SESSION, headers=csrf).status_code == 204
    assert copy is not None
    browser.set_cookie(COOKIE, copy.value)
    assert browser.get(SESSION).status_code == 401
    assert state.keys("ab:session:*") == []


def test_no_script_and_no_other_site_can_use_the_cookie(make: Make) -> None:
    cookie = login(make()).headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Secure", "Path=/", f"Max-Age={SECONDS}"))


@pytest.mark.long
def test_the_state_holds_no_secret_of_a_session_or_token(make: Make, state: redis.Redis) -> None:
    browser = make()
    login(browser)
    cookie = browser.get_cookie(COOKIE)
    assert cookie is not None
    stored = b"".join(key + b"".join(_values(state, key)) for key in state.keys("*"))
    assert cookie.value.encode() not in stored
    assert TOKENS["operator"].encode() not in stored
    assert 0 < state.ttl(state.keys("ab:session:*")[0]) <= SECONDS


def _values(state: redis.Redis, key: bytes) -> list[bytes]:
    return [state.dump(key) or b""]


def test_a_session_ends_with_its_token_and_has_the_role_that_it_has_now(make: Make) -> None:
    browser = make()
    login(browser)
    cookie = browser.get_cookie(COOKIE)
    assert cookie is not None
    for tokens, status in (({"viewer": TOKENS["operator"]}, 200), ({"operator": "another"}, 401)):
        later = make(tokens=tokens)
        later.set_cookie(COOKIE, cookie.value)
        answer = later.get(SESSION)
        assert answer.status_code == status
        if status == 200:
            assert answer.json["role"] == "viewer"


@pytest.mark.parametrize("csrf", [None, "", "wrong", "é"])
def test_a_foreign_page_can_change_nothing_with_the_cookie(make: Make, csrf: str | None) -> None:
    browser = make()
    login(browser)
    headers = {} if csrf is None else {"X-CSRF-Token": csrf}
    for call in (
        browser.post(WATCHES, json=LINK, headers=headers),
        browser.delete(f"{WATCHES}/x", headers=headers),
        browser.delete(SESSION, headers=headers),
        browser.post("/api/v1/none", headers=headers),
    ):
        assert (call.status_code, "X-CSRF-Token" in call.json["detail"]) == (403, True)
    assert browser.get(WATCHES).status_code == 200


def test_a_foreign_page_can_change_nothing_through_the_proxy_either(make: Make) -> None:
    browser = make(PROXY)
    call: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": "10.0.0.7"}}
    named = {"X-Forwarded-User": "ann"}
    csrf = browser.get(SESSION, headers=named, **call).json["csrf"]
    assert browser.post(WATCHES, json=LINK, headers=named, **call).status_code == 403
    assert browser.post(WATCHES, json=LINK, headers=named | {"X-CSRF-Token": csrf}, **call).status_code == 201


def test_a_token_needs_no_csrf_and_wins_over_a_cookie(make: Make) -> None:
    browser = make()
    login(browser)
    viewer = {"Authorization": f"Bearer {TOKENS['viewer']}"}
    assert browser.get(SESSION, headers=viewer).json == {
        "name": "viewer",
        "role": "viewer",
        "csrf": None,
        "public_url": "https://bridge.example.test",
    }
    assert browser.get(SESSION, headers={"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize("value", ["", "x", "é" * 10, "x" * 3000])
def test_a_cookie_that_names_no_session_opens_nothing(make: Make, state: redis.Redis, value: str) -> None:
    browser = make()
    browser.set_cookie(COOKIE, value)
    assert browser.get(SESSION).status_code == 401
    assert login(browser).status_code == 201
    (key,) = state.keys("ab:session:*")
    for odd in (b"", b"[", b"[]", b"{}", b'{"token": 5}', b"null"):
        state.set(key, odd)
        assert browser.get(SESSION).status_code == 401


# Too many failures --------------------------------------------------------------------------------------------------


def fail(browser: FlaskClient, address: str = "192.0.2.1", *, by: str = "bearer", **headers: str) -> Any:
    call: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": address}}
    if by == "bearer":
        return browser.get(WATCHES, headers={"Authorization": "Bearer wrong", **headers}, **call)
    return browser.post(SESSION, json={"token": "wrong"}, headers=headers, **call)


@pytest.mark.parametrize("by", ["bearer", "login"])
def test_after_too_many_failures_an_address_is_refused_for_the_rest_of_the_minute(make: Make, by: str) -> None:
    now = [NOW]
    browser = make(now=lambda: now[0])
    assert [fail(browser, by=by).status_code for _ in range(PER_ADDRESS)] == [401] * PER_ADDRESS
    refused = fail(browser, by=by)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert refused.json["detail"] == "too many failed logins. Remedy: try again in 60 s"
    # The right token is not looked at either, or guessing would go on.
    right = {"Authorization": f"Bearer {TOKENS['operator']}"}
    blocked: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}}
    assert browser.get(WATCHES, headers=right, **blocked).status_code == 429
    assert browser.post(SESSION, json={"token": TOKENS["operator"]}, **blocked).status_code == 429
    # Others are not affected, and the minute ends.
    assert browser.get(WATCHES, headers=right, environ_base={"REMOTE_ADDR": "192.0.2.2"}).status_code == 200
    now[0] += 60
    assert browser.get(WATCHES, headers=right, **blocked).status_code == 200


def test_processes_count_together(make: Make) -> None:
    first, other = make(), make()
    for _ in range(PER_ADDRESS - 1):
        fail(first)
    assert fail(other).status_code == 401
    assert fail(other).status_code == 429
    # One that has seen none yet learns of them with its first.
    assert fail(make()).status_code == 429


def test_many_addresses_together_are_limited_but_no_right_token_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OVERALL > PER_ADDRESS
    monkeypatch.setattr("bridge.web.api.failures.OVERALL", 40)
    browser = make()
    statuses = [fail(browser, f"192.0.2.{number}").status_code for number in range(45)]
    assert statuses == [401] * 40 + [429] * 5
    right = {"Authorization": f"Bearer {TOKENS['operator']}"}
    assert browser.get(WATCHES, headers=right, environ_base={"REMOTE_ADDR": "198.51.100.1"}).status_code == 200


def test_behind_a_trusted_proxy_each_client_has_failures_of_its_own(make: Make, state: redis.Redis) -> None:
    browser = make(PROXY)
    for _ in range(PER_ADDRESS + 1):
        last = fail(browser, "10.0.0.8", **{"X-Forwarded-For": "203.0.113.9"})
    assert last.status_code == 429
    assert fail(browser, "10.0.0.8", **{"X-Forwarded-For": "203.0.113.10"}).status_code == 401
    assert b"203.0.113.9" not in b"".join(state.keys("*"))
    assert all(0 < state.ttl(key) <= 120 for key in state.keys("ab:{logins}:*"))


def test_without_a_state_server_failures_are_counted_by_each_process(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = make()

    def away(*_: Any, **__: Any) -> Any:
        raise redis.ConnectionError("away")

    monkeypatch.setattr("redis.client.Pipeline.execute", away)
    assert [fail(browser).status_code for _ in range(PER_ADDRESS + 1)] == [401] * PER_ADDRESS + [429]


def test_a_call_without_a_token_is_no_failed_login(make: Make, state: redis.Redis) -> None:
    browser = make()
    for _ in range(PER_ADDRESS + 5):
        assert browser.get(WATCHES).status_code == 401
    assert state.keys(keys.failed_logins(int(NOW) // 60, "*")) == []


def test_a_session_that_cannot_be_looked_up_is_a_503(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = make()
    login(browser)

    def away(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("state server: CANARY")

    monkeypatch.setattr("bridge.web.sessions.Sessions.find", away)
    answer = browser.get(WATCHES)
    assert (answer.status_code, "CANARY" in answer.text) == (503, False)
