"""The filter language of lists: `type:attempt.revised source:eu-* passed:false percentage:<50 since:2h "text"`. Pure.

`parse` reads a text against the fields that a resource declares; the `Query` says which items match.
"""

from bridge.query.fields import Field, Fields
from bridge.query.kinds import Boolean, Enum, Glob, Kind, Number, Text, Time
from bridge.query.parsing import parse
from bridge.query.query import Query, Term
from bridge.query.ranges import NumberRange, TimeRange, parse_moment, parse_number_range, parse_time_range
from bridge.query.scanning import MAX_LENGTH, QueryError

__all__ = [
    "MAX_LENGTH",
    "Boolean",
    "Enum",
    "Field",
    "Fields",
    "Glob",
    "Kind",
    "Number",
    "NumberRange",
    "Query",
    "QueryError",
    "Term",
    "Text",
    "Time",
    "TimeRange",
    "parse",
    "parse_moment",
    "parse_number_range",
    "parse_time_range",
]
