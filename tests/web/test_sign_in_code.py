"""The one-time code of the sign-in link: signs in once, and never again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge.config.access import FILE, first_token
from bridge.errors import StateUnavailable
from bridge.runtime.dashboard_link import dashboard_line
from bridge.services import Services
from bridge.state import keys
from bridge.state.sign_in_code import SECONDS, SignInCode
from bridge.web import create_app
from bridge.web.api.failures import PER_ADDRESS
from bridge.web.sessions import COOKIE
from tests.support.watches_api import TOKENS, OpenGate, access_of, build

SESSION, AUDIT = "/api/v1/session", "/api/v1/audit"
URL = "http://127.0.0.1:8080"

Make = Callable[..., Services]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


@pytest.fixture
def make(state: redis.Redis, tmp_path: Path) -> Make:
    """The services of a start of `up`."""

    def started(access: str = "") -> Services:
        services = build(state, tmp_path, access=access)
        first_token(services.config)
        return services

    return started


def browser(services: Services) -> FlaskClient:
    return create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]


def code_of(services: Services) -> str:
    line = dashboard_line(services, URL)
    start, end = f"dashboard: {URL}/ui/sign-in?code=", " (signs in once, within 24 h)"
    assert line.startswith(start)
    assert line.endswith(end)
    return line.removeprefix(start).removesuffix(end)


def redeem(client: FlaskClient, code: str) -> Any:
    return client.post(SESSION, json={"code": code})


def test_a_code_opens_a_session_once_and_the_audit_names_the_login(make: Make) -> None:
    services = make()
    code = code_of(services)
    first, second = browser(services), browser(services)
    opened = redeem(first, code)
    assert (opened.status_code, opened.json["name"], opened.json["role"]) == (201, "up", "operator")
    assert first.get(SESSION).json == opened.json
    again = redeem(second, code)
    assert again.status_code == 401
    assert "unknown, used or expired code. Remedy: " in again.json["detail"]
    (entry,) = first.get(AUDIT).json["audit"]
    assert (entry["actor"], entry["action"], entry["after"]) == (
        "up",
        "openSession",
        {"signed_in_with": "one-time code"},
    )


def test_the_state_holds_only_a_hash_of_the_code_until_it_expires(make: Make, state: redis.Redis) -> None:
    code = code_of(make())
    assert code.encode() not in b"".join(state.hgetall(keys.sign_in_code()).values())
    assert 0 < state.ttl(keys.sign_in_code()) <= SECONDS == 24 * 3600


def test_a_later_start_makes_a_new_code_and_the_earlier_one_stops_working(make: Make) -> None:
    earlier = code_of(make())
    services = make()
    later = code_of(services)
    assert redeem(browser(services), earlier).status_code == 401
    assert redeem(browser(services), later).status_code == 201
    assert redeem(browser(services), code_of(make())).status_code == 201


def test_of_many_processes_that_redeem_a_code_at_once_one_gets_it(make: Make, state: redis.Redis) -> None:
    code = SignInCode(state).make("d")
    barrier, digests = Barrier(8), []

    def take() -> None:
        barrier.wait()
        digests.append(SignInCode(state).redeem(code))

    threads = [Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(digests, key=str) == [None] * 7 + ["d"]


def test_a_redemption_whose_reply_is_lost_is_not_lost_itself(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = SignInCode(state)
    code = codes.make("d")
    run, lost = codes._redeem, []

    def twice(**arguments: Any) -> Any:
        lost.append(run(**arguments))
        return run(**arguments)

    monkeypatch.setattr(codes, "_redeem", twice)
    assert (codes.redeem(code), lost) == ("d", [b"d"])
    assert codes.redeem(code) is None


def test_a_session_of_a_code_ends_with_the_token_of_up(make: Make, tmp_path: Path) -> None:
    services = make()
    client = browser(services)
    assert redeem(client, code_of(services)).status_code == 201
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    (tmp_path / "data" / FILE).unlink()
    for later in (make(), make(access_of(TOKENS))):
        other = browser(later)
        other.set_cookie(COOKIE, cookie.value)
        assert other.get(SESSION).status_code == 401


def test_where_the_file_names_tokens_no_code_is_made_and_an_earlier_one_opens_nothing(
    make: Make, state: redis.Redis
) -> None:
    earlier = code_of(make())
    named = make(access_of(TOKENS))
    assert dashboard_line(named, URL) == f"dashboard: {URL}/ui/"
    assert redeem(browser(named), earlier).status_code == 401


def test_wrong_codes_are_failed_logins(make: Make) -> None:
    services = make()
    code, client = code_of(services), browser(services)
    assert [redeem(client, "wrong").status_code for _ in range(PER_ADDRESS + 1)] == [401] * PER_ADDRESS + [429]
    assert redeem(client, code).status_code == 429
    assert redeem(client, "é" * 10).status_code == 429


@pytest.mark.parametrize("body", [{}, {"token": "t", "code": "c"}, {"code": ""}, {"code": 5}, {"code": "c" * 501}])
def test_exactly_one_of_token_and_code_is_given(make: Make, body: dict[str, Any]) -> None:
    assert browser(make()).post(SESSION, data=json.dumps(body), content_type="application/json").status_code == 422


def test_without_a_state_server_up_goes_on_and_says_that_there_is_no_link(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("state server: away")

    monkeypatch.setattr("bridge.state.sign_in_code.SignInCode.make", away)
    assert dashboard_line(make(), URL) == f"dashboard: {URL}/ui/ (no sign-in link: state server: away)"
