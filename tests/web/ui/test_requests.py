"""The pages of requests and of the quarantine."""

from __future__ import annotations

import re
from html import unescape

import pytest
from markupsafe import escape

from bridge.services import Services
from bridge.web.ui.shown_body import MAX_TEXT, shown_body
from tests.support.dashboard import Dashboard
from tests.support.requests_ui import HOSTILE, PUBLISHED, send
from tests.support.web import result


def test_without_requests_the_page_says_how_to_get_one(operator: Dashboard) -> None:
    page = operator.get("requests")
    assert "No webhook has been received yet" in page
    assert "attempt-bridge sources show NAME" in page


def test_the_list_shows_outcomes_reasons_and_facets_of_sources(operator: Dashboard, services: Services) -> None:
    assert send(services, result(1)) == "published"
    services.requests.reject(
        request_id="01930000-0000-7000-8000-000000000002",
        source="us",
        received_at=services.now(),
        reason="bad_signature",
        headers={},
        body=b"{}",
    )
    page = operator.get("requests")
    assert all(text in page for text in ("published", "link:1", "rejected", "bad_signature"))
    assert 'href="/ui/requests?filter=source%3Aus"' in page
    page = operator.get("requests?filter=outcome:rejected")
    assert ["bad_signature" in page, "link:1" in page] == [True, False]


def test_a_request_is_shown_with_headers_body_and_attempts_and_can_be_processed_again(
    operator: Dashboard, services: Services
) -> None:
    send(services, result(1), **{"user-agent": "ClassMarker"})
    page = operator.get(f"requests/{PUBLISHED}")
    assert "Fire warden refresher" in page
    assert "ClassMarker" in page
    assert 'href="/ui/attempts/eu/link%3A1"' in page
    assert f"https://bridge.example.test/api/v1/requests/{PUBLISHED}" in unescape(page)
    assert re.search(r'href="/ui/events/[0-9a-f-]+">attempt.completed</a>, revision 1', page)
    page = operator.press(f"requests/{PUBLISHED}", "reprocess-request")
    assert f"Request {PUBLISHED} was processed again: duplicate." in page
    _, _, entry = next(iter(services.audit.newest_first()))
    assert (entry.action, entry.actor, entry.change.target) == ("reprocessRequest", "operator", f"request {PUBLISHED}")


def test_a_viewer_sees_no_body_and_no_button(viewer: Dashboard, services: Services) -> None:
    send(services, result(1))
    page = viewer.get(f"requests/{PUBLISHED}")
    assert "Only operators see it." in page
    assert [text for text in ("Sam", "sam@example.test", "/ui/do/") if text in page] == []


def test_what_cannot_be_read_is_in_quarantine_and_is_replayed_by_its_id_or_by_filter(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    assert send(services, b'{"secret of": "Sam"}') == "quarantined"
    page = operator.get(f"requests/{PUBLISHED}")
    (link,) = re.findall(r'href="/ui/(requests/quarantine/[0-9-]+)"', page)
    assert "secret of" in operator.get(link)
    assert "secret of" not in viewer.get(link)
    assert "/ui/do/" not in viewer.get("requests/quarantine")
    assert "replays/new" not in viewer.get(link)
    ident = link.removeprefix("requests/")
    page = unescape(operator.get("requests/quarantine?filter=origin:webhook"))
    assert f'name="ids" value="{ident}"' in page
    assert "/ui/replays/new?what=quarantine&filter=origin%3Awebhook" in page
    page = operator.press(f"replays/new?what=quarantine&by=ids&ids={ident}", "new-replay")
    assert "replays 1" in page


def test_names_and_bodies_of_others_stay_text(operator: Dashboard, services: Services) -> None:
    send(services, result(1, first=HOSTILE), **{"x-odd": HOSTILE})
    send(services, HOSTILE.encode(), "01930000-0000-7000-8000-000000000003")
    pages = [
        operator.get(path)
        for path in (
            "requests",
            f"requests/{PUBLISHED}",
            "requests/01930000-0000-7000-8000-000000000003",
            "requests/quarantine",
            f"requests?filter={HOSTILE}",
            f"requests/quarantine?filter={HOSTILE}",
        )
    ]
    assert str(escape(HOSTILE)) in pages[1]
    assert str(escape(HOSTILE)) in pages[2]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page


@pytest.mark.parametrize(
    ("raw", "text", "is_hex"),
    [
        (b'{"a": 1}\r\n', '{"a": 1}\r\n', False),
        ("é".encode(), "é", False),
        (b"", "", False),
        (b"\x00\xffab", "00000000  00 ff 61 62                                      ..ab", True),
        (b"\x1b[31m", "00000000  1b 5b 33 31 6d                                   .[31m", True),
    ],
)
def test_a_body_is_text_or_hex(raw: bytes, text: str, is_hex: bool) -> None:
    shown = shown_body(raw)
    assert (shown.text, shown.is_hex, shown.is_cut) == (text, is_hex, False)


def test_a_long_text_is_cut_between_characters_and_long_bytes_after_fewer() -> None:
    text = shown_body(b"a" + "é".encode() * MAX_TEXT)
    assert (text.is_hex, text.is_cut, len(text.text.encode())) == (False, True, MAX_TEXT - 1)
    raw = shown_body(b"\xff" * 300_000)
    assert (raw.is_hex, raw.is_cut, raw.text.count("\n")) == (True, True, 255)
