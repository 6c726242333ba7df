"""The pages of backfills."""

from __future__ import annotations

from typing import Any

from bridge.polling.backfill_jobs import FAILED, RUNNING, Backfill, Backfills
from bridge.services import Services
from tests.support.dashboard import Dashboard

DAY = 1_795_737_600.0  # 2026-11-27
HOSTILE = '"><script>alert(1)</script>'


def keep(services: Services, **members: Any) -> Backfill:
    """A stored backfill of ten days, of which half are read."""
    first, last = DAY - 10 * 86_400, DAY
    given = {"streams": ["links", "groups"], "finished": ["links"], "pages": 3, "records": 500, "state": RUNNING}
    given |= {"outcomes": {"published": 20, "duplicate": 480}, "by": "night"}
    job = Backfill(id="eu/1", source="eu", first=first, last=last, created=DAY, **(given | members))
    assert Backfills(services.state).add(job, DAY)
    if job.state == RUNNING:
        assert Backfills(services.state).lease(job, "its worker").hold()
    return job


def test_without_a_backfill_the_list_says_how_to_begin(operator: Dashboard) -> None:
    page = operator.get("backfills")
    assert "attempt-bridge backfill --source NAME --from 2026-11-01 --to 2026-11-15 --dry-run" in page
    assert "unknown source" in operator.get("backfills?source=nowhere")


def test_the_progress_is_shown_in_days_pages_records_and_events(operator: Dashboard, services: Services) -> None:
    keep(services, waits="no call is left", waits_until=DAY + 60)
    assert 'href="/ui/backfills/eu/1"' in operator.get("backfills?source=eu")
    page = operator.get("backfills/eu/1")
    for fact in ("5 of 10 days (50 %)", "500 records", "20 events", "no call is left", "backfill show eu/1"):
        assert fact in page
    operator.get("backfills/eu/2", status=404)


def test_a_backfill_is_asked_for_stopped_resumed_and_cancelled(operator: Dashboard) -> None:
    page = operator.submit("backfills/new", source="us", first="3d", last="1d", reprocess="failed", rate="4")
    assert "was requested" in page
    assert "no worker runs" in page
    (row,) = operator.client.get("/api/v1/backfills").get_json()["backfills"]
    assert (row["source"], row["reprocess"], row["rate"], row["dry_run"]) == ("us", "failed", 4, False)
    path = f"backfills/{row['id']}"
    assert f"attempt-bridge backfill stop {row['id']}" in operator.get(path)
    assert "Its state: stopped" in operator.press(path, "stop-backfill")
    assert "Its state: waiting" in operator.press(path, "resume-backfill")
    assert "Its state: cancelled" in operator.press(path, "cancel-backfill")
    assert "/ui/do/" not in operator.get(path)
    done = [entry["action"] for entry in operator.client.get("/api/v1/audit").get_json()["audit"]]
    assert done[:4] == ["cancelBackfill", "resumeBackfill", "stopBackfill", "addBackfill"]


def test_sending_the_form_twice_makes_one_backfill(operator: Dashboard) -> None:
    given = {"source": "us", "first": "3d", "last": "1d", "key": "the-same", "dry_run": "yes"}
    operator.submit("backfills/new", **given)
    operator.submit("backfills/new", **given)
    assert len(operator.client.get("/api/v1/backfills").get_json()["backfills"]) == 1


def test_what_was_typed_stays_and_each_problem_is_beside_its_field(operator: Dashboard) -> None:
    page = operator.submit("backfills/new", status=422, source="us", first=HOSTILE, last="1d", rate="many")
    assert "<script>alert" not in page
    assert 'value="many"' in page
    assert page.count('aria-invalid="true"') >= 1
    page = operator.submit("backfills/new", status=422, source="us", first="1d", last="2d", dry_run="yes")
    assert "the period is empty" in page
    assert 'name="dry_run" value="yes" checked' in page


def test_viewers_read_without_a_button(viewer: Dashboard, services: Services) -> None:
    keep(services, state=FAILED, error=f"the vendor answered {HOSTILE}")
    page = viewer.get("backfills/eu/1")
    assert "the vendor answered &#34;&gt;&lt;script&gt;" in page
    assert "/ui/do/" not in page
    assert 'href="/ui/backfills/new"' not in viewer.get("backfills")
    assert "<select id=" not in viewer.get("backfills/new").partition("<main")[2]
