"""What every page of the dashboard has: headers, problems as pages, notices, actions, static files."""

from __future__ import annotations

import gzip
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from bridge.errors import StateUnavailable
from bridge.services import Services
from bridge.web.ui import pages
from bridge.web.ui.actions import ACTIONS, Action
from tests.support.dashboard import Dashboard
from tests.support.watches_api import LINK

#: Pages, redirections, problems and files.
ADDRESSES = (
    "/ui",
    "/ui/",
    "/ui/events",
    "/ui/none",
    "/ui/events/none",
    "/ui/do/none",
    "/ui/sign-in",
    "/ui/static/app.css",
)


Act = Callable[..., TestResponse]


@pytest.fixture
def watch() -> Action:
    """An action that registers a watch; `label` is its only field."""
    return Action(
        name="test-watch",
        path="watches",
        label="Watch",
        explains="Registers an expected attempt.",
        command="attempt-bridge watches add --label {label}",
        body=lambda fields: {**LINK, "label": fields["label"]},
        done=lambda fields, answer: f"watched: {fields['label']}",
    )


@pytest.fixture
def act(watch: Action, monkeypatch: pytest.MonkeyPatch, operator: Dashboard) -> Act:
    monkeypatch.setitem(ACTIONS, watch.name, watch)
    csrf = operator.get("events").partition('name="csrf" value="')[2].partition('"')[0]

    def send(name: str = "test-watch", *, csrf: str = csrf, **fields: str) -> TestResponse:
        return operator.client.post(f"/ui/do/{name}", data={"csrf": csrf, "next": "/ui/events?filter=x", **fields})

    return send


# Headers --------------------------------------------------------------------------------------------------------------


def test_every_answer_forbids_inline_scripts_foreign_hosts_frames_and_sniffing(services: Services) -> None:
    for page in (Dashboard(services), Dashboard(services, None)):
        for path in (*ADDRESSES[1:], "/ui/static/none"):
            headers = page.client.get(path).headers
            policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
            assert policy["default-src"] == "'none'", path
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert policy["form-action"] == "'self'"
            assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["Cache-Control"] == ("no-cache" if "/static/app" in path else "no-store"), path


def test_an_unexpected_error_is_a_page_with_the_same_headers(
    operator: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CANARY")

    monkeypatch.setattr("bridge.web.ui.events.read_list", broken)
    operator.client.application.config["PROPAGATE_EXCEPTIONS"] = False
    answer = operator.client.get("/ui/events")
    assert (answer.status_code, "unexpected error" in answer.text, "CANARY" in answer.text) == (500, True, False)
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


def test_the_start_leads_to_the_dashboard(operator: Dashboard) -> None:
    for path in ("/", "/ui"):
        assert operator.client.get(path).headers["Location"] == "/ui/"


# Problems -------------------------------------------------------------------------------------------------------------


def test_an_unknown_page_says_so_for_every_method(operator: Dashboard) -> None:
    for path in ("/ui/none", "/ui/events/none", "/ui/none/none", "/ui/do/none", "/ui/%00"):
        answer = operator.client.get(path)
        assert (answer.status_code, answer.mimetype) == (404, "text/html"), path
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "FOO"):
        assert operator.client.open("/ui/events", method=method).status_code == 405
    assert operator.client.post("/ui/events").status_code == 404


def test_whoever_is_not_signed_in_is_led_to_the_form_from_every_address_and_method(services: Services) -> None:
    nobody = Dashboard(services, None)
    for path in ("/ui/", "/ui/events", "/ui/none", "/ui/do/none", "/ui/audit", "/ui/system", "/ui/settings"):
        for method in ("GET", "POST", "PUT", "FOO"):
            answer = nobody.client.open(path, method=method)
            assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/sign-in"), (method, path)


