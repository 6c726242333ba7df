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

    Raises `ConfigError`, and `click.UsageError` if `--url` names another bridge, which the command cannot call.
    """
    refuse_url()
    root = click.get_current_context().find_root()
    if root.obj:
        # Before anything is logged: structlog's default setup prints whole exceptions, with local values, on stdout.
        logs.configure("error")
    services = load(config_path=root.params.get("config"))
    if root.params.get("verbose"):
        say(f"configuration {services.config.path.resolve()}")
        say(f"state         {without_password(services.state_url)}")
        say(f"broker        {without_password(services.broker_url)}")
    return services


def refuse_url() -> None:
    """Raise `click.UsageError` if `--url` was given to a command that reads the local `bridge.yaml`."""
    context = click.get_current_context()
    root = context.find_root()
    # Without a parent there are no global options: a `--url` is the command's own.
    if context is not root and root.params.get("url") is not None:
        raise click.UsageError(f"{context.command_path} works only beside the server. Remedy: leave out --url")


def services_over_state() -> Services:
    """`load_services` for a command that reads or changes the state: also raises `ConfigError` for another layout."""
    services = load_services()
    # If the server is unreachable, the command itself reports it.
    with suppress(StateUnavailable):
        require_layout(services.state)
    return services
