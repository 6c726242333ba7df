"""`state`: the layout of the state server's keys."""

from __future__ import annotations

import click

from bridge.cli.common import load_services
from bridge.cli.exit_codes import FAILED
from bridge.cli.options import format_option
from bridge.cli.output import iso, print_list, say
from bridge.state.errors import state_errors
from bridge.state.layout import LAYOUTS, layouts_text, stored_layout
from bridge.state.running import RunningProcesses, process_id
from bridge.state.upgrade import Unready, Upgrade

__all__ = ["state"]


@click.group()
def state() -> None:
    """Show and upgrade the layout of what is stored."""


@state.command()
@format_option
def show(output: str) -> None:
    """Show the layout of the state and the running processes with their versions."""
    services = load_services()
    layout = stored_layout(services.state)
    with state_errors():
        running = RunningProcesses(services.state).read(services.now())
    say(f"layout {'none yet' if layout is None else layout}; this version works with {layouts_text()}")
    rows = [
        {
            "process": each.process,
            "version": each.version or None,
            "layouts": list(each.layouts),
            "since": iso(each.loaded_at),
        }
        for each in running
    ]
    print_list(rows, ("process", "version", "layouts", "since"), output, empty="no process runs")


@state.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done.")
def upgrade(dry_run: bool) -> None:
    """Give the keys of the state server the names of this version.

    Any process does this when it starts. It takes seconds. No process that cannot work with the new names may run.
    """
    services = load_services()
    client = services.state
    task = Upgrade(client, process_id("cli"))
    if not task.needed():
        say(f"the state has layout {stored_layout(client)}: nothing to do")
        return
    if dry_run:
        plan = task.plan()
        for start, number in sorted(plan.items()):
            click.echo(f"{start}:*\t{number:,}")
        say(f"{sum(plan.values()):,} keys would be renamed for layout {LAYOUTS[0]}")
        return
    try:
        renamed = task.run(services.now())
    except Unready as error:
        raise click.ClickException(
            f"running processes cannot work with layout {LAYOUTS[0]}: {error}. Remedy: stop them; one that was killed "
            "counts as running for half a minute"
        ) from None
    if renamed is None:
        say("another process upgrades the state")
        click.get_current_context().exit(FAILED)
    say(f"{renamed:,} keys renamed: the state has layout {LAYOUTS[0]}")