def test_without_a_state_server_the_page_says_what_to_do(operator: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StateUnavailable("state server: CANARY")

    monkeypatch.setattr("bridge.web.sessions.Sessions.find", away)
    answer = operator.client.get("/ui/events")
    assert (answer.status_code, "attempt-bridge doctor" in answer.text, "CANARY" in answer.text) == (503, True, False)


# Notices --------------------------------------------------------------------------------------------------------------


def _cookie(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode()


def test_a_notice_is_shown_once_and_stays_text(operator: Dashboard) -> None:
    operator.client.set_cookie("bridge_notice", _cookie([True, "<b>done</b>"]), path="/ui/")
    assert '<p class="notice problem">&lt;b&gt;done&lt;/b&gt;</p>' in operator.get("events")
    assert "done" not in operator.get("events")


def test_a_cookie_that_holds_no_notice_shows_none(operator: Dashboard) -> None:
    values = [_cookie(value) for value in (5, [], ["a"], {}, [1, 2, 3])]
    values += [urlsafe_b64encode(raw).decode() for raw in (b"\xff", b"[" * 3000, b"NaN", b"[1,")]
    for value in ("", "x", "é", "====", *values):
        operator.client.set_cookie("bridge_notice", value, path="/ui/")
        assert 'class="notice' not in operator.get("sign-in?code=x"), value


# Actions --------------------------------------------------------------------------------------------------------------


def test_an_action_is_one_call_that_the_audit_names_and_its_notice_is_on_the_page_that_it_came_from(
    act: Act, operator: Dashboard, services: Services
) -> None:
    answer = act(label="HR-7")
    assert answer.headers["Location"] == "/ui/events?filter=x"
    assert '<p class="notice">watched: HR-7</p>' in operator.get("events")
    (entry, _) = services.audit.newest_first()
    assert (entry[2].actor, entry[2].action) == ("operator", "addWatch")


def test_what_the_api_refuses_is_said_on_the_page(act: Act, operator: Dashboard) -> None:
    act(label="x" * 10_000)
    page = operator.get("events")
    assert '<p class="notice problem">' in page
    assert "watched" not in page


def test_an_action_whose_form_lacks_a_field_does_nothing(act: Act, services: Services) -> None:
    answer = act()
    assert (answer.status_code, "the form is incomplete" in answer.text) == (400, True)
    assert len(list(services.audit.newest_first())) == 1


def test_fields_that_an_action_does_not_know_change_nothing(act: Act, operator: Dashboard) -> None:
    act(label="HR-8", unknown="<x>", role="operator")
    assert "watched: HR-8" in operator.get("events")


def test_an_action_without_a_name_that_is_known_is_an_unknown_page(act: Act) -> None:
    for name in ("none", "test-watch/x", "__class__"):
        assert act(name, label="HR-7").status_code == 404


def test_an_action_leads_to_no_other_site(act: Act) -> None:
    assert act(label="HR-7", next="https://evil.example/").headers["Location"] == "/ui/"


def test_an_action_needs_the_csrf_token_and_an_operator(
    act, watch: Action, viewer: Dashboard, operator: Dashboard
) -> None:
    act(csrf="wrong", label="HR-7")
    assert "X-CSRF-Token" in operator.get("events")
    csrf = viewer.get("events").partition('name="csrf" value="')[2].partition('"')[0]
    viewer.client.post(f"/ui/do/{watch.name}", data={"csrf": csrf, "label": "HR-7"})
    assert "role viewer is not sufficient" in viewer.get("events")


def test_an_action_whose_session_has_ended_leads_to_the_form(act: Act, operator: Dashboard) -> None:
    operator.client.delete_cookie("bridge_session")
    assert act(label="HR-7").headers["Location"] == "/ui/sign-in"


# Static files ---------------------------------------------------------------------------------------------------------


def test_every_script_and_style_of_a_page_is_there_and_cached_until_it_changes(operator: Dashboard) -> None:
    page = operator.get("events")
    addresses = [part.partition('"')[0] for mark in ('src="', 'href="') for part in page.split(mark)[1:]]
    static = [address for address in addresses if address.startswith("/ui/static/")]
    assert len(static) >= 8
    assert [address for address in addresses if not address.startswith(("/ui/", "#"))] == []
    for address in static:
        answer = operator.client.get(address)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
        assert answer.mimetype in ("text/css", "text/javascript", "image/svg+xml")


def test_static_files_are_compressed_for_who_takes_it(services: Services) -> None:
    client = Dashboard(services, None).client
    plain = client.get("/ui/static/app.css")
    packed = client.get("/ui/static/app.css", headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data)


def test_an_address_with_another_digest_is_not_kept(services: Services) -> None:
    client = Dashboard(services, None).client
    assert client.get("/ui/static/app.css?v=000000000000").headers["Cache-Control"] == "no-cache"


def test_nothing_else_is_a_static_file(services: Services) -> None:
    client = Dashboard(services, None).client
    for name in ("none.css", "../pages.py", "%2e%2e/pages.py", "vendor/", "", "vendor/checksums.txt", "a%00"):
        answer = client.get(f"/ui/static/{name}")
        assert answer.status_code in (303, 404), name
        assert "def " not in answer.text


def test_every_page_of_the_navigation_is_there_with_a_key_of_its_own(operator: Dashboard) -> None:
    entries = [entry for group in pages.NAVIGATION.values() for entry in group]
    assert len({entry.key for entry in entries}) == len(entries)
    assert len({entry.path for entry in entries}) == len(entries)
