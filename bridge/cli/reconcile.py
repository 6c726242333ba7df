"""`reconcile`: compare a vendor's list with what was published; results are kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import click

from bridge.cli.api_client import Api, ApiProblem, CallFailed, api, path_of
from bridge.cli.common import services_over_state
from bridge.cli.exit_codes import DONE, FAILED, PARTLY_FAILED
from bridge.cli.local_changes import record_change
from bridge.cli.options import exit_nothing_matched, format_option, known_name, limit_option, since_option
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.progress import lower_priority, stoppable
from bridge.cli.watching import watch_option
from bridge.cli.worker_jobs import POLL_SECONDS, NoWorker
from bridge.polling.backfill_jobs import period_problem
from bridge.polling.reconciliation import Reconciliation, settled_until
from bridge.runtime.registered import registered
from bridge.services import Services
from workers.polling import reconcile as worker
from workers.polling.listing import Interrupted

__all__ = ["reconcile"]

_WEEK = 7 * 86_400.0
_STOPPING = "stopping; no result is kept"
_COLUMNS = ("id", "state", "since", "until", "listed", "both", "webhook_only", "poll_only", "missing", "by")
_DAYS = ("day", "listed", "both", "webhook_only", "poll_only", "missing", "expected")
_DELAYS = ("path", "count", "p50_seconds", "p95_seconds", "max_seconds")
#: Kind of difference -> what it means, in the order of the report.
_MEANINGS = {
    "missing": "listed, never published",
    "outdated": "the vendor has a later result",
    "expected": "past the due time, neither listed nor published",
    "poll_only": "found by poll, no webhook came",
    "webhook_only": "not seen by a poll",
    "unlisted": "published, but not in the vendor's list",
}
#: Ids shown of each kind; JSON has all.
_IDS_SHOWN = 10


@click.group(invoke_without_command=True)
@click.option("--source", help="Source to compare.")
@since_option
@click.option("--fix", is_flag=True, help="Publish what is missing or outdated.")
@format_option
@click.pass_context
def reconcile(ctx: click.Context, source: str | None, since: float | None, fix: bool, output: str) -> None:
    """Compare a vendor's list with what was published.

    The default period is the last 7 days. Exits with 4 if something is missing and was not published. The result is
    kept; `show` prints the last one. With --url a worker of that bridge compares.
    """
    if ctx.invoked_subcommand is not None:
        if source or since or fix:
            raise click.UsageError(f"--source, --since and --fix cannot be given with {ctx.invoked_subcommand}")
        return
    if source is None:
        raise click.UsageError("missing: --source, or a command: list, show, stop")
    bridge = api()
    if bridge.is_remote:
        row = _by_worker(bridge, {"source": source, "fix": fix, **({} if since is None else {"since": iso(since)})})
    else:
        services = services_over_state()
        known_name(source, services.config.sources, "source")
        row = _comparison(bridge, _compare(services, source, since, fix).id)
    _print(row, output)
    missing = set(row["ids"]["missing"]) - set(row["fixed"])
    ctx.exit(PARTLY_FAILED if missing else DONE)


@reconcile.command()
@click.argument("ident", metavar="[ID]", required=False)
@click.option("--source", help="Filter by source.")
@format_option
def show(ident: str | None, source: str | None, output: str) -> None:
    """Show one comparison or, without an ID, the last result of each source. JSON has all ids."""
    bridge = api()
    if ident is not None:
        row = _call_for(bridge, "GET", ident)
        if row["state"] == "done":
            _print(row, output)
        else:
            print_object(row, output)
        return
    names = [source] if source else [row["name"] for row in bridge.rows("sources", limit=sys.maxsize)]
    latest = [
        row["id"]
        for name in names
        for row in bridge.rows("reconciliations", {"source": name, "state": "done"}, limit=1)
    ]
    if not latest:
        exit_nothing_matched("no results yet; run attempt-bridge reconcile --source NAME")
    for result_id in latest:
        _print(_comparison(bridge, result_id), output)


@reconcile.command("list")
@click.option("--source", help="Filter by source.")
@limit_option
@format_option
@watch_option
def list_(source: str | None, limit: int, output: str) -> None:
    """List comparisons, newest first: results, and those requested from a worker."""
    rows = ({**row, **(row["counts"] or {})} for row in api().rows("reconciliations", {"source": source}, limit=limit))
    print_list(rows, _COLUMNS, output, empty="no results yet", limit=limit, filtered=bool(source))


@reconcile.command()
@click.argument("ident", metavar="ID")
def stop(ident: str) -> None:
    """Stop a worker's comparison after the current page; no result is kept."""
    row = _call_for(api(), "POST", ident, "stop")
    say(f"{row['id']} is stopped" if row["state"] == "stopped" else f"{row['id']} stops after the current page")


