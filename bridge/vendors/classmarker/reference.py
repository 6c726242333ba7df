"""Which attempt a watch's reference identifies, and whether a listed record is that attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.errors import Unreadable, clip
from bridge.sdk.compiled_schema import WholeNumber
from bridge.sdk.vendor import Record, Resume
from bridge.vendors.classmarker.adapter import GROUPS, LINKS

__all__ = ["READ_UNTIL", "is_wanted", "resume_from", "wanted_attempt"]

#: Member of a reference: the finish up to which a search has read the list, UNIX seconds.
READ_UNTIL = "read_until"
_STREAMS = {"group": GROUPS, "link": LINKS}
#: Stream in a watch's reference -> what identifies an attempt: part of the record, its member, member of the reference.
_IDENTITY = {
    "link": (("result", "link_result_id", "result"),),
    "group": (
        ("result", "user_id", "user"),
        ("test", "test_id", "test"),
        ("group", "group_id", "group"),
        ("result", "time_started", "started"),
    ),
}


def resume_from(reference: Mapping[str, str], after: int | None) -> Resume:
    """Where the next recheck starts: after that finish (UNIX seconds), or where the reference itself says."""
    members = {name: text for name, text in reference.items() if name != READ_UNTIL}
    return Resume(reference=members if after is None else {**members, READ_UNTIL: str(after)})


def wanted_attempt(reference: Mapping[str, str]) -> tuple[str, list[tuple[str, str, int]]]:
    """The stream to read, and (part of a record, member, number) that identify the attempt. Raises `Unreadable`."""
    kind = reference.get("stream", "")
    if kind not in _IDENTITY:
        raise Unreadable(f'watch: stream is "{clip(kind, 40)}". Give link or group')
    # An operator who expects an attempt does not know its start.
    identity = [item for item in _IDENTITY[kind] if item[2] != "started" or item[2] in reference]
    try:
        wanted = [(part, member, int(reference[name])) for part, member, name in identity]
    except (KeyError, ValueError) as error:
        needed = ", ".join(name for _, _, name in _IDENTITY[kind])
        raise Unreadable(f"watch: a {kind} needs whole numbers in {needed}") from error
    return _STREAMS[kind], wanted


def is_wanted(record: Record, wanted: Sequence[tuple[str, str, int]]) -> bool:
    """Whether a record is the attempt that `wanted_attempt` names."""
    try:
        return all(WholeNumber.convert(record.body[part][member]) == number for part, member, number in wanted)
    except (KeyError, ValueError):
        return False  # not the wanted attempt; polls report unreadable rows
