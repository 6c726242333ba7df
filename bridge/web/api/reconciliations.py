"""`/api/v1/reconciliations`: comparisons of a vendor's list with what was published, nightly ones and others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.errors import clip
from bridge.polling.backfill_jobs import period_problem
from bridge.polling.reconciliation import CLASSES, Reconciliation, Reconciliations, settled_until
from bridge.polling.worker_jobs import (
    DONE,
    ENDED,
    FAILED,
    RECONCILIATION,
    RUNNING,
    STATES,
    STOPPED,
    WAITING,
    WorkerJob,
    WorkerJobs,
    job_id,
)
from bridge.web.api.auditing import audited
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
from bridge.web.api.filters import iso, without_addresses
from bridge.web.api.members import Flag, shown_time, sound
from bridge.web.api.paging import Page, PageQuery, page_of, position_of, refuse_cursor
from bridge.web.api.worker_rows import moment_of, why_it_waits

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "reconciliations", __name__, url_prefix="/api/v1/reconciliations", description="Comparisons with vendors' lists."
)
_WEEK = 7 * 86_400.0


class _Filter(PageQuery):
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    state = fields.String(validate=validate.OneOf(STATES), metadata={"description": "Filter by state."})


class NewReconciliation(Schema):
    """What to compare."""

    source = fields.String(required=True, validate=sound, metadata={"description": "Name of the source."})
    since = fields.String(
        validate=validate.Length(1, 40),
        metadata={"description": "Start: 2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC. Default: seven days ago."},
    )
    fix = Flag(load_default=False, metadata={"description": "Publish what is missing or outdated."})


class ReconciliationRow(Schema):
    """One comparison, with its figures once it is done."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(
        required=True, metadata={"description": "Name of the source and a number, with a slash between."}
    )
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    state = fields.String(required=True, validate=validate.OneOf(STATES), metadata={"description": "Its state."})
    since = shown_time("Start of the period, by when attempts finished.")
    until = shown_time("End of the period.")
    made = shown_time("When it was begun or, before that, requested.")
    by = fields.String(required=True, metadata={"description": "Who asked for it; empty: nobody, or unknown."})
    waits = fields.String(required=True, metadata={"description": "Why it makes no progress; empty: it does."})
    waits_until = shown_time("Until when it waits, if that is known.", allow_none=True)
    error = fields.String(required=True, metadata={"description": "Why it failed; empty: it has not."})
    counts = fields.Dict(
        required=True, allow_none=True, metadata={"description": "Kind -> number of attempts; null before it is done."}
    )


class ReconciliationDetails(ReconciliationRow):
    """One comparison with everything that it found; these members are absent until it is done."""

    seconds = fields.Float(metadata={"description": "How long it took."})
    days = fields.Dict(metadata={"description": "Day (UTC) -> kind -> number of attempts."})
    ids = fields.Dict(metadata={"description": "Kind of difference -> ids of attempts, oldest first."})
    delays = fields.Dict(metadata={"description": "Path -> seconds from finish to publishing."})
    records = fields.Integer(metadata={"description": "Records read."})
    unreadable = fields.Integer(metadata={"description": "Records that could not be read."})
    unread = fields.Dict(metadata={"description": "Stream of an item that could not be read -> why."})
    calls = fields.Integer(metadata={"description": "Calls used."})
    fixed = fields.List(fields.String(), metadata={"description": "Ids of the attempts that it published."})


