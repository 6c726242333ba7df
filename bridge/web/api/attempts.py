"""`/api/v1/attempts`: attempts by their newest event, and everything that happened to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from marshmallow import Schema, fields, validate

from bridge import watch_registration
from bridge.delivery.history import History
from bridge.delivery.views import find
from bridge.errors import clip
from bridge.ingest.notices import overdue_ids
from bridge.journal import WEBHOOK, Memory, StoredEvent
from bridge.journal.attempts import newest_of_attempts, revisions
from bridge.journal.event_fields import EventItem, event_fields
from bridge.journal.search import search
from bridge.query import Query
from bridge.text import text_problem
from bridge.web.api.attempt_shapes import AttemptDetails, AttemptPage, attempt_row
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, known_source, needs, refuse, sees_persons, services_here
from bridge.web.api.deliveries import delivery_details
from bridge.web.api.description import described
from bridge.web.api.events import event_row
from bridge.web.api.filters import FilteredQuery, page_of_search, place_of, query_of
from bridge.web.api.members import sound
from bridge.web.api.requests import request_row
from bridge.web.api.subscription_names import subscription_names
from bridge.web.api.watches import masked_watch
from schemas.event import source_path

__all__ = ["blueprint"]

blueprint = ApiBlueprint(
    "attempts", __name__, url_prefix="/api/v1/attempts", description="Attempts, and what happened to each."
)

_FIELDS = {persons: event_fields(persons=persons) for persons in (False, True)}
#: Longer than any attempt id.
_LONGEST_ID = 1000
#: Events times subscriptions whose deliveries one call looks up: each costs about 0.2 ms.
_MOST_LOOKUPS = 250
_DAY = 86_400


class _Filter(FilteredQuery):
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})


class _Named(Schema):
    attempt = fields.String(
        validate=[sound, validate.Length(1, _LONGEST_ID)],
        metadata={"description": "The attempt's id, or the key of a watch: any text. It must be given."},
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "listAttempts")
@blueprint.arguments(_Filter, location="query")
@blueprint.response(200, AttemptPage, description="The attempts that match")
def list_attempts(query: Mapping[str, Any]) -> dict[str, Any]:
    """List attempts

    By their newest event, newest first. `filter` is that of events; free text finds an attempt by its id, the
    candidate's ids, name and e-mail address, the label and the test. A filter of a single word also finds the attempt
    with exactly this id, however old. An attempt that changes meanwhile moves back to the top.
    """
    services, persons = services_here(), sees_persons()
    asked = query_of(query, _FIELDS[persons])
    wanted = None if "source" not in query else known_source(query["source"])
    reader = services.journal_reader
    steps = reader.newest_first(
        since=asked.since,
        until=asked.until,
        after=place_of("attempts", query, reader.partitions),
        first=query["limit"] + 1,
    )
    items = ((place, size, EventItem(stored, persons=persons)) for place, size, stored in steps)
    newest = newest_of_attempts(reader, items, asked, together=query["limit"] + 1)
    page = search(newest, lambda item: item is not None and wanted in (None, item.stored.source), query["limit"])
    rows = [item for item in page.rows if item is not None]
    if page.position is not None and "cursor" not in query:
        listed = {item.stored.id for item in rows}
        named = (item for item in _by_id(asked, wanted, persons) if item.stored.id not in listed)
        rows = [*named, *rows]
    return page_of_search("attempts", page, [attempt_row(item, persons) for item in rows])


def _by_id(asked: Query, source: str | None, persons: bool) -> list[EventItem]:
    """The newest event of each attempt whose id is the filter's only text: no search is needed."""
    term = asked.terms[0] if len(asked.terms) == 1 else None
    if term is None or term.excluded or (term.field is not None and term.field.name != "attempt"):
        return []
    texts = [getattr(condition, "text", "") for condition in term.conditions]
    if len(texts) != 1 or not texts[0] or ("@" in texts[0] and not persons):
        return []
    reader, items = services_here().journal_reader, []
    for name in services_here().config.sources if source is None else (source,):
        memory = reader.attempt(name, texts[0])
        event = None if memory is None else reader.newest_event(name, texts[0], memory)
        if event is not None and (asked.since or 0.0) <= EventItem(event).recorded_at <= (asked.until or float("inf")):
            items.append(EventItem(event, persons=persons))
    return items


