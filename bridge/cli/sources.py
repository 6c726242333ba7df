"""`sources`: the configured vendor accounts and the state of reading from them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from bridge.cli.common import load_services
from bridge.cli.options import format_option, known_name
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.sources_test import test
from bridge.cli.watching import watch_option
from bridge.config.model import Source
from bridge.errors import ConfigError
from bridge.monitoring import alarms
from bridge.polling.cursors import RoundReport
from bridge.services import Services
from bridge.text import duration_text, time_of_day_text

__all__ = ["sources"]

_COLUMNS = ("name", "vendor", "webhook", "poll", "last_poll", "last_error", "budget_left", "watches_due", "paused")
_POLLS_SHOWN = 5
_WATCHES_SHOWN = 20


@click.group()
def sources() -> None:
    """List, show, test, pause or resume sources."""


sources.add_command(test)


@sources.command("list")
@format_option
@watch_option
def list_(output: str) -> None:
    """List sources with their last poll, budget and watches."""
    services = load_services()
    rows = (_row(services, source) for source in services.config.sources.values())
    print_list(rows, _COLUMNS, output, empty=f"no sources in {services.config.path}; see bridge.example.yaml")


@sources.command()
@click.argument("name")
def pause(name: str) -> None:
    """Stop polling and answer webhooks with 503 until `resume`. Polling then continues from its cursors."""
    services = load_services()
    known_name(name, services.config.sources, "source")
    services.budgets.pause(name)
    say(f"{name} is paused. Resume it with attempt-bridge sources resume {name}")


@sources.command()
@click.argument("name")
def resume(name: str) -> None:
    """Resume a source that is paused or has refused credentials."""
    services = load_services()
    source = services.config.sources[known_name(name, services.config.sources, "source")]
    was_paused = services.budgets.resume(name)
    if source.paused:
        raise ConfigError(
            f"{services.config.path}: sources.{name}.paused: true keeps it paused. Remedy: remove the line, then "
            "attempt-bridge config reload"
        )
    say(f"{name} resumes with the next poll" if was_paused else f"{name} was not paused")


@sources.command()
@click.argument("name")
@format_option
def show(name: str, output: str) -> None:
    """Show one source: addresses, cursors, last polls, budget, watches, alarms, last webhook."""
    services = load_services()
    source = services.config.sources[known_name(name, services.config.sources, "source")]
    token_part = "/<token>" if source.webhook.token_sha256 else ""
    print_object(
        {
            **_row(services, source),
            "webhook_url": f"{services.config.bridge.public_url}/webhooks/{name}{token_part}",
            "base_url": source.base_url,
            "options": dict(source.options),
            "last_webhook": _last_webhook(services, name),
            "budget": _budget(services, source),
            "cursors": _cursors(services, source),
            "rounds": [_round(services, source, report) for report in services.cursors.history(name)[:_POLLS_SHOWN]],
            "watches": [
                {
                    "watch": watch.key,
                    "kind": watch.kind,
                    "due": iso(watch.due),
                    "looks": watch.rechecks,
                    "give_up_at": iso(watch.give_up_at),
                }
                for watch in services.watches.list(name)[:_WATCHES_SHOWN]
            ],
            "alarms": [
                {
                    "type": alarm.kind,
                    "since": iso(alarm.since),
                    "fact": alarm.fact,
                    "value": alarm.value,
                    "remedy": alarm.remedy,
                }
                for alarm in alarms.raised_alarms(services.state, name)
            ],
        },
        output,
    )


def _row(services: Services, source: Source) -> dict[str, Any]:
    now = services.now()
    budget = services.budgets.status(source.name, source.budget, now)
    last = next(iter(services.cursors.history(source.name)), None)
    paused = source.paused or (budget.pause.reason if budget.pause else False)
    return {
        "name": source.name,
        "vendor": source.vendor,
        "webhook": source.webhook.enabled,
        "poll": duration_text(source.poll.every) if source.poll.enabled else False,
        "last_poll": iso(last.started) if last else None,
        "last_error": _error(source, last) if last else None,
        "budget_left": f"{budget.left}/{budget.window.calls}",
        "watches_due": services.watches.due_count(source.name, now),
        "paused": paused,
    }


def _cursors(services: Services, source: Source) -> dict[str, dict[str, Any]]:
    positions = {
        stream: services.cursors.position(source.name, stream) for stream in services.vendors[source.vendor].polls
    }
    return {
        stream: {"cursor": position.cursor, "resume": position.resume, "saved": iso(position.saved)}
        for stream, position in positions.items()
    }


def _round(services: Services, source: Source, report: RoundReport) -> dict[str, Any]:
    return {
        "started": iso(report.started),
        "stream": report.stream,
        "from": _position(services, source, report.stream, report.from_cursor),
        "to": _position(services, source, report.stream, report.to_cursor),
        "records": report.records,
        **report.outcomes,
        "calls": report.calls,
        "error": _error(source, report),
    }


def _position(services: Services, source: Source, stream: str, cursor: str) -> str | None:
    """The time that a cursor means; the cursor itself if this version cannot read it."""
    try:
        return iso(services.vendors[source.vendor].polls[stream].position(cursor))
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
        "resets_at": iso(status.resets_at),
        **{f"used_by_{spender}": count for spender, count in status.spenders.items()},
        "vendor_says": vendor_limit and {**asdict(vendor_limit), "resets_at": iso(vendor_limit.resets_at)},
        "pause": pause and {"until": None if pause.indefinite else iso(pause.until), "reason": pause.reason},
    }


def _last_webhook(services: Services, name: str) -> dict[str, Any] | None:
    last = next(iter(services.requests.list(source=name)), None)
    return None if last is None else {"received_at": iso(last.received_at), "outcome": last.outcome, "id": last.id}
