"""`erase`: remove everything about one person."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from bridge.cli.api_client import Api, CallFailed, api, path_of
from bridge.cli.exit_codes import FAILED, UNAVAILABLE
from bridge.cli.options import exit_nothing_matched, format_option
from bridge.cli.output import print_object, say

__all__ = ["erase", "follow"]

_POLL_SECONDS = 0.3
#: A job that no process advances for this long is no longer followed.
_SILENT_SECONDS = 30.0


@click.command()
@click.option("--source", help="Name of the source.")
@click.option("--candidate", metavar="ID", help="Candidate id, as in the person's events.")
@click.option("--email", metavar="ADDRESS", help="E-mail address; letter case does not matter.")
@click.option("--dry-run", is_flag=True, help="Count, remove nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait for it to end.")
@click.option("--job", metavar="ID", help="Show an erasure that was made before, or wait for its end.")
@format_option
def erase(
    source: str | None,
    candidate: str | None,
    email: str | None,
    dry_run: bool,
    no_wait: bool,
    job: str | None,
    output: str,
) -> None:
    """Remove everything about one person.

    Name the person by candidate id or e-mail address, at one source. Events not delivered yet are not delivered.
    Receivers erase their own copies. Exits with 3 if nothing was found.
    """
    if job is not None and (source or candidate or email or dry_run):
        raise click.UsageError("--job can be combined only with --no-wait and -o")
    if job is None and source is None:
        raise click.UsageError("--source is missing")
    if job is None and (candidate is None) == (email is None):
        raise click.UsageError("give either --candidate or --email")
    calls = api()
    if job is not None:
        row = calls.call("GET", path_of("erasures", job))
    else:
        given = {"candidate": candidate} if email is None else {"email": email}
        row = calls.call("POST", "erasures", body={"source": source, "dry_run": dry_run, **given})
        say(f"{row['id']} runs")
    if no_wait:
        print_object(_shown(row), output)
    else:
        follow(calls, row, output)


def follow(calls: Api, row: Mapping[str, Any], output: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait for a job and print its report; ends the command with the exit code. Ctrl-C leaves the job running."""
    ident = row["id"]
    try:
        row = _watch(calls, row, sleep)
    except KeyboardInterrupt:
        say(f"{ident} continues. See it with attempt-bridge erase --job {ident}")
        raise
    if row["state"] == "failed":
        raise CallFailed(f"{ident} failed: {row['error']}", FAILED)
    if not row["total"]:
        exit_nothing_matched(f"nothing about this person at {row['source']}")
    print_object(_shown(row), output)
    if row["dry_run"]:
        say("Nothing was removed: dry run.")


def _watch(calls: Api, row: Mapping[str, Any], sleep: Callable[[float], None]) -> Mapping[str, Any]:
    step, error, silent = "", "", 0.0
    while row["state"] == "running":
        sleep(_POLL_SECONDS)
        before, row = row, calls.call("GET", path_of("erasures", row["id"]))
        silent = silent + _POLL_SECONDS if row == before else 0.0
        if row["error"] not in ("", error):
            error = row["error"]
            say(error)
        if row["step"] != step and silent == 0.0 and row["scanned"] > 10_000:
            say(f"{row['progress']:.0%}: {row['step']}, {row['scanned']:,} entries read")
            step = row["step"]
        if silent > _SILENT_SECONDS:
            raise CallFailed(
                f"{row['id']} waits: no dispatch process runs it. Start attempt-bridge dispatch", UNAVAILABLE
            )
    return row


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("step", "updated")}
