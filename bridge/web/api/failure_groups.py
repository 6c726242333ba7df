"""`/api/v1/failure-groups`: failing deliveries and dead letters by what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.delivery.group_store import FailureGroups
from bridge.delivery.groups import ACKNOWLEDGED, FIXED, OPEN, FailureGroup
from bridge.errors import clip
from bridge.web.api.auditing import audited
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, needs, refuse, sees_persons, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import iso, without_addresses
from bridge.web.api.members import shown_time, sound
from bridge.web.api.paging import Page, PageQuery, page_of, position_of, refuse_cursor
from bridge.web.api.subscription_names import known_subscription, subscription_names

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "failure-groups", __name__, url_prefix="/api/v1/failure-groups", description="Failures by what went wrong."
)
_STATES = (OPEN, ACKNOWLEDGED, FIXED)
#: Order of the list -> what is compared, the highest first.
_ORDERS: Mapping[str, Callable[[FailureGroup], float]] = {
    "last": lambda group: group.last,
    "count": lambda group: float(group.count),
}
_CHANGED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


class _Filter(PageQuery):
    subscription = fields.String(validate=sound, metadata={"description": "Filter by subscription."})
    state = fields.String(validate=validate.OneOf(_STATES), metadata={"description": "Filter by state."})
    order = fields.String(
        load_default="last",
        validate=validate.OneOf(_ORDERS),
        metadata={"description": "`last`: the last failure first; `count`: the most deliveries first."},
    )


class GroupShape(Schema):
    """Failing deliveries and dead letters of one subscription that failed in the same way."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Subscription and fingerprint, with a slash between."})
    subscription = fields.String(required=True, metadata={"description": "Name of the subscription."})
    fingerprint = fields.String(required=True, metadata={"description": "Derived from reason, status and message."})
    state = fields.String(
        required=True,
        metadata={
            "description": "`open`; `acknowledged`: muted until it has twice as many deliveries, at least ten more; "
            "`fixed`: no delivery is left in it."
        },
    )
    since = shown_time("When it got this state.")
    reason = fields.String(required=True, metadata={"description": "Why the tries failed, a fixed word."})
    status = fields.Integer(required=True, allow_none=True, metadata={"description": "Status of the answers."})
    message = fields.String(required=True, metadata={"description": "The error of the first failure."})
    count = fields.Integer(required=True, metadata={"description": "Deliveries in it now: `failing` and `dead`."})
    failing = fields.Integer(required=True, metadata={"description": "Deliveries that wait for their next try."})
    dead = fields.Integer(required=True, metadata={"description": "Dead letters."})
    failures = fields.Integer(required=True, metadata={"description": "Failures so far."})
    first = shown_time("First failure.")
    last = shown_time("Last failure.")
    example = fields.String(required=True, metadata={"description": "Event id of the last failure."})
    reopened = fields.Integer(
        required=True, metadata={"description": "How often it was reopened after it was fixed or acknowledged."}
    )


class GroupPage(Page):
    """Failure groups, in the requested order."""

    failure_groups = fields.List(fields.Nested(GroupShape), required=True)


class GroupDiscarded(Schema):
    """What was discarded."""

    discarded = fields.Integer(required=True, metadata={"description": "Dead letters that were deleted."})


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listFailureGroups")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, GroupPage, description="The groups that match")
def list_all(query: Mapping[str, Any]) -> dict[str, Any]:
    """List failure groups

    The last failure first, or the largest group. A group that is fixed is shown for `bridge.retention.deliveries`.
    """
    name = query.get("subscription")
    names = subscription_names() if name is None else [known_subscription(name)]
    compared = _ORDERS[query["order"]]

    def place(item: tuple[str, FailureGroup]) -> tuple[float, str]:
        return -compared(item[1]), _id(*item)

    after = _after(position_of("failure-groups", query, parts=2))
    every = [(subscription, group) for subscription, groups in _groups().of_all(names).items() for group in groups]
    every.sort(key=place)
    chosen: Iterator[tuple[str, FailureGroup]] = (
        item for item in every if query.get("state") in (None, item[1].state) and (after is None or place(item) > after)
    )

    def position(item: tuple[str, FailureGroup]) -> tuple[str, str]:
        return repr(compared(item[1])), _id(*item)

    return page_of("failure-groups", chosen, query["limit"], position, lambda item: _row(*item))