def _call_for(bridge: Api, method: str, ident: str, *action: str) -> Mapping[str, Any]:
    """A call for one comparison; ends the command with 3 if there is no such comparison, or nothing to do."""
    source, _, number = ident.partition("/")
    if not number:
        exit_nothing_matched(f"no reconciliation {ident}; see attempt-bridge reconcile list")
    try:
        row: Mapping[str, Any] = bridge.call(method, path_of("reconciliations", source, number, *action))
    except ApiProblem as problem:
        if problem.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise
        exit_nothing_matched(problem.detail)
    return row


def _comparison(bridge: Api, ident: str) -> Mapping[str, Any]:
    row: Mapping[str, Any] = bridge.call("GET", path_of("reconciliations", *ident.split("/", 1)))
    return row


def _by_worker(bridge: Api, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Have a worker compare, and show why it waits. The first Ctrl-C ends it without a result."""
    row = bridge.call("POST", "reconciliations", body=body)
    ident, no_worker, said, is_asked = row["id"], NoWorker(row["id"]), set[str](), False
    with stoppable(_STOPPING) as stop:
        while row["state"] in ("waiting", "running"):
            if row["state"] == "running" and row["waits"] and row["waits"] not in said:
                said.add(row["waits"])
                say(f"waiting until {row['waits_until']}: {row['waits']}")
            no_worker.check(row)
            stop.wait(POLL_SECONDS)
            if stop.is_set() and not is_asked:
                is_asked = True
                bridge.call("POST", path_of("reconciliations", *ident.split("/", 1), "stop"))
            elif is_asked:
                time.sleep(POLL_SECONDS)
            row = _comparison(bridge, ident)
    if row["state"] == "stopped":
        raise KeyboardInterrupt
    if row["state"] == "failed":
        raise CallFailed(f"{ident} failed: {row['error']}", FAILED)
    result: Mapping[str, Any] = row
    return result


def _compare(services: Services, source_name: str, since: float | None, fix: bool) -> Reconciliation:
    source, now = services.config.sources[source_name], services.now()
    first, until = now - _WEEK if since is None else since, settled_until(source, now)
    if problem := period_problem(first, until, now, services.vendors[source.vendor].look_back_limit):
        raise click.UsageError(problem)
    lower_priority()
    reasons: set[str] = set()

    def show_wait(why: str, until: float) -> None:
        if why not in reasons:
            reasons.add(why)
            say(f"waiting until {iso(until)}: {why}")

    with registered(services, "reconcile"), stoppable(_STOPPING) as stop:

        def check() -> None:
            if stop.is_set():
                raise Interrupted("stop requested")

        try:
            options = worker.ReconcileOptions(
                since=first, until=until, fix=fix, check=check, sleep=stop.wait, waiting=show_wait
            )
            result = worker.reconcile(services, source_name, options)
        except Interrupted:
            raise KeyboardInterrupt from None
    asked = {"since": iso(first), "until": iso(until), "fix": fix}
    record_change(services, "addReconciliation", f"reconciliation {result.id}", after=asked)
    return result


def _print(row: Mapping[str, Any], output: str) -> None:
    if output != "table":
        print_object(row, output)
        return
    click.echo(f"{row['source']}: finished from {row['since']} to {row['until']}")
    rows = [{"day": day, **counts} for day, counts in row["days"].items()]
    rows += [{"day": "total", **row["counts"]}] if len(rows) > 1 else []
    print_list(rows, _DAYS, output, empty="no attempts finished in this period")
    print_list(
        [
            {
                "path": path,
                "count": delay["count"],
                **{f"{name}_seconds": delay[name] for name in ("p50", "p95", "max")},
            }
            for path, delay in row["delays"].items()
        ],
        _DELAYS,
        output,
        empty="no published attempt has a finish time",
    )
    for name, meaning in _MEANINGS.items():
        if ids := row["ids"].get(name):
            more = f" and {len(ids) - _IDS_SHOWN} more (-o json has all)" if len(ids) > _IDS_SHOWN else ""
            click.echo(f"{name.replace('_', ' ')} ({len(ids)}, {meaning}): {', '.join(ids[:_IDS_SHOWN])}{more}")
    if row["unreadable"]:
        click.echo(f"{row['unreadable']} records could not be read; the next poll quarantines them")
    for stream, why in row.get("unread", {}).items():
        click.echo(f"{stream} could not be read: {why}")
    if row["fixed"]:
        click.echo(f"{len(row['fixed'])} published now")
    click.echo(f"{row['records']} records read, {row['calls']} calls used, at {row['made']}")
