"""The page Live as the server makes it; what its script does is in tests/browser/test_live.py."""

from __future__ import annotations

import json
import re
from html import unescape
from importlib.resources import files

from bridge.services import Services
from tests.support.dashboard import Dashboard
from tests.support.published import publish, submission


def test_without_scripts_it_has_the_newest_events_and_says_that_it_does_not_move(
    operator: Dashboard, services: Services
) -> None:
    publish(services, submission(1), submission(2), submission(3, kind="source.poll_failing"))
    publish(services, submission(4, source="subscriptions/crm", kind="subscription.failing"))
    page = operator.get("live")
    assert "/ui/sources/subscriptions" not in page
    assert "<noscript>" in page
    assert 'href="/ui/attempts/eu/link%3A2"' in page
    assert "source.poll_failing" in page.partition("<tbody>")[2]
    assert "data-no-refresh" in page
    assert "source.poll_failing" not in operator.get("live?topics=events").partition("<tbody>")[2]
    assert "link:2" not in operator.get("live?topics=alarms").partition("<tbody>")[2]


def test_the_address_holds_topics_filter_and_source_and_becomes_that_of_the_stream(operator: Dashboard) -> None:
    page = operator.get("live?topics=deliveries&filter=outcome:failed&source=us")
    assert 'data-stream="/api/v1/events/stream?topics=deliveries&amp;filter=outcome%3Afailed&amp;source=us"' in page
    assert "events tail --topics deliveries --filter outcome:failed --source us" in page
    assert 'data-stream="/api/v1/events/stream?topics=events%2Calarms&amp;since=10s"' in operator.get("live?topics=x")


def test_a_filter_that_cannot_be_read_is_a_line_and_nothing_is_followed(operator: Dashboard) -> None:
    page = operator.get("live?filter=nome:<script>alert(1)</script>")
    assert '<p class="notice problem" role="alert">' in page
    assert "data-stream" not in page
    assert "<script>alert" not in page


def test_scripts_are_told_of_every_type_of_message(operator: Dashboard) -> None:
    given = re.search(r'data-types="([^"]*)"', operator.get("live"))
    assert given is not None
    names = set(json.loads(unescape(given[1])))
    assert {"attempt.completed", "source.poll_failing", "consent.withdrawn", "delivery.dead"} <= names
    script = files("bridge.web.ui").joinpath("static/refresh.js").read_text(encoding="utf-8")
    known = re.search(r"NAMES = \[(.*?)\]", script, re.DOTALL)
    assert known is not None
    assert names - set(re.findall(r'"([^"]+)"', known[1])) == set()


def test_viewers_get_no_label_and_no_name(viewer: Dashboard, services: Services) -> None:
    publish(services, submission(7))
    page = viewer.get("live")
    assert "link:7" in page
    assert "sam7" not in page
