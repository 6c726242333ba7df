"""`config check|show`: is bridge.yaml right, and what does it come to."""

from __future__ import annotations

import click

from bridge.cli.common import format_option, load_services
from bridge.cli.output import print_one, say

__all__ = ["config"]


@click.group()
def config() -> None:
    """Check bridge.yaml, or show what it comes to."""


@config.command()
def check() -> None:
    """List every problem with its line; ends with 78 if there is one. Connects to nothing."""
    loaded = load_services().config
    counts = f"sources: {len(loaded.sources)}, subscriptions: {len(loaded.subscriptions)}"
    say(f"{loaded.path}: no problems; {counts}")


@config.command()
@format_option
def show(output: str) -> None:
    """Print the configuration with its defaults; secrets as ****1f3c."""
    from bridge.config.loader import describe, without_password  # noqa: PLC0415 - `--help` must be quick

    services = load_services()
    described = describe(services.config)
    # The environment and the embedded server have the last word about these two.
    described["bridge"] |= {
        "state": without_password(services.state_url),
        "broker": without_password(services.broker_url),
    }
    if output == "table":
        import yaml  # noqa: PLC0415

        click.echo(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), nl=False)
    else:
        print_one(described, output)
