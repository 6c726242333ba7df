from __future__ import annotations

import pytest

from bridge.web.ui.targets import local_target


@pytest.mark.parametrize(
    "given",
    [
        "/ui/",
        "/ui/events?filter=passed%3Atrue&cursor=x",
        "/ui/attempts/eu/a%2Fb%3A7",
        "/ui/sources/eu#polls",
        "/ui/a..b",
    ],
)
def test_an_address_of_the_dashboard_is_kept(given: str) -> None:
    assert local_target(given) == given


@pytest.mark.parametrize(
    "given",
    [
        *("", "/", "ui/", "/uix/", "/api/v1/events", "events", "?x", "#x"),
        *("//evil.example/ui/", "///evil.example/ui/", "/\\evil.example/ui/", "\\\\evil.example/ui/", "/ui/\\evil"),
        *("https://evil.example/ui/", "http:/ui/", "https:evil.example/ui/", "javascript:alert(1)", "JavaScript:/ui/"),
        *("data:text/html,/ui/", " /ui/", "/\t/evil.example/ui/", "/ui/\n", "/ui/\r\nSet-Cookie: a=b", "\x00/ui/"),
        *("/ui/../api/v1/session", "/ui/%2e%2e/webhooks/eu", "/ui/.%2E/x", "/ui/x/../../y"),
        *("//[", "http://[::1", "/ui/é", "/ui/\ud800"),
    ],
)
def test_any_other_address_becomes_that_of_the_overview(given: str) -> None:
    assert local_target(given) == "/ui/"
