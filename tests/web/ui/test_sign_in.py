"""Signing in and out on the pages, and what protects their forms from other sites."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import redis

from bridge.config.access import first_token
from bridge.runtime.dashboard_link import dashboard_line
from bridge.services import Services
from bridge.web.api.failures import PER_ADDRESS
from bridge.web.sessions import COOKIE
from tests.support.dashboard import Dashboard
from tests.support.watches_api import TOKENS, access_of, build

CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def nobody(services: Services) -> Dashboard:
    """Not signed in."""
    return Dashboard(services, None)


def csrf_of(page: str) -> str:
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def test_whoever_is_not_signed_in_is_led_to_the_form_and_then_to_the_page_that_was_asked_for(nobody: Dashboard) -> None:
    asked = nobody.client.get("/ui/events?filter=passed:true")
    assert (asked.status_code, asked.headers["Location"]) == (303, "/ui/sign-in")
    form = nobody.get("sign-in")
    assert 'action="/ui/sign-in"' in form
    assert "Overview" not in form
    answer = nobody.client.post("/ui/sign-in", data={"token": f"  {TOKENS['operator']}\n"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/events?filter=passed:true")
    assert "operator" in nobody.get("events")
    # It is asked for once.
    assert nobody.client.post("/ui/sign-in", data={"token": TOKENS["viewer"]}).headers["Location"] == "/ui/"


def test_a_page_that_refreshes_itself_goes_to_the_form_as_a_whole(nobody: Dashboard) -> None:
    answer = nobody.client.get("/ui/events", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/ui/sign-in")
    assert answer.mimetype == "text/plain"
    assert "Set-Cookie" not in answer.headers


def test_the_cookie_of_the_page_leads_to_no_other_site(nobody: Dashboard) -> None:
    for foreign in ("https://evil.example/ui/", "//evil.example/ui/", "//[", "/ui/../api"):
        nobody.client.set_cookie("bridge_after_sign_in", foreign, path="/ui/")
        answer = nobody.client.post("/ui/sign-in", data={"token": TOKENS["viewer"]})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/")


def test_what_opens_no_session_is_said_on_the_form(nobody: Dashboard) -> None:
    wrong: list[dict[str, str]] = [{"token": "wrong"}, {"code": "wrong"}]
    for form in (*wrong, {}, {"token": ""}, {"token": "t", "code": "c"}):
        answer = nobody.client.post("/ui/sign-in", data=form)
        assert answer.status_code == (401 if form in wrong else 422)
        assert 'role="alert"' in answer.text
        assert '<input type="password" name="token"' in answer.text
        assert COOKIE not in answer.headers.get("Set-Cookie", "")


def test_too_many_wrong_tokens_are_refused_on_the_form_too(nobody: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.web.api.failures.PER_ADDRESS", 2)
    assert PER_ADDRESS > 2
    statuses = [nobody.client.post("/ui/sign-in", data={"token": "wrong"}).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert nobody.client.post("/ui/sign-in", data={"token": TOKENS["operator"]}).status_code == 429


def test_a_receivers_token_does_not_sign_in(state: redis.Redis, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"receiver-token").hexdigest()
    services = build(
        state,
        tmp_path,
        access="subscriptions: {shop: {transport: celery, task: t, queue: q}}\n"
        f"access: {{tokens: [{{name: shop, role: receiver, subscription: shop, sha256: {digest}}}]}}\n",
    )
    answer = Dashboard(services, None).client.post("/ui/sign-in", data={"token": "receiver-token"})
    assert (answer.status_code, "role receiver cannot log in" in answer.text) == (403, True)


def test_the_link_of_up_shows_a_button_and_signs_in_once(state: redis.Redis, tmp_path: Path) -> None:
    services = build(state, tmp_path)
    first_token(services.config)
    address = dashboard_line(services, "").partition("dashboard: /ui/")[2].split()[0]
    for expected in (303, 401):
        page = Dashboard(services, None)
        form = page.get(address)
        code = form.partition('name="code" value="')[2].partition('"')[0]
        assert "password" not in form
        assert page.client.post("/ui/sign-in", data={"code": code}).status_code == expected


def test_a_code_in_the_address_stays_text(nobody: Dashboard) -> None:
    page = nobody.get("sign-in?code=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in page
    assert "&#34;&gt;&lt;script&gt;" in page


def test_the_token_is_nowhere_in_the_answer(nobody: Dashboard) -> None:
    assert "wrong-token-canary" not in nobody.client.post("/ui/sign-in", data={"token": "wrong-token-canary"}).text


def test_a_viewer_is_one_on_the_pages(viewer: Dashboard) -> None:
    assert "viewer <small>(viewer)</small>" in viewer.get("events")


def test_signing_out_ends_the_session_also_for_who_holds_a_copy_of_the_cookie(operator: Dashboard) -> None:
    csrf = csrf_of(operator.get("events"))
    copy = operator.client.get_cookie(COOKIE)
    assert copy is not None
    answer = operator.client.post("/ui/sign-out", data={"csrf": csrf})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/sign-in")
    assert operator.client.get_cookie(COOKIE) is None
    operator.client.set_cookie(COOKIE, copy.value)
    assert operator.client.get("/ui/events").status_code == 303


def test_no_form_without_the_csrf_token_does_anything(operator: Dashboard) -> None:
    forms: list[dict[str, str]] = [{}, {"csrf": ""}, {"csrf": "wrong"}, {"csrf": "é"}]
    for form in forms:
        refused = operator.client.post("/ui/sign-out", data=form)
        assert (refused.status_code, "X-CSRF-Token" in refused.text) == (403, True)
    assert operator.client.get("/ui/events").status_code == 200


def test_a_form_of_another_site_is_refused_whatever_it_holds(operator: Dashboard) -> None:
    csrf = csrf_of(operator.get("events"))
    site = operator.client.environ_base.pop("HTTP_SEC_FETCH_SITE")
    assert site == "same-origin"
    refused = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {},
    ]
    for path in ("sign-out", "sign-in", "do/stop-replay", "none"):
        for headers in refused:
            answer = operator.client.post(f"/ui/{path}", data={"csrf": csrf, "token": "view-token"}, headers=headers)
            assert (answer.status_code, "was sent by another site" in answer.text) == (403, True), (path, headers)
    assert operator.client.get("/ui/events").status_code == 200
    # A browser that sends no Sec-Fetch-Site sends the origin.
    assert (
        operator.client.post("/ui/sign-out", data={"csrf": csrf}, headers={"Origin": "http://localhost"}).status_code
        == 303
    )


def test_behind_a_trusted_proxy_the_dashboard_needs_no_form_and_refuses_those_of_other_sites(
    state: redis.Redis, tmp_path: Path
) -> None:
    proxy = "proxy: {header: X-Forwarded-User, from: ['10.0.0.0/8'], roles: {operator: [ann]}}"
    access = access_of(TOKENS).removesuffix("}\n") + f", {proxy}}}\n"
    page = Dashboard(build(state, tmp_path, access=access), None)
    page.client.environ_base |= {"REMOTE_ADDR": "10.0.0.7", "HTTP_X_FORWARDED_USER": "ann"}
    assert "ann <small>(operator)</small>" in page.get("events")
    assert page.client.get("/ui/sign-in").headers["Location"] == "/ui/"
    form = {"csrf": csrf_of(page.get("events"))}
    assert page.client.post("/ui/sign-out", data=form, headers=CROSS_SITE).status_code == 403
