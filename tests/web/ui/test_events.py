"""The pages of events."""

from __future__ import annotations

from bridge.services import Services
from tests.support import dispatch
from tests.support.dashboard import Dashboard
from tests.support.published import publish, submission


def test_an_empty_list_says_what_to_do(operator: Dashboard) -> None:
    page = operator.get("events")
    assert "Nothing has been published yet" in page
    assert "attempt-bridge sources list" in page


def test_the_address_holds_the_filter_and_a_facet_adds_to_it(operator: Dashboard, services: Services) -> None:
    publish(services, *(submission(number) for number in range(1, 5)))
    page = operator.get("events?filter=passed:true")
    assert ["link:2" in page, "link:3" in page] == [True, False]
    assert 'href="/ui/events?filter=passed%3Atrue+origin%3Awebhook"' in page
    assert 'href="/ui/events" aria-current="true"' in page


def test_a_filter_that_cannot_be_read_is_a_line_on_the_page(operator: Dashboard) -> None:
    assert "unknown field at character 1: &#34;nome&#34;" in operator.get("events?filter=nome:3")


def test_an_event_is_shown_whole_to_operators_and_without_the_person_to_viewers(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    publish(services, submission(7))
    ident = next(iter(services.journal_tail.events(since=None, newest_first=False))).id
    assert "sam7@example.test" in operator.get(f"events/{ident}")
    page = viewer.get(f"events/{ident}")
    assert "link:7" in page
    assert "sam7" not in page


def test_an_event_with_few_members_of_another_version_is_shown_with_what_it_has(
    operator: Dashboard, services: Services
) -> None:
    (ident,) = dispatch.publish(services.state, 7)
    for page in ("events", f"events/{ident}", "attempts"):
        text = operator.get(page)
        assert ("a7" in text, "Zoë Reyes" in text, "passed" in text) == (True, True, True), page
