"""`subscriptions`: the configured receivers and the state of delivering to them."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import chain
from typing import Any

import click

from bridge import clock
from bridge.cli.common import load_services
from bridge.cli.exit_codes import FAILED
from bridge.cli.options import confirm_broad, format_option, known_name, yes_option
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.watching import watch_option
from bridge.config.description import describe
from bridge.config.model import Subscription
from bridge.delivery.orphans import forget as delete_subscription
from bridge.delivery.orphans import served_by
from bridge.delivery.status import held_events
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


#: How long `pause` waits for deliveries under way: longer than any transport takes for a batch.
_PAUSE_SECONDS = 180.0
_PAUSE_CHECK_SECONDS = 0.2


@click.group()
def subscriptions() -> None:
    """List, show, pause, resume or forget subscriptions."""


@subscriptions.command("list")
@format_option
@watch_option
def list_(output: str) -> None:
    """List subscriptions with their waiting events."""
    services = load_services()
    rows = chain(
        (_row(services, subscription) for subscription in services.config.subscriptions.values()),
        (_orphan_row(services, name) for name in services.orphans()),
    )
    empty = f"no subscriptions in {services.config.path}; see bridge.example.yaml"
    print_list(rows, _COLUMNS, output, empty=empty)


@subscriptions.command()
@click.argument("name")
@format_option
def show(name: str, output: str) -> None:
    """Show one subscription: configuration, counters, circuit."""
    services = load_services()
    if name in services.orphans():
        print_object(_orphan_row(services, name), output)
        return
    known_name(name, services.config.subscriptions, "subscription")
    described = describe(services.config)["subscriptions"][name]
    print_object({**_row(services, services.config.subscriptions[name]), "configuration": described}, output)


@subscriptions.command()
@click.argument("name")
def pause(name: str) -> None:
    """Stop delivering until `resume`; waits for what is under way. Events wait in the journal."""
    services = load_services()
    services.deliveries.pause(known_name(name, services.config.subscriptions, "subscription"))
    ends_at = clock.monotonic() + _PAUSE_SECONDS
    while services.deliveries.sending(name):
        if clock.monotonic() > ends_at:
            say(f"{name} is paused, but a delivery that began before has not ended within {_PAUSE_SECONDS:.0f} s")
            click.get_current_context().exit(FAILED)
        time.sleep(_PAUSE_CHECK_SECONDS)
    say(f"{name} is paused. Resume it with attempt-bridge subscriptions resume {name}")


@subscriptions.command()
@click.argument("name")
def resume(name: str) -> None:
    """Resume a paused, disabled or failing subscription; its waiting retries are due at once."""
    services = load_services()
    services.deliveries.resume(known_name(name, services.config.subscriptions, "subscription"))
    retries = services.deliveries.retry_now(name, now=services.now())
    say(f"{name} is resumed; {retries} waiting retries are due now")


@subscriptions.command()
@click.argument("name")
@yes_option
def forget(name: str, yes: bool) -> None:
    """Delete what is left of a subscription that is no longer in bridge.yaml."""
    services = load_services()
    if name in services.config.subscriptions:
        remedy = "Remove it there and run attempt-bridge config reload first"
        raise click.UsageError(f"{name} is in {services.config.path}. {remedy}")
    known_name(name, services.orphans(), "subscription")
    partitions = services.config.bridge.partitions
    if served_by(services.state, name, partitions=partitions):
        raise click.UsageError(f"{name} is still served by a dispatch process. Run attempt-bridge config reload first")
    row = _orphan_row(services, name)
    lost = f"{row['waiting']} waiting events, {row['retrying']} retries and {row['dead_letters']} dead letters"
    confirm_broad(yes, f"{lost} of {name} would be deleted; the events in the journal remain")
    delete_subscription(services.state, name, partitions=partitions)
    say(f"{name} is forgotten: {lost} were deleted")


def _row(services: Services, subscription: Subscription) -> dict[str, Any]:
    return {
        "name": subscription.name,
        "configured": True,
        "transport": subscription.transport,
        "target": subscription.url or subscription.queue or subscription.exchange,
        **_state_row(services, subscription.name),
    }


def _orphan_row(services: Services, name: str) -> dict[str, Any]:
    """A subscription that is no longer in bridge.yaml."""
    row = {"name": name, "configured": False, "transport": None, "target": None, **_state_row(services, name)}
    why = f"no longer in bridge.yaml; add it again, or attempt-bridge subscriptions forget {name}"
    return {**row, "circuit": "removed", "why": why}


def _state_row(services: Services, name: str) -> dict[str, Any]:
    state = services.deliveries.state(name, now=services.now())
    times = ("failing_since", "open_until", "last_error_at", "delivered_at")
    # The output keeps its names.
    renamed = {"circuit_reason": "why", "blocked_by": "waits"}
    held = held_events(
        services.state,
        name,
        state,
        partitions=services.config.bridge.partitions,
        kept=services.config.bridge.retention.events,
    )
    return {
        **{
            renamed.get(member, member): iso(value) if member in times else value
            for member, value in asdict(state).items()
        },
        "delivered": state.delivered + state.handed_over,
        # Neither delivered nor given up: not read yet, or read while the broker was down.
        "waiting": None if state.lag is None else state.lag + state.pending,
        "waiting_since": iso(held.oldest_at),
        # Of a paused or disabled subscription: from then on they are deleted unsent.
        "deleted_from": iso(held.deleted_from),
    }