@blueprint.route("/<source>", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showAttempt", HTTPStatus.NOT_FOUND)
@blueprint.arguments(_Named, location="query")
@blueprint.response(200, AttemptDetails, description="The attempt")
def show_attempt(query: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Show one attempt

    Its events with their deliveries and tries, the webhooks that brought them, its watch. 404: it is
    unknown; it may be forgotten after `bridge.remember_attempts`.
    """
    services, persons, attempt = services_here(), sees_persons(), query.get("attempt", "")
    now, configured = services.now(), services.config.sources.get(source)
    if not attempt and configured is not None:
        refuse(422, "attempt is missing. Give an attempt's id", errors={"attempt": ["is missing. Give an id"]})
    # Viewers do not get ids that contain an e-mail address.
    hidden = bool(text_problem(source)) or ("@" in attempt and not persons)
    memory = None if hidden else services.journal_reader.attempt(source, attempt)
    ident = watch_registration.watch_id(source, attempt)
    watch = None if hidden or configured is None else watch_registration.find(services, ident)
    if memory is None and watch is None:
        refuse(404, f"unknown attempt: {clip(source, 40)}/{clip(attempt, 80)}. It may have been forgotten, or be new")
    events = _events(source, attempt, memory, watch, now)
    moments = [item.recorded_at for item in map(EventItem, events) if item.member("bridgeorigin") == WEBHOOK]
    stored = services.requests.of_attempt(source, attempt, moments)
    published = [event for event in events if EventItem(event).member("data", "attempt") is not None]
    return {
        "source": source,
        "attempt": attempt,
        "vendor": None if configured is None else configured.vendor,
        "revision": None if memory is None else memory.revision,
        "first_path": None if memory is None else memory.first_origin,
        "first_day": None if memory is None else _date(memory.first_day),
        "webhook_day": None if memory is None else _date(memory.webhook_day),
        "poll_day": None if memory is None else _date(memory.poll_day),
        "events": _with_deliveries(events, persons),
        "missing": 0 if memory is None else max(0, memory.revision - len(published)),
        "requests": [request_row(request) for request in stored],
        "watch": None if watch is None else masked_watch(watch),
    }


def _events(
    source: str, attempt: str, memory: Memory | None, watch: Mapping[str, Any] | None, now: float
) -> list[StoredEvent]:
    """The events with these ids, oldest first."""
    services = services_here()
    path, index = source_path(services.config.bridge.name, source), services.event_index
    events: list[StoredEvent] = []
    if watch is not None and watch["deadline"] is not None:
        partitions = services.journal_reader.with_events(source, attempt)
        deadline = datetime.fromisoformat(watch["deadline"]).timestamp()
        idents = overdue_ids(path, attempt, deadline)
        events += index.find_exactly(idents, partitions, now, since_day=int(min(deadline, now) // _DAY))
    if memory is not None:
        events += revisions(services.journal_reader, index, path, source, attempt, memory, now=now)
    return sorted(events, key=lambda event: EventItem(event).recorded_at)


def _with_deliveries(events: Sequence[StoredEvent], persons: bool) -> list[dict[str, Any]]:
    """The rows of the events. Deliveries are looked up for the newest ones first, up to the bound of a call."""
    services, names = services_here(), subscription_names()
    history = History(services.state, partitions=services.config.bridge.partitions)
    rows: list[dict[str, Any]] = []
    for number, event in enumerate(reversed(events)):
        deliveries: list[dict[str, Any]] | None = None
        if number == 0 or (number + 1) * len(names) <= _MOST_LOOKUPS:
            owners = history.owners(names, event.id, partition=event.partition)
            lookups = (find(services.deliveries, history, name, event.id) for name in owners)
            deliveries = [delivery_details(*delivery) for delivery in lookups if delivery is not None]
        rows.append({**event_row(EventItem(event), persons), "deliveries": deliveries})
    return rows[::-1]


def _date(day: int | None) -> str | None:
    return None if day is None else datetime.fromtimestamp(day * _DAY, UTC).date().isoformat()
