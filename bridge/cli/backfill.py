"""`backfill`: read a past period of a source again, beside live traffic; list, show, stop, resume or cancel one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click

from bridge.cli import exit_codes
from bridge.cli.common import load_services
from bridge.cli.exit_codes import INTERRUPTED, PARTLY_FAILED
from bridge.cli.options import (
    confirm_broad,
    exit_nothing_matched,
    format_option,
    known_name,
    parse_moment,
    unique_match,
    yes_option,
)
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.progress import ProgressScreen, lower_priority, stoppable
from bridge.cli.watching import watch_option
from bridge.errors import StateUnavailable
from bridge.journal import PUBLISHED_OUTCOMES
from bridge.polling.backfill_jobs import (
    CANCELLED,
    DONE,
    FAILED,
    STOPPED,
    Backfill,
    Backfills,
    backfill_id,
    period_problem,
)
from bridge.services import Services
from workers.polling import backfill as worker
from workers.polling.listing import Interrupted, whole_streams

__all__ = ["backfill"]

_COLUMNS = ("id", "state", "first", "last", "read", "pages", "records", "new", "calls", "updated")
_REPROCESS = ("none", "failed", "all")


class _Date(click.ParamType[float]):
    """`2026-11-01`, `2026-11-01T08:30:00Z`; without a zone it is UTC. UNIX seconds; for a date its start or end."""

    name = "date"

    def __init__(self, *, end: bool) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = parse_moment(value)
            if self._end and re.fullmatch(r"\d{4}-?\d{2}-?\d{2}|\d{4}-?W\d{2}(-?\d)?", value):
                moment += timedelta(days=1)
        except (ValueError, OverflowError):
            self.fail(f'"{value}" is not a valid date. Write 2026-11-01 or 2026-11-01T08:30:00Z', param, ctx)
        return max(0.0, moment.timestamp())


@click.group(invoke_without_command=True)
@click.option("--source", help="Source to read from.")
@click.option("--from", "first", type=_Date(end=False), help="Start of the period, UTC, by finish of the attempts.")
@click.option("--to", "last", type=_Date(end=True), help="End of the period; a date includes that day.")
@click.option("--stream", "streams", multiple=True, help="Read only this stream; repeatable.")
@click.option(
    "--reprocess",
    type=click.Choice(_REPROCESS),
    default="none",
    show_default=True,
    help="First process stored requests and records of the period again: the failed ones, or all.",
)
@click.option("--rate", type=click.IntRange(1), help="Maximum number of pages per minute.")
@click.option("--dry-run", is_flag=True, help="Read and count, but write nothing.")
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
    """Read a past period of a source again and publish what is missing.

    Known attempts are duplicates and stay as they are, so only --reprocess needs --yes. Live traffic has priority.
    Ctrl-C stops after the current page.
    """
    if ctx.invoked_subcommand is not None:
        if source or first or last:
            raise click.UsageError(f"--source, --from and --to cannot stand before {ctx.invoked_subcommand}")
        return
    if source is None or first is None or last is None:
        missing = [name for name, value in (("--source", source), ("--from", first), ("--to", last)) if value is None]
        raise click.UsageError(f"missing: {', '.join(missing)}, or a command: list, show, stop, resume, cancel")
    services = load_services()
    job = _new(services, source, first, last, streams)
    job.reprocess, job.rate = reprocess, rate
    if reprocess != "none" and not dry_run:
        quarantined, requests = worker.to_reprocess(services, job)
        confirm_broad(yes, _reprocess_preview(quarantined, requests))
    if dry_run:
        _preview(services, job)
    else:
        _run(services, job)


@backfill.command("list")
@click.option("--source", help="Filter by source.")
@format_option
@watch_option
def list_(source: str | None, output: str) -> None:
    """List backfills, newest first."""
    services = load_services()
    if source:
        known_name(source, services.config.sources, "source")
    jobs = _store(services).list(source)
    empty = "no backfill matches" if source else "no backfills"
    print_list((_row(services, job) for job in jobs), _COLUMNS, output, empty=empty, filtered=bool(source))


@backfill.command()
@click.argument("job_id", metavar="ID")
@format_option
def show(job_id: str, output: str) -> None:
    """Show one backfill: the progress of each stream, and the outcomes."""
    services = load_services()
    job = _find(services, job_id)
    details = {
        "source": job.source,
        "streams": {name: "read" if name in job.finished else job.cursors.get(name) for name in job.streams},
        "reprocess": job.reprocess,
        "rate": job.rate,
        "outcomes": job.outcomes,
        "created": iso(job.created),
        "error": job.error,
    }
    print_object({**_row(services, job), **details}, output)


@backfill.command()
@click.argument("job_id", metavar="ID")
def stop(job_id: str) -> None:
    """Stop a running backfill after the current page; `resume` continues it."""
    services = load_services()
    job = _find(services, job_id)
    if _store(services).running(job.source) != job.id:
        exit_nothing_matched(f"{job.id} is {job.state}: nothing to stop")
    _store(services).request(job.id, "stop")
    say(f"{job.id} stops after the current page. Continue it with attempt-bridge backfill resume {job.id}")


@backfill.command()
@click.argument("job_id", metavar="ID")
def resume(job_id: str) -> None:
    """Continue a stopped or failed backfill, in this terminal."""
    services = load_services()
    job = _find(services, job_id)
    known_name(job.source, services.config.sources, "source")
    if job.state in (DONE, CANCELLED):
        exit_nothing_matched(f"{job.id} is {job.state}: nothing to resume")
    _run(services, job)


@backfill.command()
@click.argument("job_id", metavar="ID")
def cancel(job_id: str) -> None:
    """Cancel a backfill permanently; what it has published stays."""
    services = load_services()
    job, store = _find(services, job_id), _store(services)
    if job.state in (DONE, CANCELLED):
        exit_nothing_matched(f"{job.id} is {job.state}: nothing to cancel")
    lease = store.lease(job, "cancel")
    if not lease.hold():
        store.request(job.id, "cancel")
        say(f"{job.id} will be cancelled after the current page")
        return
    job.state = CANCELLED
    store.save(job, services.now())
    lease.release()
    say(f"{job.id} is cancelled")


def _new(services: Services, source_name: str, first: float, last: float, streams: Sequence[str]) -> Backfill:
    source = services.config.sources[known_name(source_name, services.config.sources, "source")]
    vendor, now = services.vendors[source.vendor], services.now()
    if not vendor.polls:
        raise click.UsageError(
            f"{vendor.title} has no list to read. Register its attempts with attempt-bridge watches import"
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
    resume_hint = f"continue with attempt-bridge backfill resume {job.id}"
    try:
        with _callbacks(services, job) as callbacks:
            worker.run(services, job, callbacks)
    except StateUnavailable:
        say(resume_hint)
        raise
    click.echo(f"{job.id}: {job.state}; {_summary(job)}")
    unreadable = job.outcomes.get("quarantined", 0)
    if job.state == STOPPED:
        say(resume_hint)
    elif job.state == FAILED:
        say(f"{job.error}; {resume_hint}")
    elif unreadable:
        say(f"{unreadable} unreadable records: see attempt-bridge dead-letters list --quarantine")
    codes = {DONE: PARTLY_FAILED if unreadable else 0, FAILED: exit_codes.FAILED}
    click.get_current_context().exit(codes.get(job.state, INTERRUPTED))


def _preview(services: Services, job: Backfill) -> None:
    stored, code = "", 0
    if job.reprocess != "none":
        quarantined, requests = worker.to_reprocess(services, job)
        stored = f" {_reprocess_preview(quarantined, requests)}."
    try:
        with _callbacks(services, job) as callbacks:
            worker.preview(services, job, callbacks)
    except Interrupted:
        code = INTERRUPTED
        say("stopped; the figures cover what was read so far")
    click.echo(f"dry run: {_summary(job)}. Nothing was written.{stored}")
    click.get_current_context().exit(code)


@contextmanager
def _callbacks(services: Services, job: Backfill) -> Iterator[worker.BackfillCallbacks]:
    lower_priority()
    with stoppable("stopping after the current page") as stop, ProgressScreen(services, job) as screen:
        yield worker.BackfillCallbacks(sleep=stop.wait, show=screen.show, stopping=stop.is_set)


def _reprocess_preview(quarantined: int, requests: int) -> str:
    return f"{quarantined} quarantined records and {requests} stored requests would be processed again"


def _summary(job: Backfill) -> str:
    outcomes = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(job.outcomes.items())) or "no attempts"
    return f"{job.pages:,} pages, {job.records:,} records, {job.calls:,} calls: {outcomes}"


def _store(services: Services) -> Backfills:
    return Backfills(services.state)


def _find(services: Services, job_id: str) -> Backfill:
    store = _store(services)
    job = store.get(job_id) or unique_match(job_id, store.list(), "backfill")
    if job is None:
        exit_nothing_matched(f"no backfill {job_id}; see attempt-bridge backfill list")
    return job


def _row(services: Services, job: Backfill) -> dict[str, Any]:
    # Once a source is removed from bridge.yaml, nothing can read its cursors.
    read = worker.share(services, job) if job.source in services.config.sources else None
    return {
        "id": job.id,
        "state": job.state,
        "first": iso(job.first),
        "last": iso(job.last),
        "read": None if read is None else f"{read:.0%}",
        "pages": job.pages,
        "records": job.records,
        "new": sum(job.outcomes.get(outcome, 0) for outcome in PUBLISHED_OUTCOMES),
        "calls": job.calls,
        "updated": iso(job.updated),
    }
