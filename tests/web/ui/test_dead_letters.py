"""The pages of dead letters."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from bridge.services import Services
from tests.support.dashboard import Dashboard
from tests.support.deliveries_ui import HOSTILE, dead, hostile, send, with_subscriptions
from tests.support.dispatch import Receiver, publish


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return with_subscriptions(state, tmp_path)


def ids_of(services: Services) -> list[str]:
    return [f"crm/{letter.id}" for letter in services.deliveries.dead_letters("crm")]


def test_the_list_has_facets_boxes_and_ways_to_replay_what_is_selected_or_all_that_match(
    operator: Dashboard, services: Services
) -> None:
    assert "No delivery has been given up" in operator.get("dead-letters")
    dead(services, 1, 2)
    page = operator.get("dead-letters?filter=attempt:a1&since=1h")
    (chosen,) = [ident for ident in ids_of(services) if f'value="{ident}" form="selection" data-select' in page]
    assert 'href="/ui/dead-letters?filter=attempt%3Aa1+reason%3Areceiver_error&amp;since=1h"' in page
    assert 'href="/ui/dead-letters?filter=attempt%3Aa1+subscription%3Acrm&amp;since=1h"' in page
    assert 'href="/ui/replays/new?filter=attempt%3Aa1&amp;since=1h&amp;what=dead_letters"' in page
    preview = operator.get(f"replays/new?what=dead_letters&by=ids&ids={quote(chosen)}")
    assert operator.form(preview, "new-replay")["ids"] == [chosen]


def test_a_dead_letter_shows_its_event_and_every_try_to_operators_and_no_person_to_viewers(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    (event_id,) = dead(services, 1)
    (ident,) = ids_of(services)
    page = operator.get(f"dead-letters/{ident}")
    for piece in (event_id, "Zoë Reyes", "out of order, ask sam@example.test", "250 ms", ">500</td>", "data-replay"):
        assert piece in page, piece
    assert f"attempt-bridge dead-letters show {ident}" in page
    page = viewer.get(f"dead-letters/{ident}")
    assert event_id in page
    for piece in ("Zoë", "sam@example.test", "/ui/do/", "data-replay"):
        assert piece not in page, piece
    page = viewer.get("dead-letters")
    assert "data-select" not in page
    assert "replays/new" not in page


def test_discarding_is_confirmed_and_deletes_what_was_shown_and_no_more(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    dead(services, 1, 2, 3)
    newest, *others = ids_of(services)
    page = operator.get(f"dead-letters/discard?by=ids&ids={'&ids='.join(others)}")
    assert "<strong>2 dead letters</strong> would be deleted permanently. Nothing has been deleted yet." in page
    form = operator.form(page, "discard-dead-letters")
    assert "2 dead letters discarded" in operator.send("discard-dead-letters", form)
    assert "0 dead letters discarded; 2 no longer there" in operator.send("discard-dead-letters", form)
    assert ids_of(services) == [newest]
    assert "select rows of the list first" in operator.get("dead-letters/discard?by=ids")
    assert "unknown field" in operator.get("dead-letters/discard?filter=nome:1")
    matching = "dead-letters/discard?filter=reason:receiver_error&subscription=crm"
    assert "/ui/do/" not in viewer.get(matching)
    assert "1 dead letter discarded" in operator.press(matching, "discard-dead-letters")
    assert "Nothing to discard" in operator.get(matching)


def test_more_than_one_call_takes_are_discarded_by_the_command_that_is_shown(
    operator: Dashboard, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.web.ui.dead_letters._BATCH", 1)
    dead(services, 1, 2)
    page = operator.get("dead-letters/discard?subscription=crm&since=2h")
    assert "more match; the command deletes all of them" in page
    assert "attempt-bridge dead-letters discard --subscription crm --since 2h --yes" in page
    assert len(operator.form(page, "discard-dead-letters")["ids"]) == 1


def test_what_a_receiver_answers_stays_text(operator: Dashboard, services: Services) -> None:
    publish(services.state, 1)
    send(services, receiver=Receiver(hostile, status=500, body=HOSTILE.encode()))
    (ident,) = ids_of(services)
    for path in ("dead-letters", f"dead-letters/{ident}", "dead-letters/discard", "replays/new?what=dead_letters"):
        page = operator.get(path)
        for piece in ("<script>alert", "<img src=x", '" autofocus'):
            assert piece not in page, (path, piece)
    assert "&lt;img src=x" in operator.get(f"dead-letters/{ident}")
