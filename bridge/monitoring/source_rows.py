"""A source as it is shown: its row in the list, and everything about it. Reads a few keys, however much is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bridge import clock
from bridge.config.model import Source
from bridge.config.source_options import may_be_secret
from bridge.journal.search import search
from bridge.monitoring import alarms
from bridge.monitoring.traffic_baseline import TrafficBaselines
from bridge.polling.cursors import RoundReport
from bridge.polling.reconciliation import CLASSES, Reconciliation, Reconciliations
from bridge.polling.worker_jobs import TEST, WorkerJobs
from bridge.sdk.options import plain
from bridge.sdk.vendor import Poll, streams
from bridge.services import Services
from bridge.text import duration_text, time_of_day_text
from schemas.event import format_time

__all__ = ["source_details", "source_row", "source_rows"]

_ROUNDS_SHOWN = 20
_WATCHES_SHOWN = 20


def source_row(services: Services, source: Source) -> dict[str, Any]:
    """The source with its last webhook and poll, budget, watches and alarms. Raises `StateUnavailable`."""
    return source_rows(services, [source])[0]


def source_rows(services: Services, sources: Sequence[Source]) -> list[dict[str, Any]]:
    """The same for several, in as many round trips as for one."""
    now, names = services.now(), [source.name for source in sources]
    budgets = services.budgets.statuses({source.name: source.budget for source in sources}, now)
    rounds, due = services.cursors.last_rounds(names), services.watches.due_counts(names, now)
    traffics, expected = TrafficBaselines(services.state).traffics(names), services.expectations.counts(names)
    raised = alarms.raised_alarms_of(services.state, names)
    compared = Reconciliations(services.state).last_of(names)
    rows = []
    for source in sources:
        name = source.name
        budget, last, traffic = budgets[name], rounds[name], traffics[name]
        row = {
            "name": name,
            "vendor": source.vendor,
            "webhook": source.webhook.enabled,
            "last_webhook_at": None if traffic is None else _iso(traffic.last_webhook_at),
            "poll": duration_text(source.poll.every) if source.poll.enabled else False,
            "last_poll": _iso(last.started) if last else None,
            "last_error": _error(source, last) if last else None,
            "budget_left": f"{budget.left}/{budget.window.calls}",
            "watches_due": due[name],
            "expected": expected[name][0],
            "overdue": expected[name][1],
            "paused": source.paused or (budget.pause.reason if budget.pause else False),
            "raised_alarms": [alarm.kind for alarm in raised[name]],
            "last_reconciliation": _in_numbers(compared[name]),
        }
        rows.append(row)
    return rows


def source_details(services: Services, source: Source) -> dict[str, Any]:
    """Its row with addresses, cursors, last polls, budget, watches, alarms, last webhook. Raises `StateUnavailable`."""
    name, polls = source.name, streams(services.vendors[source.vendor], source.options)
    return {
        **source_row(services, source),
        "webhook_url": _webhook_url(services, source),
        "base_url": source.base_url,
        "options": _options(services, source),
        "reference": _reference(services, source),
        "last_webhook": _last_webhook(services, name),
        "last_test": _last_test(services, name),
        "budget": _budget(services, source),
        "cursors": _cursors(services, name, polls),
        "rounds": [_round(source, polls, report) for report in services.cursors.history(name, limit=_ROUNDS_SHOWN)],
        "watches": [
            {
                "watch": watch.key,
                "kind": watch.kind,
                "due": _iso(watch.due),
                "looks": watch.rechecks,
                "give_up_at": _iso(watch.give_up_at),
            }
            for watch in services.watches.list(name, limit=_WATCHES_SHOWN)
        ],
        "alarms": [
            {
                "type": alarm.kind,
                "since": _iso(alarm.since),
                "fact": alarm.fact,
                "value": alarm.value,
                "remedy": alarm.remedy,
            }
            for alarm in alarms.raised_alarms(services.state, name)
        ],
    }


def _webhook_url(services: Services, source: Source) -> str | None:
    """What to enter at the vendor; None if it sends no webhooks."""
    if services.vendors[source.vendor].split is None:
        return None
    token_part = "/<token>" if source.webhook.token_sha256 else ""
    return f"{services.config.bridge.public_url}/webhooks/{source.name}{token_part}"


def _options(services: Services, source: Source) -> dict[str, Any]:
    declared = services.vendors[source.vendor].options
    return {
        name: "****" if may_be_secret(name, value, declared.get(name)) else plain(value)
        for name, value in source.options.items()
    }


def _reference(services: Services, source: Source) -> dict[str, str]:
    """Member of a reference -> what it is; empty: the vendor cannot look up a single attempt."""
    vendor = services.vendors[source.vendor]
    return {} if vendor.expect is None else dict(vendor.reference_help)


def _cursors(services: Services, name: str, polls: Mapping[str, Poll]) -> dict[str, dict[str, Any]]:
    positions = services.cursors.positions(name, polls)
    return {
        stream: {"cursor": position.cursor, "resume": position.resume, "saved": _iso(position.saved)}
        for stream, position in positions.items()
    }


def _round(source: Source, polls: Mapping[str, Poll], report: RoundReport) -> dict[str, Any]:
    return {
        "started": _iso(report.started),
        "stream": report.stream,
        "from": _position(polls, report.stream, report.from_cursor),
        "to": _position(polls, report.stream, report.to_cursor),
        "records": report.records,
        **report.outcomes,
        "calls": report.calls,
        "error": _error(source, report),
    }


def _position(polls: Mapping[str, Poll], stream: str, cursor: str) -> str | None:
    """The time that a cursor means; the cursor itself if this version cannot read it."""
    try:
        return _iso(polls[stream].position(cursor))
    except (KeyError, ValueError, TypeError):
        return cursor


def _error(source: Source, report: RoundReport) -> str | None:
    """The error of a poll, or the parts that it could not read, without the source's name, which is shown anyway."""
    if report.error is None and report.unread:
        return "not read: " + ", ".join(f"{part} ({why})" for part, why in sorted(report.unread.items()))
    return None if report.error is None else report.error.removeprefix(f"source {source.name}: ")


