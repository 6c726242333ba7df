"""`/api/v1/events/stream`: events as they are published, as server-sent events.

Every id is the place in all partitions, so that `Last-Event-ID` continues without a gap in any process.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, request
from marshmallow import Schema, fields, validate

from bridge.delivery.try_feed import EndedTry, try_fields
from bridge.errors import StateUnavailable
from bridge.journal.event_fields import event_fields
from bridge.journal.paging import id_order
from bridge.query import MAX_LENGTH, Query
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, known_source, needs, refuse, sees_persons
from bridge.web.api.description import described
from bridge.web.api.events import event_row
from bridge.web.api.filters import iso, query_of
from bridge.web.api.members import sound
from bridge.web.live import Live
from bridge.web.viewers import CLOSING, SLOW, LiveEvent, Viewer

__all__ = ["blueprint"]

blueprint = ApiBlueprint("stream", __name__, url_prefix="/api/v1/events", description="Events as they are published.")

MEDIA_TYPE = "text/event-stream"
#: Most entries of the past that one connection reads, whether they match or not.
MAX_BACKLOG = 10_000
_TOPICS = ("events", "alarms")
_DELIVERIES = "deliveries"
_ALARMS = ("source.", "subscription.")
_FIELDS = {persons: event_fields(persons=persons) for persons in (False, True)}
_TRY_FIELDS = try_fields()
_ID = "Last-Event-ID"
_START = "0-0"
_REASONS = {
    SLOW: "the viewer reads too slowly. Remedy: reconnect with Last-Event-ID, or filter",
    CLOSING: "this process of the bridge is stopping. Remedy: reconnect with Last-Event-ID",
    "state": "the state server is unavailable. Remedy: reconnect with Last-Event-ID",
}


class _Stream(Schema):
    filter = fields.String(
        load_default="",
        validate=[sound, validate.Length(max=MAX_LENGTH)],
        metadata={"description": "Filter, such as `type:attempt.revised source:eu-*`."},
    )
    since = fields.String(
        validate=validate.Length(1, 40),
        metadata={"description": "Start in the past, such as `2h`; `Last-Event-ID` and `after` take precedence."},
    )
    after = fields.String(
        validate=[sound, validate.Length(1, 4000)],
        metadata={
            "description": "As `Last-Event-ID`, for clients that cannot set headers; the header takes precedence."
        },
    )
    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    type = fields.String(validate=[sound, validate.Length(max=100)], metadata={"description": "Filter by type."})
    attempt = fields.String(validate=sound, metadata={"description": "Filter by attempt."})
    topics = fields.String(
        load_default=",".join(_TOPICS),
        validate=validate.Regexp(
            "^(events|alarms|deliveries)(,(events|alarms|deliveries)){0,2}$",
            error="must be events, alarms and deliveries, or some of them, separated by commas",
        ),
        metadata={
            "description": "`events`, `alarms` (of sources and subscriptions), `deliveries`; separated by commas."
        },
    )


@blueprint.route("/stream", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "streamEvents", HTTPStatus.UNPROCESSABLE_ENTITY)
@blueprint.doc(
    parameters=[
        {
            "name": _ID,
            "in": "header",
            "schema": {"type": "string"},
            "description": "`id` of the last message that was read: the stream continues after it.",
        }
    ]
)
@blueprint.arguments(_Stream, location="query")
@blueprint.response(200, {"type": "string"}, content_type=MEDIA_TYPE, description="Server-sent events, without end")
def stream_events(query: Mapping[str, Any]) -> Response:
    """Follow events as they are published

    Each message has the event's type as `event`, the place in the journal as `id`, and as `data` what `listEvents`
    shows of an event. `bridge.gap`: events are missing between `after` and `until`; list them. `bridge.dropped`: the
    stream ends, for the `reason` in it. A comment comes at least every 15 seconds. `topics=deliveries`: each try that
    ended since the stream began, as `delivery.delivered`, `delivery.handed_over`, `delivery.failed`, `delivery.dead`,
    without a place of its own; its `filter` has the fields subscription, event, type, source, outcome, reason, status,
    seconds.
    """
    live: Live = current_app.extensions["bridge.live"]
    persons = sees_persons()
    if "source" in query:
        known_source(query["source"])
    topics = frozenset(query["topics"].split(","))
    of_tries = topics == {_DELIVERIES}
    if _DELIVERIES in topics and not of_tries and (query["filter"] or "attempt" in query):
        problem = "a filter is for events and alarms, or for deliveries. Remedy: open two streams"
        refuse(422, problem, errors={"topics": [problem]})
    asked = query_of(query, _TRY_FIELDS if of_tries else _FIELDS[persons])
    if asked.until is not None:
        refuse(422, "until: a stream has no end. Remedy: leave it out", errors={"filter": ["until: leave it out"]})
    name, last = (_ID, request.headers[_ID]) if _ID in request.headers else ("after", query.get("after"))
    start = _start(live, asked, name, last)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(content_type=MEDIA_TYPE, headers=headers)
    viewer = _viewer(query, asked, topics, persons, request.environ.get("gunicorn.socket"))
    joined = live.join(viewer)
    if joined is None:
        refuse(503, "too many viewers of live streams. Remedy: close some", headers={"Retry-After": "10"})
    if _DELIVERIES in topics:
        live.tries.join(viewer)
    feed = _Feed(live, viewer, persons, dict(joined if start is None else start))
    messages = feed.messages(joined, has_past=start is not None, resumed=last is not None)
    answer = Response(messages, content_type=MEDIA_TYPE, headers=headers)
    answer.call_on_close(lambda: live.leave(viewer))
    return answer


def _viewer(
    query: Mapping[str, Any], asked: Query, topics: frozenset[str], persons: bool, connection: socket.socket | None
) -> Viewer:
    wanted = {name: query[name] for name in ("source", "type", "attempt") if name in query}

    def matches(event: LiveEvent) -> bool:
        item = event.items[persons]
        given = {"source": item.stored.source, "type": item.stored.type, "attempt": item.attempt}
        topic = "alarms" if item.stored.type.startswith(_ALARMS) else "events"
        return topic in topics and all(given[name] == value for name, value in wanted.items()) and asked.matches(item)

    def wants_try(ended: EndedTry) -> bool:
        given = {"source": ended.source, "type": ended.type}
        if any(given[name] != value for name, value in wanted.items() if name in given):
            return False
        return topics != {_DELIVERIES} or asked.matches(ended)

    def abort() -> None:
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)

    return Viewer((str(replace(asked, since=None)), tuple(wanted.items()), topics, persons), matches, abort, wants_try)


def _start(live: Live, asked: Query, name: str, given: str | None) -> dict[int, str] | None:
    """Where the past that is sent first begins: partition -> stream id; None: only new events are sent.

    `given`: the id of the last message, from the header or parameter `name`.
    """
    partitions = live.reader.partitions
    if given is None:
        return None if asked.since is None else dict.fromkeys(range(partitions), f"{int(asked.since * 1000) - 1}-0")
    parts = given.split(",")
    if len(parts) > partitions or not all(map(_is_entry, parts)):
        refuse(
            422,
            f"{name}: is not an id of this stream. Remedy: leave it out",
            errors={name: ["is not an id of this stream"]},
        )
    # Partitions that were not served yet when the id was given had no events.
    return dict.fromkeys(range(partitions), "0-0") | dict(enumerate(parts))


def _is_entry(text: str) -> bool:
    milliseconds, dash, sequence = text.partition("-")
    return bool(dash) and all(
        part.isascii() and part.isdecimal() and len(part) < 20 for part in (milliseconds, sequence)
    )


@dataclass
class _Feed:
    """What one viewer is sent."""

    live: Live
    viewer: Viewer
    persons: bool
    #: Place after the last message: partition -> stream id.
    position: dict[int, str]

    def messages(self, joined: Mapping[int, str], *, has_past: bool, resumed: bool) -> Iterator[bytes]:
        """All messages. `joined`: where the viewer's live events begin; the past up to there is sent first."""
        # A viewer who reconnects before the first event continues from here.
        yield self._heartbeat()
        try:
            if has_past:
                yield from self._past(joined, resumed)
        except StateUnavailable:
            yield _control("dropped", reason=_REASONS["state"])
            return
        while True:
            taken = self.viewer.take(self.live.heartbeat)
            if self.viewer.ended == SLOW:
                break
            for event in taken:
                if isinstance(event, EndedTry):
                    yield _try_message(event)
                else:
                    yield from self._next(event)
            if self.viewer.ended:
                break
            if not taken:
                yield self._heartbeat()
        yield _control("dropped", reason=_REASONS[self.viewer.ended])

    def _past(self, joined: Mapping[int, str], resumed: bool) -> Iterator[bytes]:
        oldest, _ = self.live.reader.ends()
        if resumed and any(
            _order(self.position[number]) < _order(first) and self.position[number] != _START
            for number, first in oldest.items()
        ):
            yield _control("gap", after=self._id(), until=_joined(oldest))
        began = dict(self.position)
        for number, stored in enumerate(self.live.reader.between(began, joined)):
            if number == MAX_BACKLOG:
                after = self._id()
                self._move_on(joined)
                yield f"id: {self._id()}\n".encode() + _control("gap", after=after, until=self._id())
                return
            event = LiveEvent.of(stored)
            if self.viewer.matches(event):
                yield from self._next(event)
            else:
                self.position[stored.partition] = stored.entry_id
        self._move_on(joined)

    def _move_on(self, joined: Mapping[int, str]) -> None:
        for partition, entry in joined.items():
            self.position[partition] = max(self.position[partition], entry, key=_order)

    def _next(self, event: LiveEvent) -> Iterator[bytes]:
        partition, entry = event.stored.partition, event.stored.entry_id
        # Another process may have read further when it gave out the id.
        if _order(entry) <= _order(self.position[partition]):
            return
        self.position[partition] = entry
        if self.persons not in event.rendered:
            row = json.dumps(event_row(event.items[self.persons], self.persons), ensure_ascii=False)
            event.rendered[self.persons] = f"event: {event.stored.type}\ndata: {row}\n\n".encode()
        yield f"id: {self._id()}\n".encode() + event.rendered[self.persons]

    def _heartbeat(self) -> bytes:
        """A comment with the place for `Last-Event-ID`, so that what does not match is not read again."""
        return f": heartbeat\nid: {self._id()}\n\n".encode()

    def _id(self) -> str:
        return _joined(self.position)


def _try_message(ended: EndedTry) -> bytes:
    """Without an id: the place in the journal does not change."""
    row = {**asdict(ended), "at": iso(ended.at)}
    return f"event: delivery.{ended.outcome}\ndata: {json.dumps(row, ensure_ascii=False)}\n\n".encode()


def _control(kind: str, **members: str) -> bytes:
    return f"event: bridge.{kind}\ndata: {json.dumps(members)}\n\n".encode()


def _joined(position: Mapping[int, str]) -> str:
    return ",".join(position[partition] for partition in range(len(position)))


def _order(entry: str) -> tuple[int, int]:
    return id_order(entry.encode())
