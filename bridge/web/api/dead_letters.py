"""`/api/v1/dead-letters`: deliveries that were given up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.delivery.letters import letter_fields, letters
from bridge.delivery.record import DeadLetter
from bridge.errors import clip
from bridge.journal.search import search
from bridge.web.api.auditing import audited, not_a_change
from bridge.web.api.bodies import BODY_ERRORS, ApiBlueprint
from bridge.web.api.common import OPERATOR, VIEWER, needs, refuse, sees_persons, services_here
from bridge.web.api.deliveries import TryRow, try_row
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
from bridge.web.api.subscription_names import known_subscription, subscription_names, unknown_subscription
from schemas.event import minimal

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "dead-letters", __name__, url_prefix="/api/v1/dead-letters", description="Deliveries that were given up."
)
#: Ids in one call.
_BATCH = 500
#: Dead letters that one search reads: each has its event, and they may be in hundreds of streams.
_SEARCHED = 1000
_FIELDS = {persons: letter_fields(persons=persons) for persons in (False, True)}
_NUMBER = re.compile(r"\d{1,3}:\d{1,15}-\d{1,15}", re.ASCII)


class _Filter(FilteredQuery):
    subscription = fields.String(validate=sound, metadata={"description": "Filter by subscription."})


class LetterShape(Schema):
    """One dead letter."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Subscription and number, with a slash between."})
    dead_at = shown_time("When it was given up.")
    subscription = fields.String(required=True, metadata={"description": "Name of the subscription."})
    event_id = fields.String(required=True, metadata={"description": "The event's id."})
    type = fields.String(required=True, metadata={"description": "Type of the event."})
    source = fields.String(required=True, metadata={"description": "Name of its source."})
    attempt = fields.String(required=True, metadata={"description": "Id of its attempt."})
    tries = fields.Integer(required=True, metadata={"description": "Tries made."})
    replays = fields.Integer(required=True, metadata={"description": "How often it was replayed."})
    reason = fields.String(required=True, metadata={"description": "Why it was given up."})
    first_error = fields.String(required=True, metadata={"description": "Error of the first try that failed."})
    error = fields.String(required=True, metadata={"description": "Error of the last try that failed."})
    configured = fields.Boolean(
        required=True, metadata={"description": "Whether the subscription is in `bridge.yaml`."}
    )
    group = fields.String(
        required=True, metadata={"description": "Its failure group; empty: an earlier version made it."}
    )


class LetterDetails(LetterShape):
    """One dead letter with its tries and its event."""

    log = fields.List(fields.Nested(TryRow), required=True, metadata={"description": "The tries, oldest first."})
    event = fields.String(
        required=True,
        metadata={"description": "The event's JSON; viewers get it as `data: minimal` sends it. Empty: it is gone."},
    )


class LetterPage(FilteredPage):
    """Dead letters, newest first."""

    dead_letters = fields.List(fields.Nested(LetterShape), required=True)
    expired = fields.Integer(
        required=True,
        metadata={"description": "Dead letters of these subscriptions removed by `retention.dead_letters` so far."},
    )


class ChosenLetters(Schema):
    """Which dead letters."""

    ids = fields.List(
        fields.String(validate=[sound, validate.Length(1, 300)]),
        required=True,
        validate=validate.Length(1, _BATCH),
        metadata={"description": "Ids of dead letters."},
    )


class LetterFailure(Schema):
    """Why one was left as it is."""

    id = fields.String(required=True, metadata={"description": "The id."})
    problem = fields.String(required=True, metadata={"description": "The problem in one line."})


