"""Writes the types of events, `src/attempt_bridge_client/events.py`, from the JSON Schemas in `schemas/`.

    python client/generate_types.py

`events()` is the text; a test compares it with the file.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCHEMAS = HERE.parent / "schemas"
TARGET = HERE / "src/attempt_bridge_client/events.py"
VERSION = "1.0"
#: Sent to every subscription; one that lists the fields in `data` may be without all others.
ALWAYS_SENT = {("Attempt", "id"), ("Attempt", "revision"), ("Attempt", "status")}
#: Clearer names than those of the schemas, in which both have a `Data`.
NAMES = {"Data": "AttemptData"}
SCALARS = {
    "string": ("str", "text"),
    "integer": ("int", "whole"),
    "number": ("float", "number"),
    "boolean": ("bool", "boolean"),
}

HEAD = '''\
"""Events and their parts. Written by `client/generate_types.py` from the JSON Schemas {version}: do not edit.

Members that a later minor version adds are in `extra`. Times are timezone-aware, in UTC. None means unknown, or not
among the fields that the subscription gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Optional, Union

from attempt_bridge_client.reading import Members, json_object, unreadable

__all__ = [
{names}
]

#: The versions of the schemas that these types were written from.
SCHEMA_VERSION = "{version}"
#: Types of events that carry a result.
ATTEMPT_TYPES = {attempt_types}
#: Types of events without a result that this version knows.
NOTICE_TYPES = {notice_types}
'''

EVENT = '''

@dataclass(frozen=True)
class Event:
    """A CloudEvents 1.0 event of the bridge: an `AttemptEvent`, a `Notice`, or of a type that a later version adds.

    Ask with `isinstance`; of an unknown type, `data` is the JSON object.
    """

{fields}
    data: Any
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Attributes that this version does not know."""

    @staticmethod
    def from_json(body: Union[bytes, str]) -> Event:
        """The event in a JSON document. Raises `EventRejected` with reason `unreadable`.

        Verifies nothing: over HTTP use `verify`.
        """
        return Event.from_mapping(json_object(body))

    @staticmethod
    def from_mapping(value: Mapping[str, Any]) -> Event:
        """The event in a parsed document, such as the argument of a task. Raises `EventRejected`."""
        members = Members(value, "")
        kind = value.get("type")
        if value.get("specversion") != "1.0":
            raise unreadable("specversion: not 1.0")
        if kind in ATTEMPT_TYPES:
            return _attempt_event(members)
        return _notice(members) if kind in NOTICE_TYPES else _other(members)


@dataclass(frozen=True)
class AttemptEvent(Event):
    """An event about one attempt; its `data` carries the result."""

    data: AttemptData


@dataclass(frozen=True)
class Notice(Event):
    """An event about something other than a result."""

    data: NoticeData
'''

READERS = """

def _attempt_event(members: Members) -> AttemptEvent:
    data = members.part("data", AttemptData._read)
    return AttemptEvent(data=data, **_attributes(members))


def _notice(members: Members) -> Notice:
    data = members.part("data", NoticeData._read)
    return Notice(data=data, **_attributes(members))


def _other(members: Members) -> Event:
    data = members.mapping("data")
    return Event(data=data, **_attributes(members))


def _attributes(members: Members) -> dict[str, Any]:
    return {{
{reads}
        "extra": members.rest(),
    }}
