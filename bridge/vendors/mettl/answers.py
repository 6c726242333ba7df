"""Reads answers of Mettl's API: the envelope, and error codes to our errors. Makes no calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from bridge.errors import (
    BridgeError,
    Unreadable,
    VendorFault,
    VendorRefused,
    VendorThrottled,
    VendorUnavailable,
    clip,
)
from bridge.sdk.strict_json import parse_answer
from bridge.vendors.mettl.rows import AnswerRow
from bridge.vendors.mettl.schema import load_answer

__all__ = [
    "CLOCK",
    "LIMIT",
    "NOT_ALLOWED",
    "NotFound",
    "error_code",
    "has_more",
    "object_of",
    "read_answer",
    "rows_of",
    "rows_of_one",
    "to_error",
]

#: Maximum number of rows in a page; the vendor's default is 20.
LIMIT = 100

#: Codes for a signature that is too old or has a wrong time: the client signs again once.
CLOCK = frozenset({"E422", "E504"})
#: Reason of a refusal that may concern only one schedule.
NOT_ALLOWED = "not_allowed"
_Listed = Literal["assessments", "schedules", "candidates"]
_NOT_FOUND = "E404"
_REFUSED = {
    "E401": "Check base_url (India or Europe), public_key and private_key",
    "E403": "Check what the key may see at the vendor",
}
_FAULT = frozenset({"E400", "E405"})
_THROTTLED = "E509"
#: HTTP status -> code, for an answer whose body is not Mettl's.
_BY_STATUS = {400: "E400", 401: "E401", 403: "E403", 404: _NOT_FOUND, 405: "E405", 408: "E408", 422: "E422"}


class NotFound(VendorFault):
    """No such schedule or candidate; a fault only if the caller does not expect it."""

    default_reason = "not_found"


def read_answer(status: int, body: bytes, where: str) -> AnswerRow:
    """The envelope of an answer; an error's has `error` with its code.

    Raises `VendorUnavailable` for anything else with HTTP 2xx: a proxy's page, a truncated document.
    """
    try:
        return load_answer(parse_answer(body))
    except Unreadable as error:
        if status in _BY_STATUS:
            return load_answer({"status": "ERROR", "error": {"code": _BY_STATUS[status]}})
        if not 200 <= status < 300:
            raise VendorFault(f"{where}: HTTP {status}. Check base_url") from error
        raise VendorUnavailable(f"{where}: not an answer from Mettl: {error}", reason="vendor_error") from error


def error_code(answer: AnswerRow) -> str | None:
    """The error code, None for success. Letter case does not matter; an error without a code is `UNKNOWN`."""
    if answer["status"].strip().upper() == "SUCCESS":
        return None
    error = answer["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code.strip().upper() if isinstance(code, str) and code.strip() else "UNKNOWN"


def to_error(code: str, answer: AnswerRow, where: str) -> BridgeError:
    """Our error for a code of the vendor."""
    message = f"{where}: {clip(code, 20)}"
    if code in _REFUSED:
        reason = NOT_ALLOWED if code == "E403" else None
        return VendorRefused(f"{message}. {_REFUSED[code]}", reason=reason)
    if code == _THROTTLED:
        return VendorThrottled(f"{message}: rate limit. Lower the source's budget if this comes again")
    if code == _NOT_FOUND:
        return NotFound(f"{message}: not found. Check options.schedules")
    if code in _FAULT:
        # Their text may repeat the request, which may contain an e-mail address.
        return VendorFault(f"{message}: the call is wrong. Check base_url and options.api_version")
    if code in CLOCK:
        return VendorUnavailable(f"{message}, also after signing again. Check this machine's clock", reason="clock")
    # Time-outs, maintenance, and codes newer than this table: a retry does no harm.
    return VendorUnavailable(message, reason="vendor_error")


def rows_of(answer: AnswerRow, member: _Listed) -> list[Mapping[str, Any]]:
    """The rows of a page; what is not an object is skipped, because it cannot be a result.

    Raises `VendorUnavailable` if the member is missing or not a list, which is not an empty page; null is one.
    """
    rows = answer[member]
    if rows is not None and not isinstance(rows, list):
        raise VendorUnavailable(f"{member}: must be a list. Retried later", reason="vendor_error")
    return [row for row in rows or () if isinstance(row, dict)]


def object_of(answer: AnswerRow, member: Literal["schedule"]) -> Mapping[str, Any]:
    """An object of an answer. Raises `VendorUnavailable` if it is missing or empty."""
    result = answer[member]
    if not isinstance(result, dict) or not result:
        raise VendorUnavailable(f"{member}: must be an object. Retried later", reason="vendor_error")
    return result


def has_more(answer: AnswerRow, member: _Listed) -> bool:
    """Whether the list continues after a page: the vendor says so, or the page is full. Its URL is never followed."""
    paging, rows = answer["paging"], answer[member]
    return bool(rows) and (bool(isinstance(paging, dict) and paging.get("next")) or len(rows) >= LIMIT)


def rows_of_one(answer: AnswerRow, where: str) -> list[Mapping[str, Any]]:
    """The rows of an answer about one candidate: an object, a list of one, or members of the envelope itself.

    Raises `VendorUnavailable` for an answer that has none of them.
    """
    for member in (answer["candidates"], answer["candidate"]):
        if isinstance(member, dict):
            return [member]
        if isinstance(member, list):
            return [row for row in member if isinstance(row, dict)]
    if answer["testStatus"]:
        return [{name: answer[name] for name in ("email", "registration", "testStatus")}]
    if answer["candidates"] is None or answer["candidate"] is None:
        return []
    raise VendorUnavailable(f"{where}: the answer has no candidate. Retried later", reason="vendor_error")
