"""Replay jobs over the API and the command line, run by the runner of the dispatch process, with crashes in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge.config.model import Filter, RetryPolicy, Subscription
from bridge.delivery.replay_jobs import Part, PartProgress, allowance, share_done
from bridge.delivery.replay_selection import Page, Selection
from bridge.delivery.replay_store import Batch
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from tests.support.cli import Run, runner
from tests.support.dispatch import Receiver, publish, refuse, scheduled, send_due
from tests.support.watches_api import TOKENS, OpenGate, access_of, build
from workers.dispatch.replays import CRASH_POINTS, ReplayRunner

NEVER = RetryPolicy(schedule=())
CRM = Subscription(name="crm", transport="http", retry=NEVER)
BOOK = Subscription(name="book", transport="http", retry=NEVER, filter=Filter(when={"passed": True}))


class Killed(BaseException):
    """The process ended here."""


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    services = build(state, tmp_path, access=access_of(TOKENS))
    services = replace(services, config=replace(services.config, subscriptions={"crm": CRM, "book": BOOK}))
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    return services


def client(services: Services, role: str) -> FlaskClient:
    made = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS[role]}"
    return made


@pytest.fixture
def api(services: Services) -> FlaskClient:
    return client(services, "operator")


@pytest.fixture
def run(services: Services, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def dispatch(services: Services, subscription: Subscription = CRM, answer: Any = None) -> Receiver:
    """All that is due is sent now."""
    receiver = Receiver(answer)
    send_due(services.state, receiver, subscription, services.now() + 1, steps=1000)
    return receiver


def dead(services: Services, *numbers: int) -> list[str]:
    ids = publish(services.state, *numbers)
    dispatch(services, answer=refuse)
    return ids


def finish(services: Services, crash: Callable[[str], None] = lambda point: None, steps: int = 100) -> None:
    """Run all jobs to their end."""
    runner = ReplayRunner(services, "test", live_seconds=0.0, crash=crash)
    for _ in range(steps):
        if not services.replays.running():
            return
        runner.step(services.now)
    raise AssertionError("still running")


def made(api: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = api.post("/api/v1/replays", json=body)
    assert answer.status_code == 201, answer.json
    row: dict[str, Any] = answer.json["replay"]
    return row


def shown(api: FlaskClient, row: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = api.get(f"/api/v1/replays/{row['id']}").json
    return document


def test_dead_letters_are_sent_again_with_their_ids_and_the_job_in_a_header_and_the_audit_says_who(
    services: Services, api: FlaskClient
) -> None:
    ids = dead(services, 1, 2, 3)
    row = made(api, what="dead_letters")
    assert (row["state"], row["progress"], row["by"]) == ("running", 0.0, "operator")
    later = dead(services, 4)
    finish(services)
    sent = dispatch(services)
    assert sorted(sent.ids) == sorted(ids)
    assert {event.replay for event in sent.got} == {row["id"]}
    assert sent.got[0].headers == {"bridge-replay": row["id"]}
    assert all(b"replay" not in event.body for event in sent.got)
    done = shown(api, row)
    assert (done["state"], done["replayed"], done["progress"]) == ("done", 3, 1.0)
    # What failed after the job was made is not part of it.
    assert [letter.delivery.id for letter in services.deliveries.dead_letters("crm")] == later
    ((_, _, entry),) = services.audit.newest_first()
    assert (entry.action, entry.actor, entry.change.after and entry.change.after["items"]) == (
        "addReplay",
        "operator",
        3,
    )


def test_events_that_were_delivered_are_sent_again_to_one_subscription_and_only_what_its_filter_takes(
    services: Services, api: FlaskClient
) -> None:
    passed, failed = publish(services.state, 1), publish(services.state, 2, passed=False)
    for subscription in (CRM, BOOK):
        assert dispatch(services, subscription).got
    waiting = publish(services.state, 3)
    row = made(api, what="events", since="1h", subscriptions=["book"])
    finish(services)
    assert dispatch(services, BOOK).ids.count(passed[0]) == 1
    counts = shown(api, row)
    assert (counts["replayed"], counts["excluded"], counts["waiting"]) == (1, 1, 1), waiting
    assert dispatch(services, CRM).ids == waiting
    # By id, to all.
    made(api, what="events", ids=[*passed, *failed])
    finish(services)
    assert sorted(dispatch(services, CRM).ids) == sorted([*passed, *failed])
    assert dispatch(services, BOOK).ids == passed


def test_a_replayed_event_takes_the_place_of_its_dead_letter_and_what_is_under_way_stays_as_it_is(
    services: Services, api: FlaskClient
) -> None:
    (event_id,) = dead(services, 1)
    row = made(api, what="events", ids=[event_id], subscriptions=["crm"])
    finish(services)
    assert list(services.deliveries.dead_letters("crm")) == []
    assert services.state.zcard(keys.letter_index("crm")) == 0
    again = made(api, what="events", ids=[event_id], subscriptions=["crm"])
    finish(services)
    assert (shown(api, row)["replayed"], shown(api, again)["waiting"]) == (1, 1)
    assert [delivery.replay for delivery in scheduled(services.state, "crm")] == [row["id"]]


def test_a_preview_has_counts_and_ten_examples_and_changes_nothing(services: Services, api: FlaskClient) -> None:
    dead(services, *range(12))
    answer = api.post("/api/v1/replays", json={"what": "dead_letters", "preview": True})
    assert answer.status_code == 200
    preview = answer.json["preview"]
    assert (answer.json["replay"], preview["total"], preview["complete"], len(preview["examples"])) == (
        None,
        12,
        True,
        10,
    )
    narrow = {"what": "dead_letters", "filter": "attempt:a1,a2 since:1h", "preview": True}
    preview = api.post("/api/v1/replays", json=narrow).json["preview"]
    assert preview["by_subscription"] == [{"subscription": "crm", "count": 2}]
    assert (preview["excluded"], preview["unreadable"]) == (10, 0)
    # The same filter with absolute times, and the moment: what comes later can be left out of the job.
    assert preview["filter"].startswith("attempt:a1,a2 since:20")
    assert preview["at"] > preview["filter"].partition("since:")[2]
    assert services.replays.running() == []
    assert list(services.audit.newest_first()) == []


@pytest.mark.parametrize("point", [point for point in CRASH_POINTS if point not in ("reprocessed", "recorded")])
def test_a_job_whose_process_is_killed_continues_and_replays_each_dead_letter_once(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._BATCH", 3)
    ids = dead(services, *range(8))
    row = made(api, what="dead_letters")
    for at in range(1, 5):
        passed = 0

        def crash(name: str, at: int = at) -> None:
            nonlocal passed
            passed += name == point
            if passed == at:
                raise Killed

        services.state.delete(keys.lease(f"replay:{row['id']}"))
        try:
            finish(services, crash)
        except Killed:
            continue
        break
    services.state.delete(keys.lease(f"replay:{row['id']}"))
    finish(services)
    assert sorted(dispatch(services).ids) == sorted(ids)
    done = shown(api, row)
    assert (done["state"], done["replayed"], done["gone"], done["waiting"]) == ("done", 8, 0, 0)


def test_a_preview_counts_what_it_does_not_show_as_what_it_shows(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(services, *range(14))
    stream = keys.dead("crm", 0)
    oldest, newest = (services.state.xrange(stream)[place] for place in (0, -1))
    for entry, fields in (oldest, newest):
        services.state.xdel(stream, entry)
        services.state.xadd(stream, {**fields, b"event": b""})
    body = {"what": "dead_letters", "filter": "-attempt:a12", "preview": True}
    shown = [api.post("/api/v1/replays", json=body).json["preview"]]
    monkeypatch.setattr("bridge.delivery.replay_making._PAGE", 1)
    shown.append(api.post("/api/v1/replays", json=body).json["preview"])
    assert [
        (preview["total"], preview["excluded"], preview["unreadable"], len(preview["examples"])) for preview in shown
    ] == [(11, 1, 2, 10)] * 2


def test_a_quarantined_record_is_read_again_and_counted(services: Services, api: FlaskClient) -> None:
    services.quarantine.add(source="eu", origin="poll", reason="no id", body=b"{}", now=services.now())
    # The list takes the same filter as the job.
    chosen = 'reason:"no id" bytes:<9'
    assert len(api.get("/api/v1/quarantine", query_string={"filter": chosen}).json["quarantine"]) == 1
    row = made(api, what="quarantine", filter=chosen)
    finish(services)
    done = shown(api, row)
    assert (done["failed"], done["replayed"], services.quarantine.size()) == (1, 0, 1)


def test_a_job_stops_resumes_and_aborts_and_one_that_has_ended_is_a_conflict(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._BATCH", 2)
    dead(services, *range(6))
    row = made(api, what="dead_letters")
    address = f"/api/v1/replays/{row['id']}"
    runner = ReplayRunner(services, "test", live_seconds=0.0)
    runner.step(services.now)
    assert api.post(f"{address}/stop").json["state"] == "stopped"
    assert runner.step(services.now) == 1.0
    half = shown(api, row)
    assert half["replayed"] == 2
    assert api.post(f"{address}/stop").status_code == 409
    assert api.post(f"{address}/resume").json["state"] == "running"
    runner.step(services.now)
    assert api.post(f"{address}/abort").json["state"] == "aborted"
    assert shown(api, row)["replayed"] == 4
    assert len(list(services.deliveries.dead_letters("crm"))) == 2
    for action in ("stop", "resume", "abort"):
        answer = api.post(f"{address}/{action}")
        assert (answer.status_code, answer.json["detail"]) == (409, f"{row['id']} has ended: aborted. Make a new one")
    assert api.post("/api/v1/replays/replay-x/stop").status_code == 404
    assert [replay["id"] for replay in api.get("/api/v1/replays").json["replays"]] == [row["id"]]


def test_a_subscription_that_is_behind_gets_no_more_and_the_job_says_why(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.dispatch.replays._BATCH", 2)
    monkeypatch.setattr("workers.dispatch.replays._MAX_DUE", 2)
    dead(services, *range(4))
    row = made(api, what="dead_letters")
    runner = ReplayRunner(services, "test", live_seconds=0.0)
    assert runner.step(services.now) == 0.0
    assert runner.step(services.now) > 0
    assert "crm has 2 deliveries" in shown(api, row)["waits"]
    assert len(dispatch(services).ids) == 2
    finish(services)
    assert shown(api, row)["replayed"] == 4


def newest_at(services: Services) -> float:
    """UNIX seconds of the newest event."""
    return int(services.journal_reader.ends()[1][0].partition("-")[0]) / 1000


def test_a_job_without_a_rate_goes_slowly_while_new_events_come(services: Services, api: FlaskClient) -> None:
    dead(services, *range(16))
    row, runner, newest = made(api, what="dead_letters"), ReplayRunner(services, "test"), newest_at(services)
    waits = []
    for moment in (1.0, 1.2, 1.3, 1.32):
        waits.append(round(runner.step(partial(float, newest + moment)), 3))
    # Eight at a time: 25 a second, and one more when the job begins.
    assert (waits, shown(api, row)["replayed"]) == ([0.28, 0.08, 0.0, 0.28], 8)
    assert shown(api, row)["waits"].startswith("new events are coming in: 25 a second")
    runner.step(partial(float, newest + 5.0))
    assert (shown(api, row)["replayed"], shown(api, row)["waits"]) == (16, "")


def test_a_job_with_a_rate_keeps_it_while_new_events_come(services: Services, api: FlaskClient) -> None:
    dead(services, *range(14))
    row, runner, newest = made(api, what="dead_letters", rate=100), ReplayRunner(services, "test"), newest_at(services)
    for moment in (0.0, 0.105):
        runner.step(partial(float, newest + moment))
    assert (shown(api, row)["replayed"], shown(api, row)["waits"]) == (11, "")


def test_a_slow_job_reads_no_more_than_it_may_replay_and_more_where_a_filter_excludes_most(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(services, *range(14))
    row, read = made(api, what="dead_letters", rate=1, filter="attempt:a0,a9"), []
    page = Selection.page

    def counted(self: Selection, part: Part, after: str, limit: int) -> Page:
        read.append(limit)
        return page(self, part, after, limit)

    monkeypatch.setattr(Selection, "page", counted)
    runner, now = ReplayRunner(services, "test"), services.now()
    while services.replays.running():
        now += 1.0
        runner.step(partial(float, now))
    # a0 at once, then more and more entries until a9 comes, with the last page.
    assert (read, shown(api, row)["replayed"]) == ([1, 1, 2, 4, 8], 2)


def test_two_processes_do_not_run_one_job_at_the_same_time(services: Services, api: FlaskClient) -> None:
    dead(services, 1)
    made(api, what="dead_letters")
    ReplayRunner(services, "one").step(services.now)
    assert ReplayRunner(services, "two").step(services.now) == 1.0


def test_a_job_to_a_subscription_that_is_gone_fails_and_says_what_to_do(services: Services, api: FlaskClient) -> None:
    dead(services, 1)
    row = made(api, what="dead_letters")
    finish(replace(services, config=replace(services.config, subscriptions={"book": BOOK})))
    assert shown(api, row)["error"] == "subscription crm is no longer in bridge.yaml. Remedy: add it again"
    assert shown(api, row)["state"] == "failed"
    assert api.post(f"/api/v1/replays/{row['id']}/resume").status_code == 200
    finish(services)
    assert shown(api, row)["state"] == "done"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"what": "dead_letters"}, 404, "nothing to replay"),
        ({"what": "events"}, 422, "events need ids"),
        ({"what": "events", "ids": ["0" * 36]}, 404, "unknown ids"),
        ({"what": "dead_letters", "ids": ["crm/0:1-1"]}, 404, "unknown ids"),
        ({"what": "quarantine", "ids": ["quarantine/1-1"]}, 404, "unknown ids"),
        ({"what": "dead_letters", "group": "crm/abc"}, 404, "unknown failure group"),
        ({"what": "dead_letters", "filter": "colour:blue"}, 422, "unknown field"),
        ({"what": "dead_letters", "subscriptions": ["crn"]}, 422, "unknown subscription"),
        ({"what": "dead_letters", "rate": 0}, 422, "rate"),
        ({"what": "letters"}, 422, "what"),
    ],
)
def test_a_wrong_job_is_one_problem(api: FlaskClient, body: dict[str, Any], status: int, says: str) -> None:
    answer = api.post("/api/v1/replays", json=body)
    assert answer.status_code == status
    assert says in json.dumps(answer.json)


def test_viewers_see_jobs_without_their_filter_and_make_none(services: Services, api: FlaskClient) -> None:
    dead(services, 1)
    row = made(api, what="dead_letters", filter="attempt:a*")
    viewer = client(services, "viewer")
    assert (row["filter"], viewer.get(f"/api/v1/replays/{row['id']}").json["filter"]) == ("attempt:a*", "***")
    assert viewer.post("/api/v1/replays", json={"what": "dead_letters"}).status_code == 403


def test_commands_make_list_show_and_end_jobs(services: Services, run: Run) -> None:
    assert run("replays", "new", "dead-letters", "--yes")[::2] == (3, "nothing to replay: no item matches\n")
    dead(services, 1, 2)
    code, out, err = run("replays", "new", "dead-letters")
    assert (code, out.splitlines()[0]) == (0, "2 of crm would be replayed")
    assert "add --yes" in err
    code, _, err = run("replays", "new", "dead-letters", "--yes", "--no-wait", "--rate", "50")
    ident = err.split()[0]
    assert (code, err) == (0, f"{ident} replays 2\n")
    assert run("replays", "stop", ident)[0] == 0
    assert json.loads(run("replays", "show", ident, "--json")[1])["state"] == "stopped"
    assert run("replays", "resume", ident, "--no-wait")[0] == 0
    finish(services, steps=100_000)
    assert ident in run("replays", "list")[1]
    code, _, err = run("replays", "abort", ident)
    assert (code, err) == (1, f"Error: {ident} has ended: done. Make a new one\n")
    assert run("replays", "show", "replay-x")[0] == 3


def test_a_rate_allows_its_number_and_keeps_nothing_for_longer_than_a_second() -> None:
    assert allowance(None, 0.0, 0.0, 200) == 200
    assert allowance(10.0, 0.0, 0.25, 200) == 2.5
    assert allowance(10.0, 2.0, 60.0, 200) == 10.0
    assert allowance(0.1, 0.0, 60.0, 200) == 1.0
    assert allowance(10.0, 1.0, -5.0, 200) == 1.0


def test_a_part_is_done_by_time_or_by_its_named_entries() -> None:
    part = Part("crm", 0, "1000-0", "2000-0")
    assert [share_done(part, PartProgress(at)) for at in ("", "1500-3", "2000-0")] == [0.0, 0.5, 1.0]
    named = Part("crm", 0, "1-0", "9-0", ("1-0", "2-0", "8-0", "9-0"))
    assert share_done(named, PartProgress("2-0")) == 0.5
    assert share_done(part, PartProgress("1-0", done=True)) == 1.0


def test_a_process_that_slept_through_its_lease_repeats_no_batch(services: Services, api: FlaskClient) -> None:
    (event_id,) = dead(services, 1)
    row = made(api, what="events", ids=[event_id], subscriptions=["crm"])
    stored = services.replays.get(row["id"])
    assert stored is not None
    (part,) = stored.job.parts
    selection = Selection(services.state, stored.job, services.config.subscriptions)
    page = selection.page(part, "", 10)
    items = [selection.record(candidate) for candidate in page.candidates]
    batch = Batch(part=part, before="", after=page.after, last=True, items=items)
    assert services.replays.schedule(stored.job, batch, now=services.now())
    dispatch(services)
    assert not services.replays.schedule(stored.job, batch, now=services.now())
    assert scheduled(services.state, "crm") == []
