"""Reads answers of Cirrus's API: bare and wrapped JSON to rows, and refusals to our errors. Makes no calls.

The HTTP status alone says little: the same refusal has been seen with 200 and with 400.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorThrottled, VendorUnavailable, clip
from bridge.sdk.strict_json import parse_answer

__all__ = ["NOT_ALLOWED", "RESETS_AT_SECONDS", "next_reset", "read_attempts", "read_results", "read_schedule"]

#: The daily quota resets at 13:30 UTC; seconds after midnight.
RESETS_AT_SECONDS = 13 * 3600 + 30 * 60
_DAY = 86_400
#: Reason of a refusal that may concern only one call.
NOT_ALLOWED = "not_allowed"
#: Error codes in the wrapper that mean "not yet" or "not found": user, candidate in schedule, schedule, activation,
#: start.
_NOT_FOUND_CODES = frozenset({202, 203, 301, 303, 310})
_NOT_FOUND = re.compile(r"not found|no results?\b|not (?:yet )?(?:published|available)|does not exist", re.IGNORECASE)
_NO_SUCH_URL = re.compile(r"url not found", re.IGNORECASE)
_OVER_QUOTA = re.compile(r"quota|throttl|rate limit|limit (?:is )?(?:reached|exceeded)|too many", re.IGNORECASE)
_BAD_CALL = re.compile(r"candidateextid|scheduleextid|attemptextid|parameter", re.IGNORECASE)
#: A result has at least one of these members.
_RESULT_MEMBERS = frozenset(
    {"CandidateExtId", "CandidateNumber", "ScheduleExtId", "BookingReference", "MaxScore", "Status"}
)


def read_results(status: int, body: bytes, where: str, now: float) -> list[Mapping[str, Any]]:
    """The rows in an answer of `/results`, empty if there are none. Raises the vendor errors of `bridge.errors`."""
    document = _read(status, body, where, now)
    rows = [row for row in _objects(_content(document), where) if row]
    if not all(_RESULT_MEMBERS & row.keys() for row in rows):
        raise VendorUnavailable(f"{where}: the answer is not a result. Retried later", reason="bad_answer")
    return rows


def read_attempts(status: int, body: bytes, where: str, now: float) -> list[Mapping[str, Any]]:
    """The attempts that `attempt-info` lists, not parsed. Raises likewise."""
    content = _content(_read(status, body, where, now))
    return _objects((content.get("Attempts") or []) if isinstance(content, dict) else content, where)


def read_schedule(status: int, body: bytes, where: str, now: float) -> Mapping[str, Any]:
    """The vendor's facts about a schedule; empty if it has no such schedule. Raises likewise."""
    facts = next(iter(_objects(_content(_read(status, body, where, now)), where)), {})
    return {**facts, "Candidates": _objects(facts.get("Candidates") or [], where)}


def next_reset(now: float) -> float:
    """The next 13:30 UTC, UNIX seconds."""
    today = now - now % _DAY + RESETS_AT_SECONDS
    return today if today > now else today + _DAY


def _content(document: Any) -> Any:
    """The content of the wrapper, if there is one: some calls have it, `/results` does not."""
    wrapped = isinstance(document, dict) and "Content" in document
    return document["Content"] if wrapped else document


def _read(status: int, body: bytes, where: str, now: float) -> Any:
    """The document in an answer; None for "not found"."""
    text = body.decode("utf-8", "replace").strip()
    if status in (401, 403):
        if _OVER_QUOTA.search(text):
            raise _throttled(status, where, now)
        raise VendorRefused(
            f"{where}: HTTP {status}. Check token, base_url, and that the token may use the external API",
            reason=NOT_ALLOWED if status == 403 else None,
        )
    if status not in (200, 204, 400, 404):
        raise VendorFault(f"{where}: HTTP {status}. Check base_url")
    if not text and status == 200:
        raise VendorUnavailable(f"{where}: the answer is empty. Retried later", reason="bad_answer")
    if not text:
        return None
    try:
        document = parse_answer(body)
    except Unreadable as error:
        if status in (400, 404):
            return _refusal(status, text, where, now)
        raise VendorUnavailable(f"{where}: {error}. Retried later", reason="bad_answer") from error
    if status in (400, 404) or _is_refusal(document):
        return _refusal(status, _text_of(document), where, now, _codes(document))
    return document


def _refusal(status: int, text: str, where: str, now: float, codes: frozenset[int] = frozenset()) -> None:
    """None for "not found" and "not yet", which have no documented answer; raises for what is clearly neither.

    The vendor's words are not in the messages: they may name a person.
    """
    if codes & _NOT_FOUND_CODES:
        return
    # "Not found" repeats an id, which may contain any words.
    if _OVER_QUOTA.search(text) and not _NOT_FOUND.search(text):
        raise _throttled(status, where, now)
    if _NO_SUCH_URL.search(text) or (status == 404 and "<html" in text.lower()):
        raise VendorFault(
            f"{where}: HTTP {status}, the vendor has no such address. Check base_url", reason="bad_address"
        )
    if _NOT_FOUND.search(text):
        return
    problem = _BAD_CALL.search(text)
    if status == 400 and problem is not None:
        raise VendorFault(f"{where}: HTTP 400 about {problem.group().lower()}: the call is wrong")
    if status == 200:
        listed = ", ".join(map(str, sorted(codes))) or "none"
        raise VendorUnavailable(f"{where}: refused, code {clip(listed)}. Retried later", reason="vendor_error")


def _throttled(status: int, where: str, now: float) -> VendorThrottled:
    return VendorThrottled(
        f"{where}: HTTP {status}, over the quota, which resets at 13:30 UTC", retry_at=next_reset(now)
    )


def _is_refusal(document: Any) -> bool:
    """Whether this is a wrapped refusal, or only a message."""
    if not isinstance(document, dict) or _RESULT_MEMBERS & document.keys():
        return False
    return document.get("Success") in (False, "false", "False") or ("Message" in document and "Content" not in document)


def _text_of(value: Any) -> str:
    """All text in a refusal, on one line."""
    if isinstance(value, Mapping):
        return " ".join(_text_of(member) for member in value.values())
    if isinstance(value, list):
        return " ".join(_text_of(item) for item in value)
    return value if isinstance(value, str) else ""


def _codes(value: Any) -> frozenset[int]:
    """All numbers in a refusal: the vendor's pages do not say which member holds the error code."""
    if isinstance(value, Mapping):
        return frozenset(code for member in value.values() for code in _codes(member))
    if isinstance(value, list):
        return frozenset(code for item in value for code in _codes(item))
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return frozenset({int(value[:9])})
    return frozenset({value}) if type(value) is int else frozenset()


def _objects(value: Any, where: str) -> list[Mapping[str, Any]]:
    """The objects in a list, or a single object."""
    members = value if isinstance(value, list) else [value]
    objects = [member for member in members if member is not None]
    if not all(isinstance(member, dict) for member in objects):
        raise VendorUnavailable(f"{where}: the answer is not a list of objects. Retried later", reason="bad_answer")
    return objects
