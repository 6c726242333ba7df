"""The vendor accounts: webhooks, polls, budgets."""

from __future__ import annotations

from flask import Response

from bridge.web.ui.actions import Action, add_actions
from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.charts import chart_of, gauge
from bridge.web.ui.lists import Listing, read_list
from bridge.web.ui.pages import PREFIX, render_page
from bridge.web.ui.periods import chosen_period, period_choices
from bridge.web.ui.source_rows import outcomes_of, shares_of, spenders_of, state_of_test
from bridge.web.ui.source_states import budget_is_short, state_of

__all__ = ["SOURCE_CHART", "blueprint"]

blueprint = PageBlueprint("sources", __name__, "sources")

_LISTING = Listing("sources", "sources", has_period=False)
#: Figure of a source -> its label in charts.
SOURCE_CHART = {"published_by_webhook": "by webhook", "published_by_poll": "by poll"}


_PAUSE = Action(
    name="pause-source",
    path="sources/{name}/pause",
    label="Pause",
    explains="No polls, and 503 for its webhooks, until it is resumed. Vendors send them again for a while; polling "
    "then continues from its cursors, so nothing that the vendor still lists is missed.",
    command="attempt-bridge sources pause {name}",
    done=lambda fields, answer: f"{fields['name']} {'is paused' if answer['changed'] else 'was paused already'}",
    is_danger=True,
)
_RESUME = Action(
    name="resume-source",
    path="sources/{name}/resume",
    label="Resume",
    explains="Starts polls and webhooks again, from the cursors on. After rejected credentials, correct them first.",
    command="attempt-bridge sources resume {name}",
    done=lambda fields, answer: f"{fields['name']} {'resumes' if answer['changed'] else 'was not paused'}",
)
_POLL = Action(
    name="poll-source",
    path="sources/{name}/poll",
    label="Poll now",
    explains="A worker polls it within seconds, whatever its interval, within its budget.",
    command="attempt-bridge sources poll {name}",
    done=lambda fields, answer: f"{fields['name']} is polled as soon as a worker can; its round appears below",
)
_TEST = Action(
    name="test-source",
    path="sources/{name}/test",
    label="Test",
    explains="A worker logs in at the vendor and reads a page of each stream. Nothing is published, no cursor moves; "
    "it uses a few calls of the budget.",
    command="attempt-bridge sources test {name}",
    done=lambda fields, answer: f"test of {fields['name']}: {state_of_test(answer)[0]}",
    leads_to=lambda fields, answer: f"{PREFIX}sources/{answer['source']}/tests/{answer['id'].partition('/')[2]}",
)
add_actions(_PAUSE, _RESUME, _POLL, _TEST)


@blueprint.get("")
def show_list() -> Response:
    """All sources, in the order of the configuration."""
    shown = read_list(_LISTING)
    rows = [(row, state_of(row), budget_is_short(row)) for row in shown.rows]
    return render_page("sources.html", title="Sources", shown=shown, rows=rows)


@blueprint.get("/<name>")
def show_one(name: str) -> Response:
    """One source with everything about it."""
    row, period = read(f"sources/{name}"), chosen_period()
    stats = read("stats", period=period, step="5m", sources=row["name"])
    figures = next(iter(stats["sources"]), None)
    spenders = spenders_of(row["budget"])
    return render_page(
        "source.html",
        title=row["name"],
        row=row,
        state=state_of(row),
        periods=period_choices(),
        chart=chart_of("Attempts published", stats, figures, SOURCE_CHART),
        shares=shares_of({} if figures is None else figures["totals"]),
        spenders=spenders,
        gauge=gauge(spenders, row["budget"]["calls"], "Calls of the budget used"),
        rounds=[(each, outcomes_of(each)) for each in row["rounds"]],
        resume_action=_RESUME,
        actions=[_POLL, _TEST, _PAUSE],
    )


@blueprint.get("/<name>/tests/<number>")
def show_test(name: str, number: str) -> Response:
    """The result of a test; the page reads it again until the test has ended."""
    test = read(f"sources/{name}/tests/{number}")
    return render_page("source_test.html", title=f"Test of {name}", test=test, state=state_of_test(test), again=_TEST)
