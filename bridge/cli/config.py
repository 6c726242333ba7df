"""`config`: write bridge.yaml, check it, show it with its defaults, or load it into the running processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import yaml

from bridge import clock, registry
from bridge.cli.common import load_services, services_over_state
from bridge.cli.new_files import write_new
from bridge.cli.options import format_option, known_vendor
from bridge.cli.output import print_check, print_object, say
from bridge.config.addresses import without_password
from bridge.config.advice import advice_about
from bridge.config.description import describe
from bridge.config.example import example_text, left_over_addresses, needed_names
from bridge.runtime.processes import PARTS
from bridge.settings import read_settings
from bridge.state.errors import state_errors
from bridge.state.running import LOADED, RESTARTING, UNCHANGED, Running, RunningProcesses
from bridge.vendor_kit.first_config import environment_lines, first_config

__all__ = ["config"]

#: How long to wait for all processes: each finishes its page of a poll or its delivery first.
_RELOAD_SECONDS = 120.0


def _vendor_names(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in (given or "").split(",") if name.strip()]
    return tuple(dict.fromkeys(known_vendor(name, registry.vendors(), registry.broken()) for name in names))


@click.group()
def config() -> None:
    """Write, check, show or reload the configuration."""


@config.command()
@click.option(
    "--vendors",
    callback=_vendor_names,
    help="Comma-separated: classmarker,cirrus. Writes a short file with a source for each, and its variables to .env.",
)
def init(vendors: tuple[str, ...]) -> None:
    """Write a commented example to bridge.yaml, or to the file of --config; never overwrite one."""
    path: Path = click.get_current_context().find_root().params.get("config") or read_settings().config
    if vendors:
        chosen = {name: registry.vendors()[name] for name in vendors}
        text, variables = first_config(chosen), path.parent / ".env"
        write_new({path: text, variables: environment_lines(chosen)}, private=[variables])
        click.echo(f"{path}\n{variables}")
        say(f"Edit both, load the variables (set -a; . {variables}; set +a), then run attempt-bridge config check")
        return
    text = example_text()
    write_new({path: text})
    click.echo(path)
    say(f"Edit it, set {', '.join(needed_names(text))} in the environment, then run attempt-bridge config check")


@config.command()
def check() -> None:
    """List every problem with its line; exit with 78 if there is one. Connects to nothing."""
    services = load_services()
    loaded = services.config
    for problem in services.broken_vendors.values():
        say(f"warning: {problem}")
    for path, host in left_over_addresses(loaded):
        say(f"{loaded.path}: {path}: warning: {host} is an address of the example. Remedy: write your own")
    for subscription in loaded.subscriptions.values():
        for advice in advice_about(subscription, services.now()):
            place = f"{loaded.path}: subscriptions.{subscription.name}"
            say(f"{place}: warning: {advice.text}. Remedy: {advice.remedy}")
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


@config.command(name="reload")
def reload_command() -> None:
    """Check bridge.yaml and have all running processes load it; webhooks are received throughout.

    Waits for each process and prints its answer. Exits with 1 if one refuses the file or does not answer.
    """
    services = services_over_state()
    processes = RunningProcesses(services.state)
    with state_errors():
        if not any(running.name in PARTS for running in processes.read(services.now())):
            raise click.ClickException(
                "no process of this bridge runs on this state server. Remedy: if bridge.state or bridge.data_dir was "
                "edited, restore it: these cannot change while the bridge runs; otherwise start the bridge"
            )
        answers = _answers(processes, processes.request(), services.now)
    for running in answers.values():
        good = running.outcome in (LOADED, UNCHANGED)
        print_check("ok" if good else "failure", f"{running.process} {_outcome(running, services.config.digest)}")
    if any(running.outcome not in (LOADED, UNCHANGED) for running in answers.values()):
        raise click.exceptions.Exit(1)


def _answers(processes: RunningProcesses, request: int, now: Callable[[], float]) -> dict[str, Running]:
    """What each process has answered. Those that end meanwhile are left out."""
    deadline = clock.monotonic() + _RELOAD_SECONDS
    while True:
        # A command that reads from a vendor keeps the configuration that it began with.
        answers = {each.process: each for each in processes.read(now()) if each.name in PARTS}
        silent = [name for name, each in answers.items() if each.request < request or each.outcome == RESTARTING]
        if not silent:
            return answers
        if clock.monotonic() > deadline:
            return {
                name: replace(running, outcome=f"has not answered within {_RELOAD_SECONDS:g} s. Remedy: see its log")
                if name in silent
                else running
                for name, running in answers.items()
            }
        time.sleep(0.1)


def _outcome(running: Running, digest: str) -> str:
    if running.outcome not in (LOADED, UNCHANGED):
        return running.outcome
    other = "" if running.digest == digest else f"; it reads a different file from this one ({digest})"
    return f"{running.outcome}: {running.digest}{other}"
