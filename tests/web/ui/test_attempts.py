"""The pages of attempts."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from markupsafe import escape

from bridge.errors import DeliveryFailed
from bridge.journal import Entry
from bridge.services import Services
from bridge.web.api import attempts as attempts_api
from bridge.web.ui.differences import MOST, Difference, differences, event_differences
from bridge.web.ui.filter_text import searchable
from bridge.web.ui.timeline import MOST_DELIVERIES, timeline
from tests.support.dashboard import Dashboard
from tests.support.deliveries_ui import BOOK, with_subscriptions
from tests.support.deliveries_ui import send as deliver
from tests.support.dispatch import Receiver
from tests.support.published import submission
from tests.support.requests_ui import HOSTILE, csrf, send
from tests.support.waiting import until
from tests.support.watches_api import LINK
from tests.support.web import result

#: Of those of the API, the ones that an address may not keep.
ODD = ("a//b", "/", "%2F", "a?b=c&d#e", "ä b", "..", '"><img src=x>')
IDS = [f"01930000-0000-7000-8000-00000000000{number}" for number in range(10)]


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return with_subscriptions(state, tmp_path)


def test_an_attempt_is_found_by_name_address_label_and_id(operator: Dashboard, services: Services) -> None:
    send(services, result(1), IDS[1])
    send(services, result(2, first="Zoë", email="zoe@example.test"), IDS[2])
    for text in ("zoë", "zoe@", "link:2", "attempt:link:2", "reyes -sam"):
        page = (
            operator.follow(answer)
            if (answer := operator.client.get("/ui/attempts", query_string={"filter": text})).status_code == 303
            else answer.text
        )
        assert ["link:2" in page, 'href="/ui/attempts/eu/link%3A1"' in page] == [True, False], text
    assert "No attempt matches." in operator.get("attempts?filter=nobody")


def test_an_empty_list_says_what_to_do(operator: Dashboard) -> None:
    assert "No attempt has come yet" in operator.get("attempts")


def test_the_timeline_has_webhooks_events_deliveries_tries_and_what_changed(
    operator: Dashboard, services: Services
) -> None:
    send(services, result(1), IDS[1])

    def fails(_: object) -> DeliveryFailed:
        return DeliveryFailed("receiver answered 500: busy", reason="receiver_error")

    deliver(services, receiver=Receiver(fails, status=500, body=b"out of order"))
    deliver(services, BOOK)
    send(services, result(1, percentage=80.0), IDS[2])
    # The page keeps no order of two webhooks within a millisecond, or of what they caused.
    sent = services.now()
    until(lambda: services.now() - sent > 0.002)
    send(services, result(1, percentage=80.0), IDS[3])
    page = re.sub(r"\s+", " ", operator.get("attempts/eu/link%3A1"))
    happened = page[page.index('<ol class="timeline">') :]
    places = [
        happened.index(text)
        for text in (
            f"requests/{IDS[1]}",
            "attempt.completed",
            "Delivery to",
            f"requests/{IDS[2]}",
            "attempt.revised",
            f"requests/{IDS[3]}",
        )
    ]
    assert places == sorted(places)
    for text in ("of 553 bytes", "dead letter</a>", "receiver answered 500: busy", "out of order", "delivered"):
        assert text in page, text
    assert "<del>70.0</del>" in page
    assert "<ins>80.0</ins>" in page
    assert "1 webhook with nothing new" in page
    assert "All webhooks that are kept were searched." in page
    assert "https://bridge.example.test/api/v1/attempts/eu?attempt=link%3A1" in unescape(page)
    assert "replays/new?what=events&by=ids&ids=" in unescape(page)


def test_deliveries_beyond_the_bound_of_a_call_are_behind_a_link(
    operator: Dashboard, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts_api, "_MOST_LOOKUPS", 3)
    send(services, result(1), IDS[1])
    send(services, result(1, percentage=80.0), IDS[2])
    deliver(services, BOOK)
    page = operator.get("attempts/eu/link%3A1")
    assert page.count("Delivery to book") == 1
    assert len(re.findall(r'href="/ui/deliveries\?filter=event%3A[0-9a-f-]+">Its deliveries</a>', page)) == 1


def test_a_viewer_sees_the_life_of_an_attempt_without_person_and_button(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    send(services, result(1), IDS[1])
    deliver(services, receiver=Receiver(lambda _: DeliveryFailed("no", reason="receiver_error"), body=b"of sam@x.test"))
    assert "Reyes" in operator.get("attempts/eu/link%3A1")
    for path in ("attempts", "attempts/eu/link%3A1"):
        page = viewer.get(path)
        assert "link:1" in page
        assert [text for text in ("Reyes", "sam@", "/ui/do/", "replays/new") if text in page] == []


def test_an_attempt_that_is_expected_has_a_page(operator: Dashboard, services: Services) -> None:
    key = operator.client.post("/api/v1/watches", json=LINK, headers={"X-CSRF-Token": csrf(operator)}).json["key"]
    page = operator.get(f"attempts/eu/{quote(key, safe='')}")
    for text in ("Nothing yet", "Expected since then", "label HR-7", "Deadline", "Next recheck"):
        assert text in page, text


@pytest.mark.own_partitions
def test_a_page_is_found_by_any_id(operator: Dashboard, services: Services) -> None:
    plain = submission(1)
    event = plain.build(1, None)
    odd = [replace(plain, attempt_id=ident, subject=None, build=lambda *_: event) for ident in ODD]
    services.journal.publish(Entry(submissions=tuple(odd)), now=services.now())
    links = [unescape(link) for link in re.findall(r'href="(/ui/attempts/eu[^"]*)"', operator.get("attempts"))]
    assert len(links) == len(ODD)
    for link, ident in zip(links, ODD[::-1], strict=True):
        answer = operator.client.get(link)
        assert answer.status_code == 200, ident
        assert f'<small><code class="id" data-copy="{escape(ident)}">' in answer.text


def test_names_labels_answers_and_ids_of_others_stay_text(operator: Dashboard, services: Services) -> None:
    send(services, result(1, first=HOSTILE, email="javascript:alert(1)"), IDS[1])
    deliver(
        services, receiver=Receiver(lambda _: DeliveryFailed(HOSTILE, reason="receiver_error"), body=HOSTILE.encode())
    )
    send(services, result(1, last=HOSTILE, percentage=80.0), IDS[2])
    ident = services.journal_reader.attempt("eu", "link:1")
    assert ident is not None
    event = next(iter(services.journal_tail.events())).id
    for path in ("attempts", "attempts/eu/link%3A1", f"attempts?filter={quote(HOSTILE)}", "events", f"events/{event}"):
        page = operator.client.get(f"/ui/{path}", follow_redirects=True).text
        assert [text for text in ("<script>alert", "<img", 'href="javascript:') if text in page] == [], path
    assert str(escape(HOSTILE)) in operator.get("attempts/eu/link%3A1")


def test_an_event_is_sent_again_to_chosen_subscriptions(operator: Dashboard, services: Services) -> None:
    send(services, result(1), IDS[1])
    event = next(iter(services.journal_tail.events())).id
    page = operator.get(f"events/{event}")
    assert 'name="subscriptions" value="book"' in page
    page = operator.get(f"replays/new?what=events&by=ids&ids={event}&subscriptions=book")
    assert "<dt>book</dt><dd>1</dd>" in page
    assert "<dt>crm</dt>" not in page
    operator.press(f"replays/new?what=events&by=ids&ids={event}&subscriptions=book", "new-replay")
    (stored,) = services.replays.newest_first()
    assert (stored.job.subscriptions, stored.job.kind) == (["book"], "events")


def test_differences_name_each_member_with_both_values() -> None:
    before = {"result": {"score": 1, "passed": None, "tags": ["a", "b"]}, "sections": [], "gone": "x"}
    after = {"result": {"score": 2, "passed": None, "tags": ["a", "c", "d"]}, "sections": [{"id": "1"}], "new": False}
    assert differences(before, after) == [
        Difference("result.score", "1", "2"),
        Difference("result.tags[1]", '"b"', '"c"'),
        Difference("result.tags[2]", None, '"d"'),
        Difference("sections[0].id", None, '"1"'),
        Difference("new", None, "false"),
        Difference("sections", "[]", None),
        Difference("gone", '"x"', None),
    ]
    assert differences(before, before) == []
    assert len(differences({}, {str(number): number for number in range(2 * MOST)})) == MOST


def test_differences_of_events_leave_out_what_always_differs() -> None:
    before = {"attempt": {"revision": 1, "status": "completed"}, "result": {"score": 1, "previous": None}}
    after = {"attempt": {"revision": 2, "status": "voided"}, "result": {"score": 1, "previous": {"score": 1}}}
    assert event_differences(before, after) == [Difference("attempt.status", '"completed"', '"voided"')]


def test_of_many_deliveries_those_that_failed_are_shown_and_the_others_counted() -> None:
    def delivery(number: int, state: str) -> dict[str, object]:
        return {"subscription": f"s{number}", "state": state, "at": "2026-11-27T10:00:01.000Z", "log": []}

    deliveries = [delivery(number, "delivered") for number in range(199)] + [delivery(199, "dead")]
    event = {"id": "e", "recorded_at": "2026-11-27T10:00:00.000Z", "event": {}, "deliveries": deliveries}
    entries = timeline({"events": [event], "requests": [], "watch": None}, [], [])
    shown = [entry.row["subscription"] for entry in entries if entry.kind == "delivery"]
    assert (len(shown), shown[0]) == (MOST_DELIVERIES, "s199")
    assert [entry.row["number"] for entry in entries if entry.kind == "deliveries"] == [200 - MOST_DELIVERIES]


def test_an_event_comes_after_its_webhook_and_before_its_deliveries_whatever_clocks_and_rounding_do() -> None:
    tried = {"at": "2026-11-27T09:59:59.000Z"}
    delivery = {"subscription": "crm", "state": "dead", "at": "2026-11-27T09:59:59.100Z", "log": [tried]}
    event = {
        "id": "e",
        "recorded_at": "2026-11-27T10:00:00.566Z",
        "event": {"recordedtime": "2026-11-27T10:00:00.567Z"},
        "deliveries": [delivery],
    }
    webhook = {"id": "r", "received_at": "2026-11-27T10:00:00.568Z"}
    entries = timeline({"events": [event], "requests": [webhook], "watch": None}, [webhook], [])
    assert [entry.kind for entry in entries] == ["request", "event", "delivery"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("link:7", '"link:7"'),
        ("-link:7 passed:true", '"-link:7" passed:true'),
        ("passed:true  sam", "passed:true  sam"),
        ('"link:7"', '"link:7"'),
        ('a:"b c"', '"a:\\"b c\\""'),
        ("since:2h", "since:2h"),
    ],
)
def test_a_term_that_names_no_field_is_searched_for(text: str, expected: str) -> None:
    assert searchable(text, {"passed", "since"}) == expected
