"""`partitions`: over how many partitions attempts are spread, and the change of that number."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from bridge.cli.api_client import Api, CallFailed, api
from bridge.cli.exit_codes import UNAVAILABLE
from bridge.cli.options import format_option, yes_option
from bridge.cli.output import print_list, print_object, say

__all__ = ["follow", "partitions"]

_POLL_SECONDS = 0.3
#: A move that no process advances for this long is no longer followed.
_SILENT_SECONDS = 30.0
_COLUMNS = ("partition", "remembered", "events", "requests")


@click.group()
def partitions() -> None:
    """Show the partitions, or change their number while everything runs."""


@partitions.command()
@format_option
def show(output: str) -> None:
    """Show how attempts are spread, what each partition holds, and how far a change has come."""
    row = api().call("GET", "partitions")
    if output == "table":
        print_object({name: value for name, value in row.items() if name != "rows"}, output)
        print_list(row["rows"], _COLUMNS, output, empty="no partitions")
    else:
        print_object(row, output)


@partitions.command()
@click.argument("number", metavar="N", type=click.IntRange(1, 64))
@click.option("--no-wait", is_flag=True, help="Do not wait until everything has moved.")
@yes_option
def repartition(number: int, no_wait: bool, yes: bool) -> None:
    """Spread attempts over N partitions from now on.

    bridge.partitions must be at least N in every process. The only way back is another repartition.
    """
    calls = api()
    row = calls.call("GET", "partitions")
    remembered = sum(each["remembered"] for each in row["rows"])
    if not yes:
        say(f"Attempts are spread over {row['partitions']}; {remembered:,} are remembered, and some would move.")
        say("Nothing was done; add --yes to do it.")
        return
    row = calls.call("POST", "partitions", body={"partitions": number})
    say(f"attempts are spread over {number} partitions from now on")
    if not no_wait:
        follow(calls, row)


@partitions.command()
def stop() -> None:
    """Stop moving what is remembered after the current batch; `resume` continues."""
    api().call("POST", "partitions/stop")
    say("stopped. Continue with attempt-bridge partitions resume")


@partitions.command()
@click.option("--no-wait", is_flag=True, help="Do not wait until everything has moved.")
def resume(no_wait: bool) -> None:
    """Resume moving what is remembered."""
    calls = api()
    row = calls.call("POST", "partitions/resume")
    say("resumed")
    if not no_wait:
        follow(calls, row)


def follow(calls: Api, row: Mapping[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until everything has moved. Ctrl-C leaves it moving."""
    silent = 0.0
    while row["state"] == "running":
        sleep(_POLL_SECONDS)
        before, row = row, calls.call("GET", "partitions")
        silent = silent + _POLL_SECONDS if row["seen"] == before["seen"] else 0.0
        if silent > _SILENT_SECONDS:
            raise CallFailed("the move waits: no dispatch process runs it. Start attempt-bridge dispatch", UNAVAILABLE)
    say(f"{row['state']}: {row['moved']:,} memories moved")