class LettersDone(Schema):
    """What was done."""

    done = fields.Integer(required=True, metadata={"description": "Number of dead letters."})
    failed = fields.List(
        fields.Nested(LetterFailure), required=True, metadata={"description": "Those that were left as they are."}
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listDeadLetters")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, LetterPage, description="The dead letters that match")
def list_all(query: Mapping[str, Any]) -> dict[str, Any]:
    """List dead letters

    Newest first. Only `bridge.retention.dead_letters`, a replay or an operator removes them.
    """
    services, persons = services_here(), sees_persons()
    name = query.get("subscription")
    names = sorted(subscription_names() if name is None else [known_subscription(name)])
    asked = query_of(query, _FIELDS[persons])
    partitions = services.config.bridge.partitions
    steps = letters(
        services.state,
        names,
        partitions=partitions,
        since=asked.since,
        until=asked.until,
        after=place_of("dead-letters", query, partitions * max(1, len(names))),
        first=min(100, 2 * query["limit"] // max(1, len(names)) + 2),
    )
    page = search(steps, asked.matches, query["limit"], max_entries=_SEARCHED)
    expired = services.deliveries.expired(names)
    return page_of_search("dead-letters", page, [_row(item.subscription, item.letter) for item in page.rows]) | {
        "expired": expired
    }


@blueprint.route("/<subscription>/<number>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showDeadLetter", HTTPStatus.NOT_FOUND)
@blueprint.response(200, LetterDetails, description="The dead letter")
def show(subscription: str, number: str) -> dict[str, Any]:
    """Show one dead letter

    With its tries and its event. 404: there is none; it may have been replayed or discarded.
    """
    problem = unknown_subscription(subscription)
    if problem:
        refuse(404, problem)
    letter = _letter(f"{subscription}/{number}")
    if letter is None:
        refuse(
            404, f"unknown dead letter: {clip(subscription, 40)}/{clip(number, 40)}. It may be replayed or discarded"
        )
    event = letter.event.decode(errors="replace")
    row = {**_row(subscription, letter), "log": [try_row(tried) for tried in letter.tries]}
    return {**row, "event": event if sees_persons() else _without_person(event)}


@blueprint.route("/discard", methods=["POST"])
@needs(OPERATOR)
@described(blueprint, "discardDeadLetters", *BODY_ERRORS)
@blueprint.arguments(ChosenLetters, example={"ids": ["gradebook/0:1764236400000-0"]})
@blueprint.response(200, LettersDone, description="What was discarded")
def discard(document: Mapping[str, Any]) -> dict[str, Any]:
    """Delete dead letters

    Permanently, with their events.
    """
    failed: list[dict[str, str]] = []
    by_name: dict[str, list[str]] = {}
    for ident in dict.fromkeys(document["ids"]):
        letter = _letter(ident)
        if letter is None:
            failed.append({"id": ident, "problem": "unknown dead letter. It may be replayed or discarded"})
        else:
            by_name.setdefault(ident.partition("/")[0], []).append(letter.id)
    services = services_here()
    done = {name: services.deliveries.discard(name, chosen, now=services.now()) for name, chosen in by_name.items()}
    number = sum(done.values())
    if number:
        audited("dead letters", after={name: count for name, count in done.items() if count})
    else:
        not_a_change()
    return {"done": number, "failed": failed}


def _letter(ident: str) -> DeadLetter | None:
    name, _, number = ident.partition("/")
    if not name.isprintable() or not _NUMBER.fullmatch(number):
        return None
    return services_here().deliveries.dead_letter(name, number)


def _row(subscription: str, letter: DeadLetter) -> dict[str, Any]:
    delivery = letter.delivery
    row = {
        "id": f"{subscription}/{letter.id}",
        "dead_at": iso(letter.dead_at),
        "subscription": subscription,
        "event_id": delivery.id,
        "type": delivery.type,
        "source": delivery.source,
        "attempt": delivery.attempt,
        "tries": delivery.tries,
        "replays": delivery.replays,
        "reason": letter.reason,
        "first_error": delivery.first_error,
        "error": delivery.error,
        "configured": subscription in services_here().config.subscriptions,
        "group": letter.group,
    }
    return row if sees_persons() else without_addresses(row)


def _without_person(event: str) -> str:
    """The event as `data: minimal` sends it, and without the label; empty if it cannot be read."""
    try:
        document = minimal(json.loads(event))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    if isinstance(document.get("data"), dict):
        document["data"] = {**document["data"], "extensions": {}}
    return json.dumps(without_addresses(document), ensure_ascii=False)
