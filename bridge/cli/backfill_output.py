"""What `backfill` prints, whether the command itself or a worker reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import click

from bridge.cli import exit_codes
from bridge.cli.exit_codes import INTERRUPTED, PARTLY_FAILED
from bridge.cli.output import say

__all__ = ["finish", "finish_dry_run", "reprocess_preview", "resume_remedy", "summary"]


def summary(row: Mapping[str, Any]) -> str:
    """What was read, and what became of it."""
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(row["outcomes"].items()))
    figures = f"{row['pages']:,} pages, {row['records']:,} records, {row['calls']:,} calls"
    return f"{figures}: {outcomes or 'no attempts'}"


def reprocess_preview(quarantined: int, requests: int) -> str:
    """What `--reprocess` selects."""
    return f"{quarantined} quarantined records and {requests} stored requests would be processed again"


def resume_remedy(ident: str) -> str:
    """How to continue."""
    return f"continue with attempt-bridge backfill resume {ident}"


def finish(row: Mapping[str, Any]) -> NoReturn:
    """Print how a backfill ended, and end the command with its exit code."""
    click.echo(f"{row['id']}: {row['state']}; {summary(row)}")
    unreadable = row["outcomes"].get("quarantined", 0)
    if row["state"] == "stopped":
        say(resume_remedy(row["id"]))
    elif row["state"] == "failed":
        say(f"{row['error']}; {resume_remedy(row['id'])}")
    elif unreadable:
        say(f"{unreadable} unreadable records: see attempt-bridge dead-letters list --quarantine")
    codes = {"done": PARTLY_FAILED if unreadable else 0, "failed": exit_codes.FAILED}
    click.get_current_context().exit(codes.get(row["state"], INTERRUPTED))


def finish_dry_run(row: Mapping[str, Any], *, stored: tuple[int, int] | None, interrupted: bool) -> NoReturn:
    """Print what a dry run found, and end the command with its exit code. `stored`: what `--reprocess` selects."""
    if interrupted:
        say("stopped; the figures cover what was read so far")
    more = f" {reprocess_preview(*stored)}." if stored is not None else ""
    click.echo(f"dry run: {summary(row)}. Nothing was written.{more}")
    click.get_current_context().exit(INTERRUPTED if interrupted else 0)
