"""`subscriptions`: the configured receivers and the state of delivering to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from bridge.cli.common import load_services
from bridge.cli.options import format_option, known_name
from bridge.cli.output import iso, print_list, print_object, say
from bridge.config.loader import describe
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
    """List, show, pause or resume subscriptions."""


@subscriptions.command("list")
@format_option
def list_(output: str) -> None:
    """List subscriptions with their waiting events."""
    services = load_services()
    rows = (_row(services, subscription) for subscription in services.config.subscriptions.values())
    empty = f"no subscriptions in {services.config.path}; see bridge.example.yaml"
    print_list(rows, _COLUMNS, output, empty=empty)


@subscriptions.command()
@click.argument("name")
@format_option
def show(name: str, output: str) -> None:
    """Show one subscription: configuration, counters, circuit."""
    services = load_services()
    known_name(name, services.config.subscriptions, "subscription")
    described = describe(services.config)["subscriptions"][name]
    print_object({**_row(services, services.config.subscriptions[name]), "configuration": described}, output)


@subscriptions.command()
@click.argument("name")
def pause(name: str) -> None:
    """Stop delivering until `resume`; events wait in the journal."""
    services = load_services()
    services.deliveries.pause(known_name(name, services.config.subscriptions, "subscription"))
    say(f"{name} is paused. Resume it with attempt-bridge subscriptions resume {name}")


@subscriptions.command()
@click.argument("name")
def resume(name: str) -> None:
    """Resume a paused or disabled subscription, or retry now after a failure."""
    services = load_services()
    services.deliveries.resume(known_name(name, services.config.subscriptions, "subscription"))
    say(f"{name} is resumed")


def _row(services: Services, subscription: Subscription) -> dict[str, Any]:
    state = services.deliveries.state(subscription.name, now=services.now())
    times = ("open_until", "last_error_at", "delivered_at")
    # The output keeps its names.
    renamed = {"circuit_reason": "why", "blocked_by": "waits"}
    return {
        "name": subscription.name,
        "transport": subscription.transport,
        "target": subscription.url or subscription.queue or subscription.exchange,
        **{
            renamed.get(member, member): iso(value) if member in times else value
            for member, value in asdict(state).items()
        },
        "delivered": state.delivered + state.handed_over,
        # Neither delivered nor given up: not read yet, or read while the broker was down.
        "waiting": None if state.lag is None else state.lag + state.pending,
    }