def _budget(services: Services, source: Source) -> dict[str, Any]:
    status = services.budgets.status(source.name, source.budget, services.now())
    window, vendor_limit, pause = status.window, status.vendor_limit, status.pause
    sliding = window.resets_at is None
    return {
        "window": "sliding" if sliding else f"daily, from {time_of_day_text(window.resets_at or 0.0)} UTC",
        "calls": window.calls,
        "per": duration_text(window.per_seconds),
        "used": status.used,
        "left": status.left,
        "resets_at": _iso(status.resets_at),
        **{f"used_by_{spender}": count for spender, count in status.spenders.items()},
        "vendor_says": vendor_limit and {**asdict(vendor_limit), "resets_at": _iso(vendor_limit.resets_at)},
        "pause": pause and {"until": None if pause.indefinite else _iso(pause.until), "reason": pause.reason},
    }


def _last_webhook(services: Services, name: str) -> dict[str, Any] | None:
    """The newest stored request of the source; only its time if many others were stored since."""
    page = search(services.requests.newest_first(first=50), lambda request: request.source == name, 1)
    if not page.rows:
        traffic = TrafficBaselines(services.state).traffic(name)
        at = None if traffic is None else traffic.last_webhook_at
        return None if at is None else {"received_at": _iso(at), "outcome": None, "id": None}
    last = page.rows[0]
    return {"received_at": _iso(last.received_at), "outcome": last.outcome, "id": last.id}


def _last_test(services: Services, name: str) -> dict[str, Any] | None:
    tests = (job for job in WorkerJobs(services.state).list(TEST) if job.source == name)
    last = next(tests, None)
    return None if last is None else {"id": last.id, "state": last.state, "created": _iso(last.created)}


def _in_numbers(last: Reconciliation | None) -> dict[str, Any] | None:
    """A comparison with the vendor's list without its ids."""
    if last is None:
        return None
    counts = {kind: last.total(kind) for kind in ("listed", *CLASSES)}
    return {
        "id": last.id,
        "made": _iso(last.made),
        "since": _iso(last.since),
        "until": _iso(last.until),
        **counts,
        "still_missing": len(set(last.ids.get("missing", ())) - set(last.fixed)),
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else format_time(clock.to_datetime(moment))
