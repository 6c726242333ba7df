"""`subscriptions`: the configured receivers and how delivering to them goes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.common import format_option, known_name, load_services
from bridge.cli.output import iso, print_list, print_one, say

if TYPE_CHECKING:
    from bridge.config.model import Subscription
    from bridge.services import Services

__all__ = ["subscriptions"]

_COLUMNS = (
    "name",
    "transport",
    "target",
    "circuit",
    "delivered",
    "waiting",
    "retrying",
    "dead_letters",
    "delivered_at",
)


@click.group()
def subscriptions() -> None:
    """List, show, pause or resume the receivers of events."""


@subscriptions.command("list")
@format_option
def list_(output: str) -> None:
    """List the subscriptions with what waits for them."""
    services = load_services()
    rows = (_row(services, one) for one in services.config.subscriptions.values())
    empty = f"{services.config.path} has no subscriptions; a service may also read the journal itself"
    print_list(rows, _COLUMNS, output, empty=empty)


@subscriptions.command()
@click.argument("name")
@format_option
def show(name: str, output: str) -> None:
    """Show one subscription: configuration, counters, circuit."""
    from bridge.config.loader import describe  # noqa: PLC0415 - `--help` must be quick

    services = load_services()
    known_name(name, services.config.subscriptions, "subscription")
    described = describe(services.config)["subscriptions"][name]
    print_one({**_row(services, services.config.subscriptions[name]), "configuration": described}, output)


@subscriptions.command()
@click.argument("name")
def pause(name: str) -> None:
    """Deliver nothing more until `resume`; events wait in the journal."""
    services = load_services()
    services.deliveries.pause(known_name(name, services.config.subscriptions, "subscription"))
    say(f"{name} is paused; attempt-bridge subscriptions resume {name} goes on")


@subscriptions.command()
@click.argument("name")
def resume(name: str) -> None:
    """Go on after a pause, after disabling, or at once after a failure."""
    services = load_services()
    services.deliveries.resume(known_name(name, services.config.subscriptions, "subscription"))
    say(f"{name} goes on with the next look of dispatch")


def _row(services: Services, subscription: Subscription) -> dict[str, Any]:
    state = services.deliveries.state(subscription.name, now=services.now())
    moments = ("open_until", "last_error_at", "delivered_at")
    # The names of the output are not to change.
    renamed = {"circuit_reason": "why", "blocked_by": "waits"}
    return {
        "name": subscription.name,
        "transport": subscription.transport,
        "target": subscription.url or subscription.queue or subscription.exchange,
        **{
            renamed.get(member, member): iso(value) if member in moments else value
            for member, value in asdict(state).items()
        },
        "delivered": state.delivered + state.handed_over,
        # In the journal and with no verdict: not read yet, or read while the broker was away.
        "waiting": None if state.lag is None else state.lag + state.pending,
    }
