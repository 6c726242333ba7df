"""The pages of watches."""

from __future__ import annotations

import pytest

from bridge.sdk.records import Watch
from bridge.services import Services
from bridge.watch_registration import watch_id
from tests.support.dashboard import Dashboard

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


def expect(operator: Dashboard, result: str, label: str = "HR-7", **fields: str) -> str:
    """Register an attempt with the form; the page of its watch."""
    members = {"reference.stream": "link", "reference.result": result, "reference.user": ""}
    return operator.submit("watches/new?source=eu", to="watches/new", label=label, **members, **fields)


def test_an_empty_list_says_what_to_do(operator: Dashboard) -> None:
    assert "attempt-bridge watches add --source NAME" in operator.get("watches")


def test_an_attempt_is_expected_with_the_fields_of_its_vendor_and_cancelled(operator: Dashboard) -> None:
    form = operator.get("watches/new?source=eu")
    assert "link: the id of the result" in form
    page = expect(operator, "7", due="2099-12-01T12:00:00Z")
    for fact in ("the attempt is expected", "HR-7", "2099-12-01 12:00:00 UTC", '/ui/attempts/eu/link%3A7"'):
        assert fact in page
    ident = watch_id("eu", "link:7")
    assert f'href="/ui/watches/{ident}">link:7' in operator.get("watches?source=eu&kind=expectation&state=open")
    assert "the watch is cancelled" in operator.press(f"watches/{ident}", "cancel-watch")
    operator.get(f"watches/{ident}", status=404)
    done = [entry["action"] for entry in operator.client.get("/api/v1/audit").get_json()["audit"]]
    assert done[:2] == ["cancelWatch", "addWatch"]


def test_problems_are_beside_their_fields_and_what_was_typed_stays(operator: Dashboard) -> None:
    given = {"reference.stream": HOSTILE, "deadline": "soon", "label": "HR-7"}
    page = operator.submit("watches/new?source=eu", to="watches/new", status=422, **given)
    assert "<script>alert" not in page
    assert 'name="label" value="HR-7"' in page
    assert "Not a valid datetime." in page.partition('id="about-deadline"')[2].partition("</small>")[0]
    given = {"reference.stream": "link", "reference.nothing": "x"}
    page = operator.submit("watches/new?source=eu", to="watches/new", status=422, **given)
    assert "is not a member of a reference of ClassMarker" in page.partition("<legend>Reference</legend>")[2]


def test_the_numbers_of_all_are_shown_and_overdue_ones_are_marked(operator: Dashboard, services: Services) -> None:
    for number in ("1", "2"):
        expect(operator, number)
    services.watches.open("us", "link:3", Watch(reference={}, due_in=60.0, give_up_at=services.now() + 60), now=1.0)
    (overdue,) = (expectation for expectation in services.expectations.list("eu") if expectation.key == "link:2")
    assert services.expectations.set_state("eu", overdue, "overdue")
    page = operator.get("watches?kind=expectation")
    assert ["expectation 2" in page, "attempt 1" in page, "overdue 1" in page, "2 watches match" in page] == [True] * 4
    assert '<span class="badge bad">overdue</span>' in page
    assert "It is overdue" in operator.get(f"watches/{watch_id('eu', 'link:2')}")


def test_a_csv_text_is_checked_refused_with_its_lines_and_imported(operator: Dashboard) -> None:
    wrong = "stream,result,label\nlink,7,HR-7\nlink,,<script>alert(1)</script>\n"
    page = operator.submit("watches/import", status=422, csv=wrong, source="eu")
    assert "<li>line 3: reference: " in page
    assert "<script>alert" not in page
    text = "stream,result,label\nlink,7,HR-7\nlink,8,HR-8\n"
    page = operator.submit("watches/import", status=200, csv=text, source="eu", check="yes")
    assert "2 attempts would be expected" in page
    assert "link,8,HR-8\n</textarea>" in page
    assert operator.client.get("/api/v1/watches").get_json()["total"] == 0
    assert "2 attempts are expected" in operator.submit("watches/import", csv=text, source="eu")
    assert operator.client.get("/api/v1/watches").get_json()["total"] == 2
    many = "stream,result\n" + "".join(f"link,{number}\n" for number in range(501))
    page = operator.submit("watches/import", status=422, csv=many, source="eu")
    assert "has 501 lines below the header. Give 1 to 500" in page


def test_viewers_see_neither_label_nor_reference_nor_a_button(operator: Dashboard, viewer: Dashboard) -> None:
    expect(operator, "7", HOSTILE)
    ident = watch_id("eu", "link:7")
    assert "&#34;&gt;&lt;script&gt;alert(1)" in operator.get("watches")
    assert "<script>alert" not in operator.get(f"watches/{ident}")
    for page in (viewer.get("watches"), viewer.get(f"watches/{ident}")):
        assert "***" in page
        assert "alert(1)" not in page
        assert "/ui/do/" not in page
    for path in ("watches/new?source=eu", "watches/import"):
        assert f'method="post" action="/ui/{path}' not in viewer.get(path)
