"""`config`: write bridge.yaml, check it, or show it with its defaults."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from bridge.cli.common import load_services
from bridge.cli.options import format_option
from bridge.cli.output import print_object, say
from bridge.config.addresses import without_password
from bridge.config.example import example_text, left_over_addresses, needed_names
from bridge.config.loader import describe
from bridge.settings import read_settings

__all__ = ["config"]


@click.group()
def config() -> None:
    """Write, check or show the configuration."""


@config.command()
def init() -> None:
    """Write a commented example to bridge.yaml, or to the file of --config; never overwrite one."""
    path: Path = click.get_current_context().find_root().params.get("config") or read_settings().config
    text = example_text()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(f"{path} exists. Remedy: edit it, or name another file with --config") from error
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}. Remedy: choose another file") from error
    click.echo(path)
    say(f"Edit it, set {', '.join(needed_names(text))} in the environment, then run attempt-bridge config check")


@config.command()
def check() -> None:
    """List every problem with its line; exit with 78 if there is one. Connects to nothing."""
    loaded = load_services().config
    for path, host in left_over_addresses(loaded):
        say(f"{loaded.path}: {path}: warning: {host} is an address of the example. Remedy: write your own")
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
