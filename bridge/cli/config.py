"""`config`: check bridge.yaml, or show it with its defaults."""

from __future__ import annotations

import click
import yaml

from bridge.cli.common import load_services
from bridge.cli.options import format_option
from bridge.cli.output import print_object, say
from bridge.config.loader import describe, without_password

__all__ = ["config"]


@click.group()
def config() -> None:
    """Check or show the configuration."""


@config.command()
def check() -> None:
    """List every problem with its line; exit with 78 if there is one. Connects to nothing."""
    loaded = load_services().config
    counts = f"sources: {len(loaded.sources)}, subscriptions: {len(loaded.subscriptions)}"
    say(f"{loaded.path}: no problems; {counts}")


@config.command()
@format_option
def show(output: str) -> None:
    """Show the configuration with its defaults; secrets as ****1f3c."""
    services = load_services()
    described = describe(services.config)
    # The environment and the embedded server override these two.
    described["bridge"] |= {
        "state": without_password(services.state_url),
        "broker": without_password(services.broker_url),
    }
    if output == "table":
        click.echo(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), nl=False)
    else:
        print_object(described, output)
