"""The shapes of watches in the API: what is registered, and the rows that are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bridge import clock
from bridge.watch_registration import KINDS, STATES
from bridge.web.api.members import shown_time, sound
from bridge.web.api.paging import Page, PageQuery

__all__ = ["EARLIEST", "LATEST", "Moment", "NewWatch", "WatchFilter", "WatchPage", "WatchRow"]

#: Times that can be registered, UNIX seconds: 2000-01-01 to 2100-01-01.
EARLIEST, LATEST = 946_684_800.0, 4_102_444_800.0
_LABEL_LENGTH = 200
#: Every JSON reader handles integers up to this.
_LARGEST = 2**53
#: Longer than any id or e-mail address.
_WORD_LENGTH = 500


class _Text(fields.String):
    """Text, or a number as its digits: ids are written either way."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        plain = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        return str(super()._deserialize(plain, *args, **kwargs)).strip()


def _plausible(moment: datetime) -> None:
    """Refuse a time near the ends of the calendar, where it has no date in another zone."""
    if not EARLIEST <= moment.timestamp() < LATEST:
        first, last = (clock.to_datetime(moment).year for moment in (EARLIEST, LATEST))
        raise ValidationError(f"is not in the years {first} to {last - 1}. Give a time in these")


class Moment(fields.AwareDateTime):
    """A time or a date in ISO 8601; without a zone it is UTC, a date alone means its midnight."""

    def __init__(self, description: str) -> None:
        metadata = {
            "description": f"{description} A date alone means its midnight; without a zone it is UTC.",
            "anyOf": [{"format": "date-time"}, {"format": "date"}, {"type": "null"}],
            "examples": ["2099-12-01T12:00:00Z", "2099-12-03"],
        }
        super().__init__(default_timezone=UTC, allow_none=True, validate=_plausible, metadata=metadata)


class NewWatch(Schema):
    """An expectation to register. Times without a zone are UTC."""

    source = fields.String(required=True, validate=sound, metadata={"description": "A configured source."})
    reference = fields.Dict(
        keys=fields.String(validate=sound),
        values=_Text(
            validate=[validate.Length(min=1, max=_WORD_LENGTH), sound],
            metadata={"type": ["string", "integer"], "minimum": -_LARGEST, "maximum": _LARGEST},
        ),
        required=True,
        metadata={"description": "What identifies the attempt at the vendor; see docs/vendors.md."},
    )
    due = Moment("When to recheck first; default: now.")
    deadline = Moment("When it is overdue; default: a week after `due`.")
    label = fields.String(
        allow_none=True,
        validate=[validate.Length(max=_LABEL_LENGTH), sound],
        metadata={"description": "Your own text; the event has it as data.extensions.expectation."},
    )


class WatchRow(Schema):
    """A watch as it is shown. `kind`: attempt, expectation, pointer, ungraded or reread (docs/architecture.md)."""

    class Meta:
        unknown = EXCLUDE

    id = fields.String(required=True, metadata={"description": "Identifies the watch in this API."})
    source = fields.String(required=True, metadata={"description": "The configured source."})
    key = fields.String(
        required=True, metadata={"description": "The attempt id, or with a leading `?` a key for several attempts."}
    )
    kind = fields.String(
        required=True,
        validate=validate.OneOf(KINDS),
        metadata={"description": "Why it is watched; docs/architecture.md explains each."},
    )
    state = fields.String(
        required=True,
        validate=validate.OneOf(STATES),
        metadata={"description": "`expanded`: a schedule whose candidates are watched one by one."},
    )
    reference = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "What identifies the attempt at the vendor."},
    )
    label = fields.String(required=True, allow_none=True, metadata={"description": "Your own text of an expectation."})
    due = shown_time("Time of the first recheck of an expectation.", allow_none=True)
    deadline = shown_time("When it is overdue.")
    next_look = shown_time("Next recheck.", allow_none=True)
    looks = fields.Integer(required=True, metadata={"description": "Number of rechecks so far."})
    opened_at = shown_time("When the watch was opened or registered.")


class WatchFilter(PageQuery):
    """The query of the list of watches."""

    source = fields.String(validate=sound, metadata={"description": "Filter by source."})
    state = fields.String(validate=validate.OneOf(STATES), metadata={"description": "Filter by state."})
    kind = fields.String(validate=validate.OneOf(KINDS), metadata={"description": "Filter by kind."})


class WatchCounts(Schema):
    """How many watches there are, of the source or of all."""

    class Meta:
        unknown = EXCLUDE

    states = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "State -> number of watches, of any kind."},
    )
    kinds = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "Kind -> number of watches, in any state."},
    )


class WatchPage(Page):
    """Watches, overdue ones first."""

    watches = fields.List(fields.Nested(WatchRow), required=True)
    total = fields.Integer(required=True, metadata={"description": "Number of all matching watches."})
    counts = fields.Nested(WatchCounts, required=True)
