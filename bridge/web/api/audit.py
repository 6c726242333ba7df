"""`/api/v1/audit`: who changed what, when, before and after."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge import clock
from bridge.audit import AuditEntry
from bridge.query import parse_moment
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.members import shown_time, sound
from bridge.web.api.paging import Page, PageQuery, cursor_of, position_of, refuse_cursor
from schemas.event import format_time

__all__ = ["blueprint"]

blueprint = ApiBlueprint("audit", __name__, url_prefix="/api/v1/audit", description="Changes that were made.")

#: Entries that one call reads at most.
_SEARCHED = 20_000
_POSITION = re.compile(r"\d{1,15}-\d{1,15}", re.ASCII)
_MOMENT = "2h (ago), 2026-11-01 or 2026-11-01T08:30:00Z; UTC."


class _Filter(PageQuery):
    actor = fields.String(validate=[sound, validate.Length(1, 100)], metadata={"description": "Filter by actor."})
    action = fields.String(validate=[sound, validate.Length(1, 100)], metadata={"description": "Filter by action."})
    since = fields.String(validate=validate.Length(1, 40), metadata={"description": f"Start: {_MOMENT}"})
    until = fields.String(validate=validate.Length(1, 40), metadata={"description": f"End: {_MOMENT}"})


class AuditRow(Schema):
    """One change."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Names the entry."})
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


class AuditPage(Page):
    """Changes, newest first."""

    audit = fields.List(fields.Nested(AuditRow), required=True)
    searched_until = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Set if the search ended at its bound: nothing older was searched; `next` goes on."},
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listAudit")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, AuditPage, description="The changes that match")
def list_audit(query: Mapping[str, Any]) -> dict[str, Any]:
    """List changes

    Newest first: every call that changed something, of the API and of the command line. Entries are kept for
    `bridge.retention.audit`. Neither secrets nor personal data are in them.
    """
    position = position_of("audit", query)
    if position is not None and not _POSITION.fullmatch(position[0]):
        refuse_cursor("is not a cursor of audit")
    entries = services_here().audit.newest_first(
        since=_moment(query, "since"), until=_moment(query, "until"), before=None if position is None else position[0]
    )
    rows: list[AuditEntry] = []
    last = None
    for last in islice(entries, _SEARCHED):
        if query.get("actor") in (None, last.actor) and query.get("action") in (None, last.action):
            rows.append(last)
            if len(rows) > query["limit"]:
                break
    else:
        ended = next(entries, None) is None
        following = None if ended or last is None else cursor_of("audit", last.entry_id)
        bound = None if ended or last is None else _iso(last.at)
        return {"audit": [_row(entry) for entry in rows], "next": following, "searched_until": bound}
    rows = rows[: query["limit"]]
    following = cursor_of("audit", rows[-1].entry_id)
    return {"audit": [_row(entry) for entry in rows], "next": following, "searched_until": None}


def _moment(query: Mapping[str, Any], name: str) -> float | None:
    if name not in query:
        return None
    try:
        return parse_moment(query[name], services_here().now()) / 1000
    except ValueError as error:
        refuse(422, f"{name}: {error}", errors={name: [str(error)]})


def _row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.entry_id,
        "time": _iso(entry.at),
        "actor": entry.actor,
        "role": entry.role,
        "action": entry.action,
        "target": entry.change.target,
        "before": entry.change.before,
        "after": entry.change.after,
    }


def _iso(moment: float) -> str:
    return format_time(clock.to_datetime(moment))
