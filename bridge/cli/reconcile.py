"""`reconcile`: compare a vendor's list with what was published; results are kept."""

from __future__ import annotations

from dataclasses import asdict

import click

from bridge.cli.common import load_services
from bridge.cli.exit_codes import DONE, PARTLY_FAILED
from bridge.cli.options import exit_nothing_matched, format_option, known_name, since_option
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.progress import lower_priority, stoppable
from bridge.polling.backfill_jobs import period_problem
from bridge.polling.reconciliation import Reconciliation, Reconciliations
from bridge.services import Services
from workers.polling import reconcile as worker
from workers.polling.listing import Interrupted

__all__ = ["reconcile"]

_WEEK = 7 * 86_400.0
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
    kept; `show` prints the last one.
    """
    if ctx.invoked_subcommand is not None:
        if source or since or fix:
            raise click.UsageError(f"--source, --since and --fix cannot stand before {ctx.invoked_subcommand}")
        return
    if source is None:
        raise click.UsageError("missing: --source, or the command show")
    services = load_services()
    known_name(source, services.config.sources, "source")
    result = _compare(services, source, since, fix)
    _print(result, output)
    missing = set(result.ids["missing"]) - set(result.fixed)
    ctx.exit(PARTLY_FAILED if missing else DONE)


@reconcile.command()
@click.option("--source", help="Filter by source.")
@format_option
def show(source: str | None, output: str) -> None:
    """Show the last result of each source. JSON has all ids."""
    services = load_services()
    names = [known_name(source, services.config.sources, "source")] if source else list(services.config.sources)
    results = [result for name in names if (result := Reconciliations(services.state).last(name))]
    if not results:
        exit_nothing_matched("no results yet; run attempt-bridge reconcile --source NAME")
    for result in results:
        _print(result, output)


def _compare(services: Services, source_name: str, since: float | None, fix: bool) -> Reconciliation:
    source, now = services.config.sources[source_name], services.now()
    first, until = now - _WEEK if since is None else since, worker.settled_until(source, now)
    if problem := period_problem(first, until, now, services.vendors[source.vendor].look_back_limit):
        raise click.UsageError(problem)
    lower_priority()
    reasons: set[str] = set()

    def show_wait(why: str, until: float) -> None:
        if why not in reasons:
            reasons.add(why)
            say(f"waiting until {iso(until)}: {why}")

    with stoppable("stopping; no result is kept") as stop:

        def check() -> None:
            if stop.is_set():
                raise Interrupted("stop requested")

        try:
            options = worker.ReconcileOptions(
                since=first, until=until, fix=fix, check=check, sleep=stop.wait, waiting=show_wait
            )
            return worker.reconcile(services, source_name, options)
        except Interrupted:
            raise KeyboardInterrupt from None


def _print(result: Reconciliation, output: str) -> None:
    if output != "table":
        moments = {name: iso(getattr(result, name)) for name in ("since", "until", "made")}
        print_object({**asdict(result), **moments}, output)
        return
    click.echo(f"{result.source}: finished from {iso(result.since)} to {iso(result.until)}")
    rows = [{"day": day, **counts} for day, counts in result.days.items()]
    rows += [{"day": "total", **{name: result.total(name) for name in _DAYS[1:]}}] if len(rows) > 1 else []
    print_list(rows, _DAYS, output, empty="no attempts finished in this period")
    print_list(
        [
            {
                "path": path,
                "count": delay["count"],
                **{f"{name}_seconds": delay[name] for name in ("p50", "p95", "max")},
            }
            for path, delay in result.delays.items()
        ],
        _DELAYS,
        output,
        empty="no published attempt has a finish time",
    )
    for name, meaning in _MEANINGS.items():
        if ids := result.ids.get(name):
            more = f" and {len(ids) - _IDS_SHOWN} more (-o json has all)" if len(ids) > _IDS_SHOWN else ""
            click.echo(f"{name.replace('_', ' ')} ({len(ids)}, {meaning}): {', '.join(ids[:_IDS_SHOWN])}{more}")
    if result.unreadable:
        click.echo(f"{result.unreadable} records could not be read; the next poll quarantines them")
    if result.fixed:
        click.echo(f"{len(result.fixed)} published now")
    click.echo(f"{result.records} records read, {result.calls} calls used, at {iso(result.made)}")
