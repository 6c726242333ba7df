"""The formats in which an event is sent: what it becomes, and the bodies of requests and messages. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.caliper import caliper_events, envelope
from schemas.envelope import MEDIA_TYPE
from schemas.xapi import ACCOUNT, statements

__all__ = ["CALIPER", "CLOUDEVENTS", "FORMATS", "XAPI", "Format"]

CLOUDEVENTS, XAPI, CALIPER = "cloudevents", "xapi", "caliper"
FORMATS = (CLOUDEVENTS, XAPI, CALIPER)
_JSON = "application/json"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one subscription gets its events.

    A converted event is a JSON array of xAPI statements or Caliper events; arrays of several events can be joined.
    """

    name: str = CLOUDEVENTS
    #: Address of the bridge, with which all IRIs begin.
    base: str = ""
    #: xapi: how actors are identified.
    actor: str = ACCOUNT
    #: xapi: home page of accounts named by the organisation's own id; None: accounts are named by the vendor's id, at
    #: the source.
    home_page: str | None = None

    @property
    def converts(self) -> bool:
        """Whether the event is converted before it is sent."""
        return self.name != CLOUDEVENTS

    @property
    def media_type(self) -> str:
        """The media type of requests and messages."""
        return _JSON if self.converts else MEDIA_TYPE

    @property
    def headers(self) -> Mapping[str, str]:
        """Further headers of requests."""
        return {"x-experience-api-version": "1.0.3"} if self.name == XAPI else {}

    def converted(self, event: Mapping[str, Any]) -> bytes:
        """The event in this format. Raises `ValueError` if there is none for it, `KeyError` if it is incomplete."""
        made: Any = event
        if self.name == XAPI:
            made = statements(event, base=self.base, actor=self.actor, home_page=self.home_page)
        elif self.name == CALIPER:
            made = caliper_events(event, base=self.base)
        return _ENCODER.encode(made).encode()

    def body(self, events: Sequence[bytes], at: str) -> bytes:
        """The body for events that `converted` returned; without conversion, the one event as stored. `at`: the time of
        sending, RFC 3339.
        """
        if not self.converts:
            (body,) = events
            return body
        joined = b"[" + b",".join(event[1:-1] for event in events) + b"]"
        if self.name == XAPI:
            return joined
        frame = _ENCODER.encode(envelope([], base=self.base, at=at)).encode()
        return frame.removesuffix(b"[]}") + joined + b"}"

    def parts(self, event: bytes) -> list[bytes]:
        """What is stored or refused separately, each in the form of `converted`: each statement, or the event."""
        if self.name != XAPI:
            return [event]
        return [_ENCODER.encode([statement]).encode() for statement in json.loads(event)]
