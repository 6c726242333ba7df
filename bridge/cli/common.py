"""The services that commands work with."""

from __future__ import annotations

from contextlib import suppress

import click

from bridge.cli.output import say
from bridge.config.addresses import without_password
from bridge.errors import StateUnavailable
from bridge.monitoring import logs
from bridge.services import Services, load
from bridge.state.layout import require_layout

__all__ = ["load_services", "refuse_url", "services_over_state"]


def load_services() -> Services:
    """The services of `--config`, or of the environment.

    Raises `ConfigError`, and `click.UsageError` if the command was to call another bridge, which it cannot.
    """
    refuse_url()
    root = click.get_current_context().find_root()
    if root.obj:
        # Before anything is logged: structlog's own set-up prints whole exceptions, with local values, on stdout.
        logs.configure("error")
    services = load(config_path=root.params.get("config"))
    if root.params.get("verbose"):
        say(f"configuration {services.config.path.resolve()}")
        say(f"state         {without_password(services.state_url)}")
        say(f"broker        {without_password(services.broker_url)}")
    return services


def refuse_url() -> None:
    """Raises `click.UsageError` if a command that reads the `bridge.yaml` of this place was to call another bridge."""
    context = click.get_current_context()
    root = context.find_root()
    # A command that is run by itself has no global options: its `--url` is its own.
    if context is not root and root.params.get("url") is not None:
        raise click.UsageError(f"{context.command_path} works beside the server alone. Remedy: leave out --url")


def services_over_state() -> Services:
    """`load_services` for a command that reads or changes the state: also raises `ConfigError` for another layout."""
    services = load_services()
    # Without a server the command itself says so.
    with suppress(StateUnavailable):
        require_layout(services.state)
    return services
