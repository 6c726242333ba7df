"""`sources`: the configured vendor accounts and how reading from them goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bridge.cli.common import format_option, known_name, load_services
from bridge.cli.output import iso, print_list, print_one
from bridge.config_fields import duration_text

if TYPE_CHECKING:
    from bridge.config import Source
    from bridge.services import Services

__all__ = ["sources"]

_COLUMNS = ("name", "vendor", "webhook", "poll", "last_poll", "last_error", "budget_left", "watches_due", "paused")


@click.group()
def sources() -> None:
    """List the sources, or show one."""


@sources.command("list")
@format_option
def list_(output: str) -> None:
    """List the sources with their last poll, budget and watches."""
    services = load_services()
    rows = (_row(services, source) for source in services.config.sources.values())
    print_list(rows, _COLUMNS, output, empty=f"{services.config.path} has no sources yet; see bridge.example.yaml")


@sources.command()
@click.argument("name")
@format_option
def show(name: str, output: str) -> None:
    """Show one source: addresses, streams, last rounds, watches."""
    services = load_services()
    source = services.config.sources[known_name(name, services.config.sources, "source")]
    places = {stream: services.cursors.place(name, stream) for stream in services.vendors[source.vendor].polls}
    rounds = services.cursors.history(name)[:5]
    token = "/<token>" if source.webhook.token_sha256 else ""
    print_one(
        {
            **_row(services, source),
            "webhook_url": f"{services.config.bridge.public_url}/webhooks/{name}{token}",
            "base_url": source.base_url,
            "options": dict(source.options),
            "last_request": _last_request(services, name),
            "streams": {stream: {"cursor": one.cursor, "saved": iso(one.saved)} for stream, one in places.items()},
            "rounds": [
                {"stream": one.stream, "started": iso(one.started), "records": one.records, "error": one.error}
                for one in rounds
            ],
            "watches": [
                {"attempt": one.attempt_id, "due": iso(one.due), "looks": one.looks}
                for one in services.watches.list(name)[:20]
            ],
        },
        output,
    )


def _row(services: Services, source: Source) -> dict[str, Any]:
    now = services.now()
    budget = services.budgets.status(source.name, source.budget_calls, source.budget_per, now)
    last = next(iter(services.cursors.history(source.name)), None)
    paused = source.paused or (budget.pause.reason if budget.pause else False)
    return {
        "name": source.name,
        "vendor": source.vendor,
        "webhook": source.webhook.enabled,
        "poll": duration_text(source.poll.every) if source.poll.enabled else False,
        "last_poll": iso(last.started) if last else None,
        "last_error": last.error if last else None,
        "budget_left": f"{budget.left}/{budget.calls}",
        "watches_due": services.watches.due_count(source.name, now),
        "paused": paused,
    }


def _last_request(services: Services, name: str) -> dict[str, Any] | None:
    last = next(iter(services.requests.list(source=name)), None)
    return None if last is None else {"id": last.id, "received_at": iso(last.received_at), "outcome": last.outcome}