"""


def events() -> str:
    """The text of `events.py`."""
    event, notice = (_schema(name) for name in ("event", "notice-event"))
    definitions = {**event["$defs"], **notice["$defs"]}
    shared = [name for name in event["properties"] if name != "data" and name in notice["properties"]]
    fields, reads = [], []
    for name in shared:
        declared, read = _member(name, event["properties"][name], required=name in event["required"])
        fields += _field(name, declared, event["properties"][name])
        reads.append(f'        "{name}": {read},')
    names = sorted([*map(_class_name, definitions), "AttemptEvent", "Event", "Notice"])
    constants = ["ATTEMPT_TYPES", "NOTICE_TYPES", "SCHEMA_VERSION"]
    head = HEAD.format(
        version=VERSION,
        names="\n".join(f'    "{name}",' for name in [*constants, *names]),
        attempt_types=_set_of(event["properties"]["type"]["enum"]),
        notice_types=_set_of(notice["properties"]["type"]["enum"]),
    )
    parts = "".join(_part(name, definition, sparse=True) for name, definition in event["$defs"].items())
    parts += "".join(_part(name, definition, sparse=False) for name, definition in notice["$defs"].items())
    return head + parts + EVENT.format(fields="\n".join(fields)) + READERS.format(reads="\n".join(reads))


def _schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}-{VERSION}.schema.json").read_text())


def _set_of(values: list[str]) -> str:
    lines = "\n".join(f'        "{value}",' for value in values)
    return f"frozenset(\n    {{\n{lines}\n    }}\n)"


def _part(name: str, definition: dict[str, Any], *, sparse: bool) -> str:
    class_name = _class_name(name)
    fields, reads = [], []
    for member, shape in definition["properties"].items():
        is_never_none = (name, member) in ALWAYS_SENT or "$ref" in shape or shape.get("type") in ("array", "object")
        required = member in definition.get("required", ()) and (is_never_none or not sparse)
        declared, read = _member(member, shape, required=required)
        fields += _field(member, declared, shape)
        reads.append(f"            {member}={read},")
    return "\n".join(
        [
            "\n\n@dataclass(frozen=True)",
            f"class {class_name}:",
            f'    """`{name}` of the schema."""\n',
            *fields,
            "    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)",
            '    """Members that this version does not know."""\n',
            "    @classmethod",
            f"    def _read(cls, value: object, path: str) -> {class_name}:",
            f"        members = Members(value, path{', sparse=True' if sparse else ''})",
            "        return cls(",
            *reads,
            "            extra=members.rest(),",
            "        )\n",
        ]
    )


def _field(name: str, declared: str, shape: dict[str, Any]) -> list[str]:
    text = shape["description"]
    if len(shape.get("enum", ())) > 1 and "str" in declared:
        text += f" One of {', '.join(shape['enum'])}; later versions may add more."
    lines = textwrap.wrap(f'"""{text}"""', 112, break_long_words=False)
    if len(lines) > 1:
        lines = [*textwrap.wrap(f'"""{text}', 112), '"""']
    return [f"    {name}: {declared}", *(f"    {line}" for line in lines)]


def _member(name: str, shape: dict[str, Any], *, required: bool) -> tuple[str, str]:
    """Type and reading expression."""
    if name == "bridgetest":
        return "bool", 'members.optional("bridgetest", members.boolean) or False'
    choices = [choice for choice in shape.get("anyOf", [shape]) if choice.get("type") != "null"]
    nullable = not required or len(choices) < len(shape.get("anyOf", [shape])) or "null" in shape.get("type", ())
    if "$ref" in choices[0]:
        part = _referred(choices[0])
        how = "optional_part" if nullable else "part"
        return (f"Optional[{part}]" if nullable else part), f'members.{how}("{name}", {part}._read)'
    declared, method, more = _plain(shape)
    if nullable:
        return f"Optional[{declared}]", f'members.optional("{name}", members.{method})'
    return declared, f'members.{method}("{name}"{more})'


def _plain(shape: dict[str, Any]) -> tuple[str, str, str]:
    """Its type, the method of `Members` that reads it, and further arguments."""
    types = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    (kind,) = [kind for kind in types if kind != "null"]
    if kind == "string" and shape.get("format") == "date-time":
        return "datetime", "moment", ""
    if kind == "array" and "$ref" in shape["items"]:
        part = _referred(shape["items"])
        return f"tuple[{part}, ...]", "parts", f", {part}._read"
    if kind == "array":
        return "tuple[str, ...]", "texts", ""
    if kind == "object":
        texts = shape["additionalProperties"] == {"type": "string"}
        return ("Mapping[str, str]", "text_mapping", "") if texts else ("Mapping[str, Any]", "mapping", "")
    return (*SCALARS[kind], "")


def _referred(shape: dict[str, Any]) -> str:
    return _class_name(shape["$ref"].rpartition("/")[2])


def _class_name(name: str) -> str:
    return NAMES.get(name, name)


if __name__ == "__main__":
    TARGET.write_text(events())
