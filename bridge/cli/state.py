"""`state`: the layout of the state server's keys."""

from __future__ import annotations

import click

from bridge.cli.common import load_services
from bridge.cli.exit_codes import FAILED
from bridge.cli.output import say
from bridge.state.layout import LAYOUTS, Upgrade, processes_of_earlier_version, stored_layout
from bridge.state.running import process_id

__all__ = ["state"]


@click.group()
def state() -> None:
    """Upgrade what an earlier version has stored."""


@state.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done.")
def upgrade(dry_run: bool) -> None:
    """Give the keys of the state server the names of this version.

    Any process does this when it starts. It takes seconds, and no process of an earlier version may run.
    """
    client = load_services().state
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
    if running := processes_of_earlier_version(client):
        raise click.ClickException(
            f"{', '.join(running)} of an earlier version runs over this state. Remedy: stop it; its heartbeat ends "
            "within half a minute"
        )
    renamed = task.run()
    if renamed is None:
        say("another process upgrades the state")
        click.get_current_context().exit(FAILED)
    say(f"{renamed:,} keys renamed: the state has layout {LAYOUTS[0]}")
