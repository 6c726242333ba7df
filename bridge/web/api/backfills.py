"""`/api/v1/backfills`: past periods of a source that a worker reads again."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from bridge.errors import clip
from bridge.monitoring.backfill_rows import backfill_row
from bridge.polling.backfill_jobs import (
    CANCELLED,
    FAILED,
    RUNNING,
    STOPPED,
    WAITING,
    WORKER,
    Backfill,
    Backfills,
    backfill_id,
    period_problem,
)
from bridge.polling.worker_jobs import BACKFILL
from bridge.sdk.vendor import Poll, streams, whole_streams
from bridge.text import did_you_mean
from bridge.web.api.auditing import audited
from bridge.web.api.backfill_shapes import BackfillFilter, BackfillPage, BackfillShape, NewBackfill
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import (
    OPERATOR,
    VIEWER,
    caller_here,
    known_source,
    needs,
    refuse,
    sees_persons,
    services_here,
)
from bridge.web.api.description import described
from bridge.web.api.filters import without_addresses
from bridge.web.api.paging import page_of, position_of, refuse_cursor
from bridge.web.api.worker_rows import moment_of, why_it_waits

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "backfills", __name__, url_prefix="/api/v1/backfills", description="Past periods that are read again."
)
_EXAMPLE = {"source": "exams", "first": "2d", "last": "1d", "dry_run": True}
_CHANGED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
_NOT_OVER = (WAITING, RUNNING, STOPPED, FAILED)


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "addBackfill", *BODY_ERRORS, HTTPStatus.CONFLICT)
@blueprint.arguments(NewBackfill, example=_EXAMPLE)
@blueprint.response(201, BackfillShape, description="The backfill, which a worker begins within seconds")
def add_backfill(document: Mapping[str, Any]) -> dict[str, Any]:
    """Read a past period again

    A worker reads it alongside live traffic, which has priority, and publishes what is missing; known attempts are
    duplicates and stay as they are. One backfill of a source runs at a time. 409: the vendor has no list to read, or
    the source is paused in the configuration.
    """
    services = services_here()
    source = services.config.sources[known_source(document["source"])]
    vendor, now = services.vendors[source.vendor], services.now()
    polls = streams(vendor, source.options)
    if not polls:
        refuse(409, f"{vendor.title} has no list to read. Register its attempts with attempt-bridge watches import")
    if source.paused:
        refuse(
            409, f"source {source.name} is paused by its configuration: it makes no calls. Remedy: set paused: false"
        )
    first, last = moment_of(document, "first"), min(moment_of(document, "last"), now)
    if problem := period_problem(first, last, now, vendor.look_back_limit):
        refuse(422, problem, errors={"first": [problem]})
    caller = caller_here()
    job = Backfill(
        id=backfill_id(source.name, now),
        source=source.name,
        first=first,
        last=last,
        streams=_streams(document, polls),
        reprocess=document["reprocess"],
        rate=document["rate"],
        created=now,
        state=WAITING,
        runner=WORKER,
        by="" if caller is None else caller.name,
        dry_run=document["dry_run"],
    )
    store = _store()
    store.choose_id(job)
    while not store.add(job, now):
        store.choose_id(job)
    services.open_jobs.add(BACKFILL, job.id)
    asked = {"first": document["first"], "last": document["last"], "reprocess": job.reprocess, "dry_run": job.dry_run}
    audited(f"backfill {job.id}", after={**asked, "streams": job.streams})
    return _row(job)


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listBackfills")
@blueprint.arguments(BackfillFilter, location="query")
@blueprint.response(200, BackfillPage, description="The backfills")
def list_backfills(query: Mapping[str, Any]) -> dict[str, Any]:
    """List backfills

    Newest first. Those that can continue are kept, and the last 100 that are done or cancelled.
    """
    position = position_of("backfills", query, parts=2)
    before = None
    if position is not None:
        try:
            before = float(position[0]), position[1]
        except ValueError:
            refuse_cursor("is not a cursor of backfills")
    source = query.get("source")
    jobs = _store().list(None if source is None else known_source(source))
    following = (job for job in jobs if before is None or (job.created, job.id) < before)
    return page_of("backfills", following, query["limit"], lambda job: (repr(job.created), job.id), _row)


@blueprint.route("/<source>/<number>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showBackfill", HTTPStatus.NOT_FOUND)
@blueprint.response(200, BackfillShape, description="The backfill")
def show_backfill(source: str, number: str) -> dict[str, Any]:
    """Show one backfill

    With the progress of each stream, and the outcomes.
    """
    return _row(_known(source, number))


@blueprint.route("/<source>/<number>/stop", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "stopBackfill", *_CHANGED)
@blueprint.response(200, BackfillShape, description="It stops after the current page")
def stop_backfill(source: str, number: str) -> dict[str, Any]:
    """Stop a backfill

    After the current page; `resumeBackfill` continues it. A dry run is cancelled. 409: it is not running.
    """
    return _end(_known(source, number), "stop", STOPPED, (WAITING, RUNNING))


@blueprint.route("/<source>/<number>/cancel", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "cancelBackfill", *_CHANGED)
@blueprint.response(200, BackfillShape, description="It is cancelled, or will be after the current page")
def cancel_backfill(source: str, number: str) -> dict[str, Any]:
    """Cancel a backfill

    Permanently; what it has published stays. 409: it is done or cancelled.
    """
    return _end(_known(source, number), "cancel", CANCELLED, _NOT_OVER)


@blueprint.route("/<source>/<number>/resume", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "resumeBackfill", *_CHANGED)
@blueprint.response(200, BackfillShape, description="A worker continues it within seconds")
def resume_backfill(source: str, number: str) -> dict[str, Any]:
    """Continue a backfill

    A stopped or failed one continues where it ended. 409: it runs, is done or cancelled, or its source is gone.
    """
    job, services = _known(source, number), services_here()
    if job.state not in (STOPPED, FAILED):
        refuse(409, f"{job.id} is {job.state}: nothing to resume")
    if job.source not in services.config.sources:
        refuse(409, f"source {clip(job.source)} is no longer in bridge.yaml. Remedy: add it again")
    lease = _store().lease(job, "resume")
    if not lease.hold():
        refuse(409, f"{_store().running(job.source)} is reading from {job.source}. Wait for it, or stop it")
    before, job.state, job.runner, job.error = job.state, WAITING, WORKER, None
    _store().save(job, services.now())
    lease.release()
    services.open_jobs.add(BACKFILL, job.id)
    audited(f"backfill {job.id}", before={"state": before}, after={"state": job.state})
    return _row(job)


def _end(job: Backfill, action: str, state: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    store = _store()
    if job.state not in allowed:
        refuse(409, f"{job.id} is {job.state}: nothing to {action}")
    before, lease = job.state, store.lease(job, action)
    is_free = lease.hold()
    if is_free or store.running(job.source) != job.id:
        # No process runs it: the source is free, or another backfill reads from it.
        job.state = CANCELLED if job.dry_run else state
        store.save(job, services_here().now())
        services_here().open_jobs.remove(BACKFILL, job.id)
    else:
        # Its process ends it after the current page.
        store.request(job.id, action)
    if is_free:
        lease.release()
    audited(f"backfill {job.id}", before={"state": before}, after={"state": state})
    return _row(store.get(job.id) or job)


def _streams(document: Mapping[str, Any], polls: Mapping[str, Poll]) -> list[str]:
    asked = document.get("streams")
    if asked is None or (not asked and not document["dry_run"]):
        return whole_streams(polls)
    for stream in asked:
        if stream not in polls:
            problem = f'unknown stream of {document["source"]}: "{clip(stream, 80)}". {did_you_mean(stream, polls)}'
            refuse(422, problem, errors={"streams": [problem]})
    return list(dict.fromkeys(asked))


def _known(source: str, number: str) -> Backfill:
    job = _store().get(f"{source}/{number}")
    if job is None:
        refuse(404, f"unknown backfill: {clip(source, 40)}/{clip(number, 40)}. See the list of backfills")
    return job


def _store() -> Backfills:
    return Backfills(services_here().state)


def _row(job: Backfill) -> dict[str, Any]:
    row = backfill_row(services_here(), job)
    if job.state == WAITING:
        row["waits"] = why_it_waits(BACKFILL, job.id)
    return row if sees_persons() else without_addresses(row)
