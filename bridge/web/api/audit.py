"""`/api/v1/audit`: who changed what, when, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.audit import AuditEntry, audit_fields
from bridge.journal.search import search
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import (
    FilteredPage,
    FilteredQuery,
    iso,
    page_of_search,
    place_of,
    query_of,
    without_addresses,
)
from bridge.web.api.members import shown_time, sound

__all__ = ["blueprint"]

blueprint = ApiBlueprint("audit", __name__, url_prefix="/api/v1/audit", description="Changes that were made.")


class _Filter(FilteredQuery):
    actor = fields.String(validate=[sound, validate.Length(1, 100)], metadata={"description": "Filter by actor."})
    action = fields.String(validate=[sound, validate.Length(1, 100)], metadata={"description": "Filter by action."})


class AuditRow(Schema):
    """One change."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Identifies the entry."})
    time = shown_time("When it was made.")
    actor = fields.String(
        required=True,
        metadata={"description": "Name of the token or of the proxy's user; `cli:USER` beside the server."},
    )
    role = fields.String(required=True, metadata={"description": "The role that the actor had."})
    action = fields.String(required=True, metadata={"description": "The operation, by its id in this description."})
    target = fields.String(required=True, metadata={"description": "What was changed."})
    before = fields.Dict(required=True, allow_none=True, metadata={"description": "Members before, where known."})
    after = fields.Dict(required=True, allow_none=True, metadata={"description": "Members after, where known."})


class AuditPage(FilteredPage):
    """Changes, newest first."""

    audit = fields.List(fields.Nested(AuditRow), required=True)


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listAudit")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, AuditPage, description="The changes that match")
def list_audit(query: Mapping[str, Any]) -> dict[str, Any]:
    """List changes

    Newest first: every call that changed something, of the API and of the command line. Entries are kept for
    `bridge.retention.audit`. They contain neither secrets nor personal data.
    """
    asked = query_of(query, audit_fields())
    wanted = {name: query[name] for name in ("actor", "action") if name in query}
    steps = services_here().audit.newest_first(
        since=asked.since, until=asked.until, after=place_of("audit", query, 1), first=query["limit"] + 1
    )

    def matches(entry: AuditEntry) -> bool:
        return all(getattr(entry, name) == value for name, value in wanted.items()) and asked.matches(entry)

    page = search(steps, matches, query["limit"])
    return page_of_search("audit", page, [_row(entry) for entry in page.rows])


def _row(entry: AuditEntry) -> dict[str, Any]:
    row = {
        "id": entry.entry_id,
        "time": iso(entry.at),
        "actor": entry.actor,
        "role": entry.role,
        "action": entry.action,
        "target": entry.change.target,
        "before": entry.change.before,
        "after": entry.change.after,
    }
    return row if sees_persons() else without_addresses(row)
