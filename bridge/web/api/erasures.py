"""`/api/v1/erasures`: jobs that remove everything about one person."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import fields

from bridge.erasure.jobs import Erasure, erasure_id
from bridge.erasure.person import Person
from bridge.errors import clip
from bridge.web.api.auditing import audited, not_a_change
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, caller_here, known_source, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.erasure_shapes import ErasureShape, NewErasure, erasure_row
from bridge.web.api.paging import Page, PageQuery, page_of, position_of, refuse_cursor

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "erasures", __name__, url_prefix="/api/v1/erasures", description="Jobs that remove everything about one person."
)
_LINKS = {"showErasure": {"operationId": "showErasure", "parameters": {"ident": "$response.body#/id"}}}
_EXAMPLE = {"source": "exams", "email": "sam@example.org", "dry_run": True}


class ErasurePage(Page):
    """Erasures, newest first."""

    erasures = fields.List(fields.Nested(ErasureShape), required=True)


@blueprint.route("", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "addErasure", *BODY_ERRORS, answers={201: {"links": _LINKS}})
@blueprint.arguments(NewErasure, example=_EXAMPLE)
@blueprint.response(201, ErasureShape, description="The job, which runs from now on")
def add_erasure(document: Mapping[str, Any]) -> dict[str, Any]:
    """Erase one person, or count what would be erased

    Everything the bridge stores about the person at this source is removed, and events not delivered yet are not
    delivered. A dispatch process runs the job; read it until `state` is `done`: `total` is 0 if nothing was found.
    With `dry_run` nothing is removed. Webhooks and polls that come later are published as usual.
    """
    services, caller = services_here(), caller_here()
    source = known_source(document["source"])
    person = Person(source=source, candidate=document.get("candidate", ""), email=document.get("email", "").strip())
    now = services.now()
    job = Erasure(
        id=erasure_id(now, os.urandom(2)),
        source=source,
        digest=person.digest,
        dry_run=document["dry_run"],
        created=now,
        by="" if caller is None else caller.name,
    )
    services.erasures.trim()
    services.erasures.add(job, person)
    if job.dry_run:
        not_a_change()
    else:
        audited(f"erasure {job.id}", after={"source": source, "person": job.digest})
    return erasure_row(_known(job.id))


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listErasures")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, ErasurePage, description="The jobs")
def list_erasures(query: Mapping[str, Any]) -> dict[str, Any]:
    """List erasures

    Newest first: those that run, and the last 200 that have ended.
    """
    position = position_of("erasures", query, parts=2)
    before = None
    if position is not None:
        try:
            before = float(position[0]), position[1]
        except ValueError:
            refuse_cursor("is not a cursor of erasures")
    jobs = services_here().erasures.newest_first(before=before)
    return page_of("erasures", jobs, query["limit"], lambda job: (repr(job.created), job.id), erasure_row)


@blueprint.route("/<ident>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showErasure", HTTPStatus.NOT_FOUND)
@blueprint.response(200, ErasureShape, description="The job")
def show_erasure(ident: str) -> dict[str, Any]:
    """Show one erasure

    With its progress, and at its end with a report.
    """
    return erasure_row(_known(ident))


def _known(ident: str) -> Erasure:
    job = services_here().erasures.get(ident)
    if job is None:
        refuse(404, f"unknown erasure: {clip(ident, 60)}. See the list of erasures")
    return job