@blueprint.route("/<subscription>/<fingerprint>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showFailureGroup", HTTPStatus.NOT_FOUND)
@blueprint.response(200, GroupShape, description="The group")
def show(subscription: str, fingerprint: str) -> dict[str, Any]:
    """Show one failure group

    404: there is none; a group is forgotten when it has been fixed for longer than `bridge.retention.deliveries`.
    """
    return _row(subscription, _known(subscription, fingerprint))


@blueprint.route("/<subscription>/<fingerprint>/acknowledge", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "acknowledgeFailureGroup", *_CHANGED)
@blueprint.response(200, GroupShape, description="Acknowledged")
def acknowledge(subscription: str, fingerprint: str) -> dict[str, Any]:
    """Mute a failure group until it changes

    It raises no alarm until it has twice as many deliveries, at least ten more, or fails again after it was fixed.
    409: it is fixed.
    """
    return _mark(subscription, fingerprint, ACKNOWLEDGED)


@blueprint.route("/<subscription>/<fingerprint>/reopen", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "reopenFailureGroup", *_CHANGED)
@blueprint.response(200, GroupShape, description="Open")
def reopen(subscription: str, fingerprint: str) -> dict[str, Any]:
    """Unmute a failure group

    409: it is fixed; the next failure opens it.
    """
    return _mark(subscription, fingerprint, OPEN)


@blueprint.route("/<subscription>/<fingerprint>/discard", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "discardFailureGroup", HTTPStatus.NOT_FOUND)
@blueprint.response(200, GroupDiscarded, description="Deleted")
def discard(subscription: str, fingerprint: str) -> dict[str, int]:
    """Delete the dead letters of a failure group

    Permanently, with their events. Deliveries that still fail continue.
    """
    before = _known(subscription, fingerprint)
    number = _groups().discard(subscription, fingerprint, now=services_here().now())
    audited(_target(subscription, fingerprint), before={"dead": before.dead}, after={"discarded": number})
    return {"discarded": number}


def _groups() -> FailureGroups:
    return FailureGroups(services_here().deliveries)


def _after(position: tuple[str, ...] | None) -> tuple[float, str] | None:
    if position is None:
        return None
    try:
        return -float(position[0]), position[1]
    except ValueError:
        refuse_cursor("is not a cursor of failure-groups")


def _known(subscription: str, fingerprint: str) -> FailureGroup:
    # A key takes only printable names, and no subscription has any other.
    group = _groups().find(subscription, fingerprint) if subscription.isprintable() else None
    if group is None:
        refuse(404, f"unknown failure group: {clip(subscription, 40)}/{clip(fingerprint, 40)}. It may be forgotten")
    return group


def _mark(subscription: str, fingerprint: str, state: str) -> dict[str, Any]:
    before = _known(subscription, fingerprint)
    if before.state == FIXED:
        refuse(409, f"failure group {subscription}/{fingerprint} is fixed. The next failure opens it")
    now, groups = services_here().now(), _groups()
    mark = groups.acknowledge if state == ACKNOWLEDGED else groups.reopen
    mark(subscription, fingerprint, now=now)
    after = _known(subscription, fingerprint)
    audited(_target(subscription, fingerprint), before={"state": before.state}, after={"state": after.state})
    return _row(subscription, after)


def _target(subscription: str, fingerprint: str) -> str:
    return f"failure group {subscription}/{fingerprint}"


def _id(subscription: str, group: FailureGroup) -> str:
    return f"{subscription}/{group.fingerprint}"


def _row(subscription: str, group: FailureGroup) -> dict[str, Any]:
    row = {
        "id": _id(subscription, group),
        "subscription": subscription,
        "fingerprint": group.fingerprint,
        "state": group.state,
        "since": iso(group.since),
        "reason": group.reason,
        "status": group.status,
        "message": group.message,
        "count": group.count,
        "failing": group.failing,
        "dead": group.dead,
        "failures": group.failures,
        "first": iso(group.first),
        "last": iso(group.last),
        "example": group.example,
        "reopened": group.reopened,
    }
    # Receivers quote what they were sent.
    return row if sees_persons() else without_addresses(row)
