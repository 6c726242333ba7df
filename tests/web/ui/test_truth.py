"""The sentence at the top of the overview: every case, and what comes first."""

from __future__ import annotations

from typing import Any

from bridge.web.ui.truth import Truth, truth

NIGHT = "2026-11-27T02:00:00.000Z"


def source(name: str = "eu", **members: Any) -> dict[str, Any]:
    row = {
        "name": name,
        "last_webhook_at": NIGHT,
        "last_poll": NIGHT,
        "last_error": None,
        "paused": False,
        "overdue": 0,
        "raised_alarms": [],
        "last_reconciliation": {"still_missing": 0, "until": NIGHT},
    }
    return row | members


def subscription(name: str = "crm", **members: Any) -> dict[str, Any]:
    row = {
        "name": name,
        "configured": True,
        "state": "active",
        "circuit": "closed",
        "why": "",
        "waits": "",
        "failing_since": None,
        "last_error": "",
        "dead_letters": 0,
    }
    return row | members


def finding(name: str, status: str = "warning", text: str = "no heartbeat") -> dict[str, Any]:
    return {"name": name, "status": status, "text": text}


def said(sources: Any = None, subscriptions: Any = None, groups: Any = (), findings: Any = ()) -> tuple[str, str]:
    sentence: Truth = truth(
        {"findings": findings},
        [source()] if sources is None else sources,
        [subscription()] if subscriptions is None else subscriptions,
        groups,
    )
    return sentence.kind, sentence.text


def test_all_is_well() -> None:
    names = ["a", "b", "c", "d", "e"]
    assert said([source(name) for name in names]) == (
        "good",
        f"All 5 sources heard, no delivery failing, nothing missing up to {NIGHT}",
    )
    assert said() == ("good", f"The source is heard, no delivery failing, nothing missing up to {NIGHT}")


def test_deliveries_that_fail_come_before_what_is_well() -> None:
    kind, text = said(
        [source("a"), source("b")],
        [subscription(dead_letters=1), subscription("b", dead_letters=1200)],
        [{"failing": 2}, {"failing": 1}],
    )
    assert kind == "bad"
    assert text == (
        "3 deliveries failing in 2 open failure groups, 1,201 dead letters, all 2 sources heard, "
        f"nothing missing up to {NIGHT}"
    )
    assert said(groups=[{"failing": 1}])[1].startswith("1 delivery failing in 1 open failure group, ")
    assert said(groups=[{"failing": 0}])[1].startswith("The source is heard, no delivery failing")


def test_a_state_server_in_trouble_and_missing_processes_come_first() -> None:
    findings = [
        finding("maxmemory", "failure", "reached: the server refuses writes"),
        finding("worker"),
        finding("beat", "ok", "heartbeat 1 s ago"),
        finding("dispatch", "warning", "last heartbeat 90 s ago"),
        finding("appendfsync", "warning", "everysec"),
    ]
    missing = source(last_reconciliation={"still_missing": 3, "until": NIGHT})
    kind, text = said([missing], groups=[{"failing": 1}], findings=findings)
    assert kind == "bad"
    assert text == (
        "maxmemory: reached: the server refuses writes, no sign of worker: nothing is polled, no sign of dispatch: "
        "nothing is delivered, 3 attempts missing at eu, 1 delivery failing in 1 open failure group, "
        "the source is heard"
    )


def test_memory_that_runs_out_is_a_warning() -> None:
    assert said(findings=[finding("memory", "warning", "9 of 10 MB used")])[0] == "warn"


def test_sources_in_trouble_are_named_the_worst_first() -> None:
    rows = [
        source("a", raised_alarms=["source.webhooks_silent"]),
        source("b", raised_alarms=["source.poll_failing"], last_error="503"),
        source("c", raised_alarms=["source.credentials_rejected"], paused="401"),
        source("d", raised_alarms=["source.budget_exhausted"]),
        source("e", paused=True),
        source("f", last_error="timed out"),
        source("g", last_webhook_at=None, last_poll=None),
        source("h"),
    ]
    assert said(rows) == (
        "bad",
        "Source stopped: c, source failing: b, source silent: a, source out of calls: d, source paused: e, "
        "source with a failed poll: f, source not heard yet: g, "
        f"1 of 8 sources heard, no delivery failing, nothing missing up to {NIGHT}",
    )


def test_of_many_the_first_are_named() -> None:
    rows = [source(f"s{number}", raised_alarms=["source.webhooks_silent"]) for number in range(6)]
    assert said(rows)[1].startswith("Sources silent: s0, s1, s2 and 3 more, 0 of 6 sources heard")
    assert said(rows[:4])[1].startswith("Sources silent: s0, s1, s2 and s3, 0 of 4")


def test_subscriptions_that_deliver_nothing_are_named() -> None:
    rows = [
        subscription("a", state="disabled", circuit="disabled"),
        subscription("b", circuit="open"),
        subscription("c", waits="broker is down"),
        subscription("d", state="paused", circuit="paused"),
        subscription("e", configured=False, state="removed", circuit="removed"),
    ]
    kind, text = said(subscriptions=rows)
    assert kind == "bad"
    assert text.startswith(
        "Subscription disabled: a, subscription with an open circuit: b, subscription blocked: c, "
        "subscription paused: d, the source is heard"
    )


def test_what_was_not_compared_is_not_said_to_be_complete() -> None:
    never = source("b", last_reconciliation=None)
    assert said([source("a"), never]) == (
        "warn",
        f"1 source not compared yet, all 2 sources heard, no delivery failing, nothing missing up to {NIGHT}",
    )
    assert said([never])[1] == "Not compared with the vendors' lists yet, the source is heard, no delivery failing"


def test_the_oldest_comparison_counts() -> None:
    older = source("b", last_reconciliation={"still_missing": 0, "until": "2026-11-25T02:00:00.000Z"})
    assert said([source("a"), older])[1].endswith("nothing missing up to 2026-11-25T02:00:00.000Z")


def test_expected_attempts_that_have_not_come_are_counted() -> None:
    assert said([source(overdue=2)])[1].startswith("2 expected attempts overdue, the source is heard")


def test_an_empty_bridge_is_said_to_be_empty() -> None:
    assert said([], []) == (
        "warn",
        "No source is configured, no subscription is configured: events stay in the journal",
    )
