"""The pages of replays: preview, job, list."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from bridge.services import Services
from tests.support.dashboard import Dashboard
from tests.support.deliveries_ui import dead, finish, send, with_subscriptions
from tests.support.dispatch import outcomes
from tests.support.sql_tables import made, outgoing, sqlite_place


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return with_subscriptions(state, tmp_path)


def test_an_empty_list_says_what_to_do(operator: Dashboard) -> None:
    page = operator.get("replays")
    assert "Nothing has been replayed yet" in page
    assert "attempt-bridge replays new dead-letters --dry-run" in page


def test_the_preview_counts_and_shows_and_its_button_replays_what_was_counted_and_nothing_later(
    operator: Dashboard, services: Services
) -> None:
    ids = dead(services, 1, 2, 3)
    path = "replays/new?what=dead_letters&filter=attempt:a1,a2&subscriptions=crm"
    page = operator.get(path)
    assert "<strong>2</strong> of the dead letters that match <code>attempt:a1,a2</code> would be replayed" in page
    assert "<dt>Excluded by a filter</dt><dd>1</dd>" in page
    assert ids[0] in page
    assert ids[2] not in page
    assert "Nothing has been sent yet." in page
    assert "attempt-bridge replays new dead-letters --filter attempt:a1,a2 --until 20" in page
    assert services.replays.running() == []
    form = operator.form(page, "new-replay")
    # The same attempt fails again before the button is pressed.
    later = dead(services, 1)
    job = operator.send("new-replay", form, rate="50")
    assert "replays 2" in job
    assert "50 a second at most" in job
    finish(services)
    sent = send(services).ids
    assert sorted(sent) == sorted(ids[:2]), later
    assert [entry.action for _, _, entry in services.audit.newest_first()] == ["addReplay", "openSession"]


def test_selected_ids_are_replayed_and_no_others_and_pressing_twice_makes_one_job(
    operator: Dashboard, services: Services
) -> None:
    ids = dead(services, 1, 2, 3)
    chosen = [f"crm/{letter.id}" for letter in services.deliveries.dead_letters("crm") if letter.delivery.id in ids[:2]]
    page = operator.get(f"replays/new?what=dead_letters&by=ids&ids={'&ids='.join(chosen)}&ids=crm/0:1-1")
    assert "<strong>2</strong> of the dead letters that were selected would be replayed" in page
    assert "They may be replayed already, or discarded." in page
    form = operator.form(page, "new-replay")
    assert form["ids"] == [*chosen, "crm/0:1-1"]
    for _ in range(2):
        operator.send("new-replay", form)
    finish(services)
    assert sorted(send(services).ids) == sorted(ids[:2])
    assert len(list(services.replays.newest_first())) == 1


def test_a_replay_of_a_failure_group_leaves_out_what_fails_after_its_preview(
    operator: Dashboard, services: Services
) -> None:
    ids = dead(services, 1, 2)
    (group,) = {letter.group for letter in services.deliveries.dead_letters("crm")}
    path = f"replays/new?what=dead_letters&group=crm/{group}"
    form = operator.form(operator.get(path), "new-replay")
    dead(services, 3)
    assert "<strong>3</strong> of the dead letters of the failure group" in operator.get(path)
    operator.send("new-replay", form)
    finish(services)
    assert sorted(send(services).ids) == sorted(ids)


def test_nothing_selected_or_nothing_that_matches_has_no_button(operator: Dashboard, services: Services) -> None:
    dead(services, 1)
    for query, says in {
        "what=dead_letters&by=ids": "nothing is selected. Remedy: select rows of the list first",
        "what=dead_letters&filter=attempt:other": "Nothing to replay: no dead letters match.",
        "what=dead_letters&filter=nome:1": "unknown field at character 1",
        "what=dead_letters&ids=crm/0:1-1": "unknown ids: crm/0:1-1. They may be replayed already",
    }.items():
        page = operator.get(f"replays/new?{query}")
        assert says in page, query
        assert "do/new-replay" not in page


def test_a_job_is_stopped_resumed_and_aborted_from_its_page(operator: Dashboard, services: Services) -> None:
    dead(services, 1)
    job = operator.press("replays/new?what=dead_letters", "new-replay")
    ident = next(iter(services.replays.newest_first())).job.id
    path = f"replays/{ident}"
    assert 'data-refresh="5"' in job
    assert f"attempt-bridge replays stop {ident}" in job
    assert "is stopped" in operator.press(path, "stop-replay")
    assert f"{ident} continues" in operator.press(path, "resume-replay")
    page = operator.press(path, "abort-replay")
    assert '<span class="badge off">aborted</span>' in page
    assert "/ui/do/" not in page
    assert 'value="0.0" max="1"' in page
    actions = [entry.action for _, _, entry in services.audit.newest_first()]
    assert actions == ["abortReplay", "resumeReplay", "stopReplay", "addReplay", "openSession"]
    assert f'<a href="/ui/{path}">{ident}</a>' in operator.get("replays")


def test_viewers_see_jobs_without_a_button_and_without_the_filter(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    dead(services, 1)
    operator.press("replays/new?what=dead_letters&filter=reason:receiver_error", "new-replay")
    ident = next(iter(services.replays.newest_first())).job.id
    page = viewer.get(f"replays/{ident}")
    assert "/ui/do/" not in page
    assert "reason:receiver_error" not in page
    preview = viewer.get("replays/new?what=dead_letters")
    assert "this call needs role operator" in preview
    assert "do/new-replay" not in preview


def test_what_left_the_journal_is_replayed_from_the_tables_that_the_form_names(
    operator: Dashboard, services: Services, tmp_path: Path
) -> None:
    place = sqlite_place(str(tmp_path / "attempts.db"))
    services.config.subscriptions["warehouse"] = place.subscription  # type: ignore[index]
    transport = place.transport()
    assert outcomes(transport, outgoing(made(1), made(2))) == [None, None]
    transport.close()
    assert 'name="from_archive"' in operator.get("replays/new")
    page = operator.get("replays/new?what=events&from_archive=warehouse&subscriptions=crm")
    assert "<strong>2</strong> of the events from the tables of warehouse would be replayed" in page
    assert "--from-archive warehouse --subscription crm --yes" in page
    job = operator.send("new-replay", operator.form(page, "new-replay"))
    assert "<dt>From the tables of</dt>" in job
    finish(services)
    assert sorted(event.attempt for event in send(services).got) == ["a1", "a2"]
