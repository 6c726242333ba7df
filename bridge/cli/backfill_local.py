"""Backfills that run in this process, beside a bridge that may not be running."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from bridge.cli.backfill_output import finish, finish_dry_run, reprocess_preview, resume_remedy
from bridge.cli.common import services_over_state
from bridge.cli.local_changes import record_change
from bridge.cli.options import confirm_broad, exit_nothing_matched, known_name
from bridge.cli.output import iso, say
from bridge.cli.progress import ProgressScreen, lower_priority, stoppable
from bridge.errors import StateUnavailable
from bridge.monitoring.backfill_rows import backfill_row
from bridge.polling.backfill_jobs import CANCELLED, COMMAND, DONE, Backfill, Backfills, backfill_id, period_problem
from bridge.polling.worker_jobs import BACKFILL
from bridge.runtime.registered import registered
from bridge.sdk.vendor import streams as streams_of
from bridge.sdk.vendor import whole_streams
from bridge.services import Services
from bridge.telemetry.process import tracing_process
from workers.polling import backfill as worker
from workers.polling.listing import Interrupted

__all__ = ["make", "resume"]


def make(
    source: str,
    first: float,
    last: float,
    streams: Sequence[str],
    *,
    reprocess: str,
    rate: int | None,
    dry_run: bool,
    yes: bool,
) -> NoReturn:
    """Read a period, or preview it; ends the command with its exit code."""
    services = services_over_state()
    job = _new(services, source, first, last, streams)
    job.reprocess, job.rate = reprocess, rate
    if reprocess != "none" and not dry_run:
        confirm_broad(yes, reprocess_preview(*worker.to_reprocess(services, job)))
    if dry_run:
        _preview(services, job)
    asked = {"first": iso(first), "last": iso(last), "streams": job.streams, "reprocess": reprocess}
    _run(services, job, "addBackfill", {**asked, "rate": rate})


def resume(ident: str) -> NoReturn:
    """Continue a backfill that no process runs; ends the command with its exit code. `ident`: of a known backfill."""
    services = services_over_state()
    job = Backfills(services.state).get(ident)
    if job is None:
        exit_nothing_matched(f"no backfill {ident}; see attempt-bridge backfill list")
    known_name(job.source, services.config.sources, "source")
    if job.state in (DONE, CANCELLED):
        exit_nothing_matched(f"{job.id} is {job.state}: nothing to resume")
    if job.dry_run:
        exit_nothing_matched(f"{job.id} is a dry run: nothing to resume. Make a new one")
    # Takes over even a backfill that waits for a worker.
    job.runner = COMMAND
    services.open_jobs.remove(BACKFILL, job.id)
    _run(services, job, "resumeBackfill", {"state": "running"})


def _new(services: Services, source_name: str, first: float, last: float, streams: Sequence[str]) -> Backfill:
    source = services.config.sources[known_name(source_name, services.config.sources, "source")]
    vendor, now = services.vendors[source.vendor], services.now()
    polls = streams_of(vendor, source.options)
    if not polls:
        raise click.UsageError(
            f"{vendor.title} has no list to read. Register its attempts with attempt-bridge watches import"
        )
    for stream in streams:
        known_name(stream, polls, f"stream of {source_name}")
    last = min(last, now)
    if problem := period_problem(first, last, now, vendor.look_back_limit):
        raise click.UsageError(problem)
    return Backfill(
        id=backfill_id(source_name, now),
        source=source_name,
        first=first,
        last=last,
        streams=list(dict.fromkeys(streams)) or whole_streams(polls),
        created=now,
    )


def _run(services: Services, job: Backfill, action: str, after: Mapping[str, Any]) -> NoReturn:
    before = job.updated
    try:
        with (
            registered(services, "backfill"),
            tracing_process("backfill", services.config.bridge.name),
            _callbacks(services, job) as callbacks,
        ):
            worker.run(services, job, callbacks)
    except StateUnavailable:
        say(resume_remedy(job.id))
        raise
    finally:
        if job.updated != before:
            # If the state server is unreachable, the command already ends with that error.
            with suppress(StateUnavailable):
                record_change(services, action, f"backfill {job.id}", after=after)
    finish(backfill_row(services, job))


def _preview(services: Services, job: Backfill) -> NoReturn:
    stored = worker.to_reprocess(services, job) if job.reprocess != "none" else None
    interrupted = False
    try:
        with registered(services, "backfill"), _callbacks(services, job) as callbacks:
            worker.preview(services, job, callbacks)
    except Interrupted:
        interrupted = True
    finish_dry_run(backfill_row(services, job), stored=stored, interrupted=interrupted)


@contextmanager
def _callbacks(services: Services, job: Backfill) -> Iterator[worker.BackfillCallbacks]:
    lower_priority()
    with stoppable("stopping after the current page") as stop, ProgressScreen(services, job) as screen:
        yield worker.BackfillCallbacks(sleep=stop.wait, show=screen.show, stopping=stop.is_set)
