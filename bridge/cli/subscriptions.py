"""`subscriptions`: the configured receivers and the state of delivering to them."""

from __future__ import annotations

import sys
import time
from http import HTTPStatus
from typing import Any

import click

from bridge import clock
from bridge.cli.api_client import Api, ApiProblem, api, path_of
from bridge.cli.exit_codes import DONE, FAILED
from bridge.cli.options import confirm_broad, format_option, yes_option
from bridge.cli.output import print_check, print_list, print_object, say
from bridge.cli.subscription_secret import secret
from bridge.cli.watching import watch_option

__all__ = ["subscriptions"]

_COLUMNS = (
    "name",
    "transport",
    "target",
    "circuit",
    "delivered",
    "waiting",
    "retrying",
    "dead_letters",
    "delivered_at",
)


#: How long `pause` waits for deliveries under way: longer than any transport takes for a batch.
_PAUSE_SECONDS = 180.0
_PAUSE_CHECK_SECONDS = 0.2


@click.group()
def subscriptions() -> None:
    """List, show, test, pause, resume or forget subscriptions."""


subscriptions.add_command(secret)


@subscriptions.command("list")
@format_option
@watch_option
def list_(output: str) -> None:
    """List subscriptions with their waiting events."""
    rows = api().rows("subscriptions", limit=sys.maxsize)
    print_list(rows, _COLUMNS, output, empty="no subscriptions in the configuration; see bridge.example.yaml")


@subscriptions.command()
@click.argument("name")
@format_option
def show(name: str, output: str) -> None:
    """Show one subscription: configuration, counters, circuit."""
    print_object(_call(api(), "GET", name), output)


@subscriptions.command()
@click.argument("name")
@format_option
@click.pass_context
def test(ctx: click.Context, name: str, output: str) -> None:
    """Send one test event at once, even while paused; show request, answer and time.

    Its type is bridge.test, and it has the attribute bridgetest: receivers ignore it. It is not in the journal, is not
    retried and does not count as a delivery. A dispatch process sends it. Exits with 1 if it failed.
    """
    try:
        tested = api().call("POST", path_of("subscriptions", name, "test"))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        raise click.UsageError(problem.detail) from problem
    if output != "table":
        print_object(tested, output)
    else:
        _print_test(tested)
    ctx.exit(DONE if tested["ok"] else FAILED)


def _print_test(tested: dict[str, Any]) -> None:
    request, status = tested["request"], tested["status"]
    if request is not None:
        answer = {"status": status} if status else {}
        answer |= {"answer": tested["answer"]} if status or tested["answer"] else {}
        parts = {"request": request["to"], "headers": request["headers"], "body": request["body"], **answer}
        print_object({**parts, "time": f"{tested['seconds'] * 1000:.0f} ms"}, "table")
        if tested["state"] != "active":
            say(f"{tested['subscription']} is {tested['state']}: the test was sent anyway; events wait")
    if tested["ok"]:
        print_check("ok", f"the receiver answered {status}" if status else tested["answer"] or "the broker accepted it")
    else:
        print_check("failure", tested["problem"])


@subscriptions.command()
@click.argument("name")
def pause(name: str) -> None:
    """Stop delivering until `resume`; waits for deliveries under way. Events wait in the journal."""
    bridge = api()
    sending = _call(bridge, "POST", name, "pause")["sending"]
    ends_at = clock.monotonic() + _PAUSE_SECONDS
    while sending:
        if clock.monotonic() > ends_at:
            say(f"{name} is paused, but a delivery that began before has not ended within {_PAUSE_SECONDS:.0f} s")
            click.get_current_context().exit(FAILED)
        time.sleep(_PAUSE_CHECK_SECONDS)
        sending = _call(bridge, "GET", name)["sending"]
    say(f"{name} is paused. Resume it with attempt-bridge subscriptions resume {name}")


@subscriptions.command()
@click.argument("name")
def resume(name: str) -> None:
    """Resume a paused, disabled or failing subscription; its waiting retries are due at once."""
    retries = _call(api(), "POST", name, "resume")["retries"]
    say(f"{name} is resumed; {retries} waiting retries are due now")


@subscriptions.command()
@click.argument("name")
@yes_option
def forget(name: str, yes: bool) -> None:
    """Delete what is left of a subscription that is no longer in bridge.yaml."""
    done = _call(api(), "POST", name, "forget", body={"dry_run": not yes})
    lost = f"{done['waiting']} waiting events, {done['retrying']} retries and {done['dead_letters']} dead letters"
    confirm_broad(yes, f"{lost} of {name} would be deleted; the events in the journal remain")
    say(f"{name} is forgotten: {lost} were deleted")


def _call(bridge: Api, method: str, name: str, *action: str, body: dict[str, Any] | None = None) -> Any:
    try:
        return bridge.call(method, path_of("subscriptions", name, *action), body=body)
    except ApiProblem as problem:
        if problem.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise
        raise click.UsageError(problem.detail) from problem