class ReconciliationPage(Page):
    """Comparisons, newest first."""

    reconciliations = fields.List(fields.Nested(ReconciliationRow), required=True)


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "addReconciliation", *BODY_ERRORS, HTTPStatus.CONFLICT)
@blueprint.arguments(NewReconciliation, example={"source": "exams", "since": "2d"})
@blueprint.response(201, ReconciliationRow, description="The comparison, which a worker begins within seconds")
def add_reconciliation(document: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a vendor's list with what was published

    A worker reads the list alongside live traffic, which has priority. 409: the source is paused in the configuration.
    """
    services, caller = services_here(), caller_here()
    source, now = services.config.sources[known_source(document["source"])], services.now()
    if source.paused:
        refuse(
            409, f"source {source.name} is paused by its configuration: it makes no calls. Remedy: set paused: false"
        )
    since = moment_of(document, "since") if "since" in document else now - _WEEK
    until = settled_until(source, now)
    if problem := period_problem(since, until, now, services.vendors[source.vendor].look_back_limit):
        refuse(422, problem, errors={"since": [problem]})
    job = WorkerJob(
        id=job_id(source.name, now, os.urandom(2)),
        kind=RECONCILIATION,
        source=source.name,
        options={"since": since, "until": until, "fix": document["fix"]},
        by="" if caller is None else caller.name,
        created=now,
    )
    _jobs().add(job)
    audited(f"reconciliation {job.id}", after={"since": iso(since), "until": iso(until), "fix": document["fix"]})
    return _of_job(job)


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listReconciliations")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, ReconciliationPage, description="The comparisons that match")
def list_reconciliations(query: Mapping[str, Any]) -> dict[str, Any]:
    """List comparisons

    Newest first: the last 30 results of each source, nightly ones included, and requested ones without a result.
    """
    position = position_of("reconciliations", query, parts=2)
    name, state = query.get("source"), query.get("state")
    names = list(services_here().config.sources) if name is None else [known_source(name)]
    results = [result for source in names for result in _results().list(source)]
    jobs = [job for job in _jobs().list(RECONCILIATION) if job.source in names and job.state != DONE]
    items = [(result.made, result.id, _of_result(result)) for result in results]
    items += [(job.created, job.id, _of_job(job)) for job in jobs]
    if position is not None:
        try:
            before = float(position[0]), position[1]
        except ValueError:
            refuse_cursor("is not a cursor of reconciliations")
        items = [item for item in items if item[:2] < before]
    chosen = sorted((item for item in items if state in (None, item[2]["state"])), key=lambda item: item[:2])
    return page_of(
        "reconciliations", reversed(chosen), query["limit"], lambda item: (repr(item[0]), item[1]), lambda item: item[2]
    )


@blueprint.route("/<source>/<number>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showReconciliation", HTTPStatus.NOT_FOUND)
@blueprint.response(200, ReconciliationDetails, description="The comparison")
def show_reconciliation(source: str, number: str) -> dict[str, Any]:
    """Show one comparison

    With the ids of the attempts that differ, once it is done. 404: there is none, or its source has 30 newer ones.
    """
    ident = f"{source}/{number}"
    result = next((result for result in _results().list(source) if result.id == ident), None)
    if result is not None:
        row = _of_result(result) | _details(result)
        shown: dict[str, Any] = row if sees_persons() else without_addresses(row)
        return shown
    return _of_job(_known(ident))


@blueprint.route("/<source>/<number>/stop", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "stopReconciliation", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, ReconciliationRow, description="It ends after the current page")
def stop_reconciliation(source: str, number: str) -> dict[str, Any]:
    """Stop a comparison

    After the current page; no result is kept. 409: it has ended.
    """
    job = _known(f"{source}/{number}")
    if job.state in ENDED:
        refuse(409, f"{job.id} is {job.state}: nothing to stop")
    before, lease = job.state, _jobs().lease(job, "stop")
    if lease.hold():
        job.state = STOPPED
        _jobs().save(job, services_here().now())
        lease.release()
    else:
        # Its worker ends it after the current page.
        _jobs().request_stop(job.id)
    audited(f"reconciliation {job.id}", before={"state": before}, after={"state": STOPPED})
    return _of_job(job)


def _known(ident: str) -> WorkerJob:
    job = _jobs().get(ident)
    if job is None or job.kind != RECONCILIATION:
        refuse(404, f"unknown reconciliation: {clip(ident, 80)}. See the list of reconciliations")
    return job


def _jobs() -> WorkerJobs:
    return WorkerJobs(services_here().state)


def _results() -> Reconciliations:
    return Reconciliations(services_here().state)


def _of_job(job: WorkerJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "source": job.source,
        "state": job.state,
        "since": iso(job.options.get("since")),
        "until": iso(job.options.get("until")),
        "made": iso(job.created),
        "by": job.by,
        "waits": why_it_waits(RECONCILIATION, job.id) if job.state == WAITING else job.waits,
        "waits_until": iso(job.waits_until) if job.state == RUNNING else None,
        "error": job.error if job.state == FAILED else "",
        "counts": None,
    }


def _of_result(result: Reconciliation) -> dict[str, Any]:
    return {
        "id": result.id,
        "source": result.source,
        "state": DONE,
        "since": iso(result.since),
        "until": iso(result.until),
        "made": iso(result.made),
        "by": result.by,
        "waits": "",
        "waits_until": None,
        "error": "",
        "counts": {name: result.total(name) for name in ("listed", *CLASSES)},
    }


def _details(result: Reconciliation) -> dict[str, Any]:
    names = ("seconds", "days", "ids", "delays", "records", "unreadable", "unread", "calls", "fixed")
    return {name: getattr(result, name) for name in names}
