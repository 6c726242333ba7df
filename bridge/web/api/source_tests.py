"""`/api/v1/sources/{name}/test`: a worker logs in at the vendor and reads a page of each stream."""

from __future__ import annotations

import os
import time
from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge import clock
from bridge.errors import clip
from bridge.polling.worker_jobs import ENDED, STATES, TEST, WAITING, WorkerJob, WorkerJobs, job_id
from bridge.web.api.auditing import audited
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, caller_here, needs, refuse, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import iso, without_addresses
from bridge.web.api.members import shown_time
from bridge.web.api.sources import known_or_404
from bridge.web.api.worker_rows import NO_WORKER, is_worker_running, why_it_waits

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "source-tests", __name__, url_prefix="/api/v1/sources", description="Tests of configured vendor accounts."
)
#: A call waits this long for the result, seconds: a worker begins within two.
_LONGEST_WAIT = 5.0
_INTERVAL = 0.1


class TestStep(Schema):
    """One step of a test."""

    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "`log in`, or the stream."})
    status = fields.String(
        required=True,
        validate=validate.OneOf(("ok", "warning", "failure")),
        metadata={"description": "`warning`: there is something that cannot be read, or nothing to read."},
    )
    text = fields.String(required=True, metadata={"description": "The result in one line."})
    records = fields.Dict(required=True, metadata={"description": "Status of the attempts -> number of records."})
    problems = fields.List(
        fields.String(), required=True, metadata={"description": "Why records could not be read, each reason once."}
    )


class SourceTest(Schema):
    """One test of a source."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(
        required=True, metadata={"description": "Name of the source and a number, with a slash between."}
    )
    source = fields.String(required=True, metadata={"description": "Name of the source."})
    state = fields.String(required=True, validate=validate.OneOf(STATES), metadata={"description": "Its state."})
    ok = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Whether no step failed; null before it has ended."}
    )
    steps = fields.List(fields.Nested(TestStep), required=True, metadata={"description": "The steps so far."})
    waits = fields.String(required=True, metadata={"description": "Why it has not begun; empty: it has."})
    error = fields.String(required=True, metadata={"description": "Why it was not done; empty: it was."})
    created = shown_time("When it was requested.")


@blueprint.route("/<name>/test", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "testSource", HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.response(200, SourceTest, description="The result")
@blueprint.alt_response(202, schema=SourceTest, description="It is still running: `showSourceTest` has the result")
def test_source(name: str) -> Any:
    """Test a source

    A worker logs in at the vendor and reads one page of each stream. Nothing is published and no cursor moves; it uses
    a few calls of the budget. The answer comes within five seconds, complete or not. 409: no worker runs.
    """
    services, source, caller = services_here(), known_or_404(name), caller_here()
    if not is_worker_running():
        refuse(409, NO_WORKER)
    now = services.now()
    job = WorkerJob(
        id=job_id(source.name, now, os.urandom(2)),
        kind=TEST,
        source=source.name,
        by="" if caller is None else caller.name,
        created=now,
    )
    store = WorkerJobs(services.state)
    store.add(job)
    audited(f"source {name}", after={"test": job.id})
    begun = clock.monotonic()
    while job.state not in ENDED and clock.monotonic() - begun < _LONGEST_WAIT:
        time.sleep(_INTERVAL)
        job = store.get(job.id) or job
    return _row(job), 200 if job.state in ENDED else 202


@blueprint.route("/<name>/tests/<number>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showSourceTest", HTTPStatus.NOT_FOUND)
@blueprint.response(200, SourceTest, description="The test")
def show_source_test(name: str, number: str) -> dict[str, Any]:
    """Show one test of a source

    With its steps so far. 404: there is none, or 100 newer ones.
    """
    job = WorkerJobs(services_here().state).get(f"{name}/{number}")
    if job is None or job.kind != TEST:
        refuse(404, f"unknown test: {clip(name, 40)}/{clip(number, 40)}. Test the source again")
    return _row(job)


def _row(job: WorkerJob) -> dict[str, Any]:
    has_ended = job.state in ENDED
    row = {
        "id": job.id,
        "source": job.source,
        "state": job.state,
        "ok": not job.error and all(step["status"] != "failure" for step in job.steps) if has_ended else None,
        "steps": job.steps,
        "waits": why_it_waits(TEST, job.id) if job.state == WAITING else "",
        "error": job.error,
        "created": iso(job.created),
    }
    return row if sees_persons() else without_addresses(row)
