"""The pages of sources, their buttons, and the page of a test."""

from __future__ import annotations

import re

import pytest

from bridge.polling.cursors import RoundReport
from bridge.polling.reconciliation import Reconciliation, Reconciliations
from bridge.polling.worker_jobs import DONE, WorkerJobs
from bridge.quota.budgets import POLL, TEST
from bridge.sdk.vendor import Pointer
from bridge.services import Services
from bridge.state import keys
from tests.support.dashboard import Dashboard
from tests.support.published import publish, submission


def test_the_list_shows_the_worst_state_of_each_source(operator: Dashboard, services: Services) -> None:
    now = services.now()
    services.budgets.pause("us")
    report = RoundReport(stream="links", from_cursor="1", to_cursor="2", started=now)
    report.error = "source eu: <b>503</b> from the vendor"
    services.cursors.record_round("eu", report)
    result = Reconciliation(source="eu", since=now - 100, until=now, made=now, ids={"missing": ["link:9"]})
    Reconciliations(services.state).keep(result)
    page = operator.get("sources")
    assert '<span class="badge warn">last poll failed</span> <small>&lt;b&gt;503&lt;/b&gt; from the vendor' in page
    assert '<span class="badge off">paused</span> <small>paused by an operator' in page
    assert '<span class="badge bad">1</span>' in page
    assert page.count("<tr data-row=") == 2


def test_a_source_is_shown_with_its_rounds_budget_shares_and_what_is_missing(
    operator: Dashboard, services: Services
) -> None:
    now = services.now()
    publish(services, submission(1), submission(2), submission(3), submission(4, origin="poll"))
    report = RoundReport(stream="links", from_cursor="1", to_cursor="2", started=now, records=3, calls=1)
    report.outcomes = {"published": 2, "duplicate": 1}
    services.cursors.record_round("eu", report)
    for spender in (POLL, POLL, TEST):
        services.budgets.take("eu", services.config.sources["eu"].budget, now, spender=spender)
    page = operator.get("sources/eu?period=1h")
    for text in (
        "https://bridge.example.test/webhooks/eu",
        "75 % came by webhook first",
        "1 found only by polls",
        "published 2, duplicate 1",
        "Calls of the budget used: poll 2, test 1, of 30",
        "Attempts published, in steps of 5 m",
        "Attempts published: 4 in all, at most 4 in 5 m",
        'href="/ui/sources/eu?period=7d"',
    ):
        assert text in page
    assert len(page) < 60_000


def test_the_buttons_pause_resume_and_poll_and_the_audit_has_them(operator: Dashboard, services: Services) -> None:
    assert "eu is polled as soon as a worker can" in operator.press("sources/eu", "poll-source")
    assert services.polls_asked.all() == ("eu",)
    page = operator.press("sources/eu", "pause-source")
    assert "eu is paused" in page
    assert "do/pause-source" not in page
    assert "eu resumes" in operator.press("sources/eu", "resume-source")
    actions = [entry["action"] for entry in operator.client.get("/api/v1/audit").json["audit"]]
    assert actions[:3] == ["resumeSource", "pauseSource", "pollSource"]


def test_a_test_leads_to_its_page_which_shows_the_steps_once_they_are_made(
    operator: Dashboard, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no worker runs" in operator.press("sources/eu", "test-source")
    services.state.set(keys.heartbeat("worker"), services.now())
    monkeypatch.setattr("bridge.web.api.source_tests._LONGEST_WAIT", 0.0)
    page = operator.press("sources/eu", "test-source")
    assert "test of eu: waiting" in page
    hx_get = re.search(r'hx-get="/ui/(sources/eu/tests/[^"]+)"', page)
    assert hx_get is not None
    jobs = WorkerJobs(services.state)
    job = jobs.get(hx_get[1].removeprefix("sources/").replace("/tests/", "/"))
    assert job is not None
    job.state = DONE
    job.steps = [
        {"name": "links", "status": "failure", "text": "<i>refused", "records": {"open": 2}, "problems": ["no date"]}
    ]
    jobs.save(job, services.now())
    page = operator.get(hx_get[1])
    assert '<span class="badge bad">failed</span>' in page
    assert "&lt;i&gt;refused<br>no date" in page
    assert "open 2" in page


def test_viewers_see_no_button_and_no_person(viewer: Dashboard, services: Services) -> None:
    now = services.now()
    pointer = Pointer(key="link:7@sam@example.test", reference={"result": "7"})
    services.expectations.expect("eu", [pointer], label="Sam", due=now, deadline=now + 60, now=now)
    page = viewer.get("sources/eu")
    assert '<dt>Expected attempts</dt><dd><a href="/ui/watches?source=eu">1 before' in page
    assert "sam@" not in page
    assert "/ui/do/" not in page
    assert "/ui/do/" not in viewer.get("sources")


def test_an_unknown_source_is_a_page_that_says_so(operator: Dashboard) -> None:
    assert "Did you mean &#34;eu&#34;?" in operator.get("sources/eux", status=404)
