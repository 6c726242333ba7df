"""`backfill`: read a past period of a source again, beside live traffic; stop it, resume it, look at it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.common import confirm_broad, format_option, known_name, load_services, yes_option
from bridge.cli.output import iso, print_list, print_one, say

if TYPE_CHECKING:
    from bridge.polling.backfill_jobs import Backfill, Backfills
    from bridge.services import Services
    from workers.polling.backfill import BackfillCallbacks

__all__ = ["backfill"]

_COLUMNS = ("id", "state", "first", "last", "read", "pages", "records", "new", "calls", "updated")
_REPROCESS = ("none", "failed", "all")
_NEW = ("published", "revised")


class _Date(click.ParamType[float]):
    """`2026-11-01`, `2026-11-01T08:30:00Z`; UTC without a zone. UNIX seconds; of a mere date the day's begin or end."""

    name = "date"

    def __init__(self, *, end: bool) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = datetime.fromisoformat(value)
            if self._end and re.fullmatch(r"\d{4}-?\d{2}-?\d{2}|\d{4}-?W\d{2}(-?\d)?", value):
                moment += timedelta(days=1)
        except (ValueError, OverflowError):
            self.fail(f'"{value}" is no date; write 2026-11-01 or 2026-11-01T08:30:00Z', param, ctx)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@click.group(invoke_without_command=True)
