"""The pages of reconciliations."""

from __future__ import annotations

from bridge.polling.reconciliation import Reconciliation, Reconciliations
from bridge.services import Services
from tests.support.dashboard import Dashboard

DAY = 1_795_737_600.0  # 2026-11-27
HOSTILE = '"><script>alert(1)</script>'


def keep(services: Services, **members: object) -> Reconciliation:
    """A stored result of two days."""
    days = {
        "2026-11-26": {"listed": 1000, "both": 990, "webhook_only": 0, "poll_only": 9, "missing": 1, "expected": 0},
        "2026-11-27": {"listed": 4, "both": 4, "webhook_only": 0, "poll_only": 0, "missing": 0, "expected": 2},
    }
    ids = {"missing": [f"link:{HOSTILE}"], "poll_only": ["link:7", "sam@example.test"], "expected": ["link:9"]}
    kept = {"since": DAY - 86_400, "until": DAY + 3600, "made": DAY + 7200, "days": days, "ids": ids}
    result = Reconciliation(source="eu", **{**kept, **members})  # type: ignore[arg-type]
    Reconciliations(services.state).keep(result)
    return result


def test_without_a_result_the_list_says_how_to_make_one(operator: Dashboard) -> None:
    page = operator.get("reconciliations")
    assert "attempt-bridge reconcile --source NAME --since 7d" in page
    assert 'href="/ui/reconciliations/new"' in page


def test_a_result_has_a_bar_and_the_numbers_of_each_day(operator: Dashboard, services: Services) -> None:
    result = keep(services)
    assert f'href="/ui/reconciliations/{result.id}"' in operator.get("reconciliations?source=eu&state=done")
    page = operator.get(f"reconciliations/{result.id}")
    bars = [part.partition("</svg>")[0] for part in page.split('<svg class="bar"')[1:]]
    assert [bar.count("<rect") for bar in bars] == [3, 1]
    assert 'x="97.9%" width="1.1%" height="14" fill="url(#bar-missing)"' in bars[0]
    assert "1 missing" in page
    assert "until 01:00 UTC" in page


def test_ids_lead_to_their_attempts_and_stay_text(operator: Dashboard, services: Services) -> None:
    result = keep(services)
    page = operator.get(f"reconciliations/{result.id}")
    assert 'href="/ui/attempts/eu/link%3A7" data-copy="link:7"' in page
    assert 'href="/ui/attempts/eu/sam%40example.test"' in page
    assert "/ui/attempts/eu/link%3A9" not in page
    assert "<script>alert" not in page
    assert "link:&#34;&gt;&lt;script&gt;alert(1)" in page


def test_many_ids_of_one_kind_are_shown_in_steps(operator: Dashboard, services: Services) -> None:
    result = keep(services, ids={"missing": [f"link:{number}" for number in range(1, 901)], "poll_only": ["link:x"]})
    page = operator.get(f"reconciliations/{result.id}")
    assert [f'data-copy="link:{number}"' in page for number in (40, 41)] == [True, False]
    one_kind = operator.get(f"reconciliations/{result.id}?kind=missing")
    assert "kind=missing&amp;from=400" in one_kind
    assert ["link:x" in page, "link:x" in one_kind] == [True, False]
    page = operator.get(f"reconciliations/{result.id}?kind=missing&from=800")
    assert [f'data-copy="link:{number}"' in page for number in (800, 801, 900)] == [False, True, True]
    operator.get(f"reconciliations/{result.id}?kind=missing&from=-1", status=404)
    operator.get(f"reconciliations/{result.id}?kind=nothing", status=404)


def test_viewers_see_no_address_and_no_button(viewer: Dashboard, services: Services) -> None:
    result = keep(services)
    page = viewer.get(f"reconciliations/{result.id}")
    assert "sam@example.test" not in page
    assert "attempts/eu/%2A" not in page
    assert "Compare again" not in page
    assert 'action="/ui/reconciliations/new"' not in viewer.get("reconciliations/new")


def test_a_comparison_is_asked_for_and_stopped(operator: Dashboard, services: Services) -> None:
    page = operator.submit("reconciliations/new", source="us", since="2d", fix="yes")
    assert "was requested" in page
    assert "no worker runs" in page
    (row,) = operator.client.get("/api/v1/reconciliations").get_json()["reconciliations"]
    assert (row["source"], row["state"]) == ("us", "waiting")
    assert "attempt-bridge reconcile stop us/" in page
    assert "is stopped" in operator.press(f"reconciliations/{row['id']}", "stop-reconciliation")
    done = [entry["action"] for entry in operator.client.get("/api/v1/audit").get_json()["audit"]]
    assert done[:2] == ["stopReconciliation", "addReconciliation"]
    assert "Stop</summary>" not in operator.get(f"reconciliations/{row['id']}")


def test_what_was_typed_stays_when_the_api_refuses_it(operator: Dashboard) -> None:
    page = operator.submit("reconciliations/new", status=422, source="us", since="soon", fix="yes")
    assert 'value="soon"' in page
    assert 'name="fix" value="yes" checked' in page
    assert '<strong class="wrong">' in page
    assert '<option value="us" selected>' in page
