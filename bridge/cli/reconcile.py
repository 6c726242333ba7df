"""`reconcile`: what a vendor lists against what was published, and the results that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bridge.cli.common import format_option, known_name, load_services, since_option
from bridge.cli.output import iso, print_list, print_one, say

if TYPE_CHECKING:
    from bridge.polling.reconciliation import Reconciliation
    from bridge.services import Services

__all__ = ["reconcile"]

_WEEK = 7 * 86_400.0
_DAYS = ("day", "listed", "both", "webhook_only", "poll_only", "missing", "expected")
_DELAYS = ("path", "count", "p50_seconds", "p95_seconds", "max_seconds")
#: What stands behind each list of ids, in the order of the report. Ids shown of each; JSON has all.
_MEANINGS = {
    "missing": "listed, never published",
    "outdated": "the vendor has a later result",
    "expected": "past its due time, neither listed nor published",
    "poll_only": "rescued: no webhook came",
    "webhook_only": "no poll has seen it",
    "unlisted": "published, but not in the vendor's list",
}
_SHOWN = 10


@click.group(invoke_without_command=True)
@click.option("--source", help="Which source to compare.")
@since_option
@click.option("--fix", is_flag=True, help="Publish what is missing or outdated.")
@format_option
@click.pass_context
def reconcile(ctx: click.Context, source: str | None, since: float | None, fix: bool, output: str) -> None:
    """Compare what a vendor lists with what was published, since 7d unless --since says otherwise.

    Ends with 4 when something is missing and was not published. The result is kept; `show` prints the last one.
    """
    if ctx.invoked_subcommand is not None:
        if source or since or fix:
            raise click.UsageError(f"give --source behind {ctx.invoked_subcommand}; it takes no --since and no --fix")
        return
    if source is None:
        raise click.UsageError("Missing option --source; or say show")
    services = load_services()
    known_name(source, services.config.sources, "source")
    result = _compare(services, source, since, fix)
    _print(result, output)
    left = set(result.ids["missing"]) - set(result.fixed)
    ctx.exit(4 if left else 0)


@reconcile.command()
@click.option("--source", help="Only of this source.")
@format_option
def show(source: str | None, output: str) -> None:
    """Print the last result of a source, or of every one; JSON has all ids."""
    from bridge.polling.reconciliation import Reconciliations  # noqa: PLC0415 - `--help` must be quick

    services = load_services()
    names = [known_name(source, services.config.sources, "source")] if source else list(services.config.sources)
    found = [result for name in names if (result := Reconciliations(services.state).last(name))]
    if not found:
        say("nothing was reconciled yet; attempt-bridge reconcile --source NAME does it")
        click.get_current_context().exit(3)
    for result in found:
        _print(result, output)


def _compare(services: Services, source_name: str, since: float | None, fix: bool) -> Reconciliation:
    from bridge.cli.progress import stay_behind, stoppable  # noqa: PLC0415
    from bridge.polling.backfill_jobs import period_problem  # noqa: PLC0415 - `--help` must be quick
    from workers.polling import reconcile as worker  # noqa: PLC0415
    from workers.polling.listing import Interrupted  # noqa: PLC0415

    source, now = services.config.sources[source_name], services.now()
    first, until = now - _WEEK if since is None else since, worker.settled_until(source, now)
    if problem := period_problem(first, until, now, services.vendors[source.vendor].look_back_limit):
        raise click.UsageError(problem)
    stay_behind()
    said: set[str] = set()

    def tell(why: str, until: float) -> None:
        if why not in said:
            said.add(why)
            say(f"waits until {iso(until)}: {why}")

    with stoppable("stops; nothing of it is kept") as asked:

        def check() -> None:
            if asked.is_set():
                raise Interrupted("asked to stop")

        try:
            options = worker.ReconcileOptions(
                since=first, until=until, fix=fix, check=check, sleep=asked.wait, waiting=tell
            )
            return worker.reconcile(services, source_name, options)
        except Interrupted:
            raise KeyboardInterrupt from None


def _print(result: Reconciliation, output: str) -> None:
    if output != "table":
        from dataclasses import asdict  # noqa: PLC0415

        moments = {name: iso(getattr(result, name)) for name in ("since", "until", "made")}
        print_one({**asdict(result), **moments}, output)
        return
    click.echo(f"{result.source}: finished from {iso(result.since)} to {iso(result.until)}")
    rows = [{"day": day, **counted} for day, counted in result.days.items()]
    rows += [{"day": "total", **{name: result.total(name) for name in _DAYS[1:]}}] if len(rows) > 1 else []
    print_list(rows, _DAYS, output, empty="no attempt finished in that period")
    print_list(
        [
            {"path": path, "count": one["count"], **{f"{name}_seconds": one[name] for name in ("p50", "p95", "max")}}
            for path, one in result.delays.items()
        ],
        _DELAYS,
        output,
        empty="no attempt with a time of finish was published",
    )
    for name, meaning in _MEANINGS.items():
        if ids := result.ids.get(name):
            more = f" and {len(ids) - _SHOWN} more (-o json has all)" if len(ids) > _SHOWN else ""
            click.echo(f"{name.replace('_', ' ')} ({len(ids)}, {meaning}): {', '.join(ids[:_SHOWN])}{more}")
    if result.unreadable:
        click.echo(f"{result.unreadable} records could not be read; a poll keeps them in quarantine")
    if result.fixed:
        click.echo(f"{len(result.fixed)} published now")
    click.echo(f"{result.records} records read, {result.calls} calls spent, at {iso(result.made)}")