@click.option("--source", help="Which source to read from.")
@click.option("--from", "first", type=_Date(end=False), help="First day or moment, UTC: of the finish of an attempt.")
@click.option("--to", "last", type=_Date(end=True), help="Last day or moment, included.")
@click.option("--stream", "streams", multiple=True, help="Only this stream; may be given several times.")
@click.option(
    "--reprocess",
    type=click.Choice(_REPROCESS),
    default="none",
    show_default=True,
    help="Run what is stored of that period through the current code first: what could not be read, or every request.",
)
@click.option("--rate", type=click.IntRange(1), help="At most so many pages a minute.")
@click.option("--dry-run", is_flag=True, help="Read and count, write nothing.")
@yes_option
@click.pass_context
def backfill(
    ctx: click.Context,
    source: str | None,
    first: float | None,
    last: float | None,
    streams: Sequence[str],
    reprocess: str,
    rate: int | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Read a past period of a source again and publish what nobody has published.

    What is known is a duplicate and stays as it is, so --yes is asked for only with --reprocess. Live traffic goes
    first. Ctrl-C stops it after the page at hand.
    """
    if ctx.invoked_subcommand is not None:
        if source or first or last:
            raise click.UsageError(f"give --source, --from and --to to `backfill` alone, or {ctx.invoked_subcommand}")
        return
    if source is None or first is None or last is None:
        missing = [name for name, value in (("--source", source), ("--from", first), ("--to", last)) if value is None]
        raise click.UsageError(f"Missing option {', '.join(missing)}; or say list, show, stop, resume or cancel")
    services = load_services()
    job = _new(services, source, first, last, streams)
    job.reprocess, job.rate = reprocess, rate
    if reprocess != "none" and not dry_run:
        from workers.polling.backfill import to_reprocess  # noqa: PLC0415 - `--help` must be quick

        quarantined, requests = to_reprocess(services, job)
        confirm_broad(yes, f"{quarantined} records in quarantine and {requests} stored requests would be read again")
    if dry_run:
        _preview(services, job)
    else:
        _run(services, job)


@backfill.command("list")
@click.option("--source", help="Only of this source.")
@format_option
def list_(source: str | None, output: str) -> None:
    """List backfills, newest first."""
    services = load_services()
    if source:
        known_name(source, services.config.sources, "source")
    jobs = _store(services).list(source)
    empty = "there was no backfill yet" if not source else "no backfill fits"
    print_list((_row(services, job) for job in jobs), _COLUMNS, output, empty=empty, filtered=bool(source))


@backfill.command()
@click.argument("job_id", metavar="ID")
@format_option
def show(job_id: str, output: str) -> None:
    """Show one backfill: where each stream stands, and what came of it."""
    services = load_services()
    job = _find(services, job_id)
    more = {
        "source": job.source,
        "streams": {name: "read" if name in job.finished else job.cursors.get(name) for name in job.streams},
        "reprocess": job.reprocess,
        "rate": job.rate,
        "outcomes": job.outcomes,
        "created": iso(job.created),
        "error": job.error,
    }
    print_one({**_row(services, job), **more}, output)


@backfill.command()
@click.argument("job_id", metavar="ID")
def stop(job_id: str) -> None:
    """Stop a running one after the page at hand; `resume` goes on."""
    services = load_services()
    job = _find(services, job_id)
    if _store(services).running(job.source) != job.id:
        _nothing(f"{job.id} is {job.state}: there is nothing to stop")
    _store(services).request(job.id, "stop")
    say(f"{job.id} stops after the page at hand; attempt-bridge backfill resume {job.id} goes on")


@backfill.command()
@click.argument("job_id", metavar="ID")
def resume(job_id: str) -> None:
    """Go on where a stopped or failed one stood, in this terminal."""
    services = load_services()
    job = _find(services, job_id)
    known_name(job.source, services.config.sources, "source")
    if job.state in ("done", "cancelled"):
        _nothing(f"{job.id} is {job.state}: there is nothing to resume")
    _run(services, job)


@backfill.command()
@click.argument("job_id", metavar="ID")
def cancel(job_id: str) -> None:
    """End one for good; what it has published stays."""
    services = load_services()
    job, store = _find(services, job_id), _store(services)
    if job.state in ("done", "cancelled"):
        _nothing(f"{job.id} is {job.state}: there is nothing to cancel")
    lease = store.lease(job, "cancel")
    if not lease.hold():
        store.request(job.id, "cancel")
        say(f"{job.id} ends after the page at hand")
        return
    job.state = "cancelled"
    store.save(job, services.now())
    lease.release()
    say(f"{job.id} is cancelled")


def _new(services: Services, source_name: str, first: float, last: float, streams: Sequence[str]) -> Backfill:
    from bridge.polling.backfill_jobs import Backfill, backfill_id, period_problem  # noqa: PLC0415 - `--help` must be quick
    from workers.polling.listing import whole_streams  # noqa: PLC0415

    source = services.config.sources[known_name(source_name, services.config.sources, "source")]
    vendor, now = services.vendors[source.vendor], services.now()
    if not vendor.polls:
        raise click.UsageError(
            f"{vendor.title} has no list to read; its attempts come by `attempt-bridge watches import`"
        )
    for stream in streams:
        known_name(stream, vendor.polls, f"stream of {source_name}")
    last = min(last, now)
    if problem := period_problem(first, last, now, vendor.look_back_limit):
        raise click.UsageError(problem)
    return Backfill(
        id=backfill_id(source_name, now),
        source=source_name,
        first=first,
        last=last,
        streams=list(dict.fromkeys(streams)) or whole_streams(vendor),
        created=now,
    )


def _run(services: Services, job: Backfill) -> None:
    from bridge.errors import StateUnavailable  # noqa: PLC0415 - `--help` must be quick
    from workers.polling import backfill as worker  # noqa: PLC0415

    again = f"attempt-bridge backfill resume {job.id} goes on"
    try:
        with _outside(services, job) as outside:
            worker.run(services, job, outside)
    except StateUnavailable:
        say(again)
        raise
    click.echo(f"{job.id}: {job.state}; {_summary(job)}")
    unreadable = job.outcomes.get("quarantined", 0)
    if job.state == "stopped":
        say(again)
    elif job.state == "failed":
        say(f"{job.error}; {again}")
    elif unreadable:
        say(f"{unreadable} records could not be read: attempt-bridge dead-letters list --quarantine")
    codes = {"done": 4 if unreadable else 0, "failed": 1}
    click.get_current_context().exit(codes.get(job.state, 130))


def _preview(services: Services, job: Backfill) -> None:
    from workers.polling import backfill as worker  # noqa: PLC0415 - `--help` must be quick
    from workers.polling.listing import Interrupted  # noqa: PLC0415

    stored, code = "", 0
    if job.reprocess != "none":
        quarantined, requests = worker.to_reprocess(services, job)
        stored = f" {quarantined} records in quarantine and {requests} stored requests would be read again."
    try:
        with _outside(services, job) as outside:
            worker.preview(services, job, outside)
    except Interrupted:
        code = 130
        say("stopped; the figures are of what was read so far")
    click.echo(f"dry run: {_summary(job)}. Nothing was written.{stored}")
    click.get_current_context().exit(code)


@contextmanager
def _outside(services: Services, job: Backfill) -> Iterator[BackfillCallbacks]:
    from bridge.cli.progress import Screen, stay_behind, stoppable  # noqa: PLC0415 - `--help` must be quick
    from workers.polling.backfill import BackfillCallbacks  # noqa: PLC0415

    stay_behind()
    with stoppable("stops after the page at hand") as asked, Screen(services, job) as screen:
        yield BackfillCallbacks(sleep=asked.wait, show=screen.show, stopping=asked.is_set)


def _summary(job: Backfill) -> str:
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(job.outcomes.items())) or "nothing found"
    return f"{job.pages:,} pages, {job.records:,} records, {job.calls:,} calls: {outcomes}"


def _store(services: Services) -> Backfills:
    from bridge.polling.backfill_jobs import Backfills  # noqa: PLC0415 - `--help` must be quick

    return Backfills(services.state)


def _find(services: Services, job_id: str) -> Backfill:
    job = _store(services).get(job_id)
    if job is None:
        say(f"no backfill {job_id}; attempt-bridge backfill list has them")
        click.get_current_context().exit(3)
    return job


def _nothing(message: str) -> None:
    say(message)
    click.get_current_context().exit(3)


def _row(services: Services, job: Backfill) -> dict[str, Any]:
    from workers.polling.backfill import share  # noqa: PLC0415 - `--help` must be quick

    # A source that was removed meanwhile leaves no cursor that anybody could read.
    read = share(services, job) if job.source in services.config.sources else None
    return {
        "id": job.id,
        "state": job.state,
        "first": iso(job.first),
        "last": iso(job.last),
        "read": None if read is None else f"{read:.0%}",
        "pages": job.pages,
        "records": job.records,
        "new": sum(job.outcomes.get(outcome, 0) for outcome in _NEW),
        "calls": job.calls,
        "updated": iso(job.updated),
    }
