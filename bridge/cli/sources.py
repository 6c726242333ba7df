"""`sources`: the configured vendor accounts and the state of reading from them."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

import click

from bridge.cli.api_client import ApiProblem, api, path_of
from bridge.cli.options import format_option
from bridge.cli.output import print_list, print_object, say
from bridge.cli.sources_test import test
from bridge.cli.watching import watch_option
from bridge.errors import ConfigError

__all__ = ["sources"]

_COLUMNS = ("name", "vendor", "webhook", "poll", "last_poll", "last_error", "budget_left", "watches_due", "paused")


@click.group()
def sources() -> None:
    """List, show, test, poll, pause or resume sources."""


sources.add_command(test)


@sources.command("list")
@format_option
@watch_option
def list_(output: str) -> None:
    """List sources with their last poll, budget and watches."""
    rows = api().rows("sources", limit=sys.maxsize)
    print_list(rows, _COLUMNS, output, empty="no sources in the configuration; see bridge.example.yaml")


@sources.command()
@click.argument("name")
def pause(name: str) -> None:
    """Stop polling and answer webhooks with 503 until `resume`. Polling then continues from its cursors."""
    _call("POST", name, "pause")
    say(f"{name} is paused. Resume it with attempt-bridge sources resume {name}")


@sources.command()
@click.argument("name")
def resume(name: str) -> None:
    """Resume a source that is paused or has refused credentials."""
    try:
        changed = _call("POST", name, "resume")["changed"]
    except ApiProblem as problem:
        if problem.status != HTTPStatus.CONFLICT:
            raise
        raise ConfigError(problem.detail) from problem
    say(f"{name} resumes with the next poll" if changed else f"{name} was not paused")


@sources.command()
@click.argument("name")
def poll(name: str) -> None:
    """Poll a source within seconds, whatever its interval; a worker does it."""
    _call("POST", name, "poll")
    say(f"{name} is polled as soon as a worker can; see attempt-bridge sources show {name}")


@sources.command()
@click.argument("name")
@format_option
def show(name: str, output: str) -> None:
    """Show one source: addresses, cursors, last polls, budget, watches, alarms, last webhook."""
    print_object(_call("GET", name), output)


def _call(method: str, name: str, *action: str) -> Any:
    try:
        return api().call(method, path_of("sources", name, *action))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        raise click.UsageError(problem.detail) from problem
