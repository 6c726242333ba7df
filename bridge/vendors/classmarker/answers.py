"""Reads answers of ClassMarker's API: JSON or XML to one form, and error codes to our errors. Makes no calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from bridge.errors import (
    BridgeError,
    Unreadable,
    VendorFault,
    VendorRefused,
    VendorThrottled,
    VendorUnavailable,
    clip,
)
from bridge.sdk.compiled_schema import WholeNumber
from bridge.sdk.strict_json import parse_answer
from bridge.vendors.classmarker.rows import AnswerRow
from bridge.vendors.classmarker.schema import load_answer

__all__ = [
    "LOOK_BACK_EXCEEDED",
    "OUT_OF_STEP",
    "error_code",
    "names_of",
    "read_answer",
    "rows_of",
    "to_error",
    "whole_number",
]

#: Error codes that the client handles itself, once.
OUT_OF_STEP, LOOK_BACK_EXCEEDED = "timeStampOutOfRange", "finishedAfterTimestampTooEarly"

_THROTTLED = frozenset({"rateLimitExceeded", "request_limit_reached"})
_REFUSED = frozenset({"apiKeyAuthFail", "apiKeyInactive", "noApiKeyExists", "accountNotUpgraded"})
#: Refuses only groups: links are still read.
_NOT_PERMITTED = "apiKeyNoGroupPermission"
_FAULT = frozenset(
    {
        "incorrectUrl",
        "incorrectUrlVersionNumber",
        "incorrectUrlId",
        "incorrectRequestMethod",
        "requestParamValidationError",
        "invalidJson",
        "payloadValidationError",
        "NotAllowedActionForQuestionType",
        "custom_error",
        LOOK_BACK_EXCEEDED,
    }
)
#: XML elements that are lists; each child is wrapped in its own object, as in JSON.
_LISTS = frozenset({"groups", "links", "tests", "results", "assigned_tests", "events"})


def read_answer(body: bytes, form: str, where: str) -> AnswerRow:
    """The envelope of an answer. Raises `VendorUnavailable` for anything else: a page of a proxy, half a document."""
    try:
        return load_answer(_from_xml(body) if form == "xml" else parse_answer(body))
    except Unreadable as error:
        raise VendorUnavailable(f"{where}: {error}. Retried in the next round", reason="bad_answer") from error


#: Upper limit of `next_request_after`, UNIX seconds; an integer of hundreds of digits does not fit into a float.
_LATEST_RETRY = 10**11


def error_code(answer: AnswerRow) -> str | None:
    """The vendor's error code, None if there is none. Errors come with HTTP 200, so check this first."""
    status = answer["status"]
    if status in ("ok", "no_results"):
        return None
    # Older answers name the limit in `status` itself.
    return _text(_error(answer).get("error_code")) or str(status)


def to_error(code: str, answer: AnswerRow, where: str) -> BridgeError:
    """Our error for a code of the vendor."""
    error = _error(answer)
    message = f"{where}: {clip(code, 60)}"
    if code in _THROTTLED:
        after = whole_number(error.get("next_request_after"))
        return VendorThrottled(message, retry_at=None if after is None else float(max(0, min(after, _LATEST_RETRY))))
    if code in _REFUSED:
        return VendorRefused(f"{message}. Check api_key and api_secret, and what the key may see at the vendor")
    if code == _NOT_PERMITTED:
        return VendorFault(f"{message}. Allow the key to see groups at the vendor", reason="not_permitted")
    if code == OUT_OF_STEP:
        return VendorUnavailable(f"{message}, also with the vendor's own time", reason="clock")
    if code in _FAULT:
        return VendorFault(f"{message}: {clip(_text(error.get('error_message')) or 'no message')}")
    # Maintenance, internal errors, and codes newer than this table: a retry does no harm.
    return VendorUnavailable(message, reason="vendor_error")


def whole_number(value: Any) -> int | None:
    """The whole number in a member of an answer; None for anything else, so that no page is lost because of it."""
    try:
        return None if value is None else WholeNumber.convert(value)
    except ValueError:
        return None


def rows_of(answer: AnswerRow) -> list[Any]:
    """The rows of a page, not parsed. Raises `VendorUnavailable` for what is neither a list nor empty."""
    rows = answer["results"]
    if rows and not isinstance(rows, list):
        raise VendorUnavailable("results: must be a list. Retried in the next round", reason="bad_answer")
    return rows or []


def names_of(items: Any, noun: str) -> dict[str, Any]:
    """Id -> name. Ids are sometimes numbers and sometimes text, so they are compared as text. Names are optional in
    results: anything that is not a list of them yields none."""
    entries = (item.get(noun) for item in (items if isinstance(items, list) else ()) if isinstance(item, dict))
    return {str(entry.get(f"{noun}_id")): entry.get(f"{noun}_name") for entry in entries if isinstance(entry, dict)}


def _error(answer: AnswerRow) -> Mapping[str, Any]:
    return answer["error"] if isinstance(answer["error"], dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _from_xml(body: bytes) -> Any:
    try:
        # The type stubs say Any; without a DTD there are no entities to expand or fetch.
        root: Element = fromstring(body, forbid_dtd=True)
        return _element(root)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        raise Unreadable(f"body is not plain XML: {type(error).__name__}", reason="not_xml") from error


def _element(element: Element) -> Any:
    """Text of a leaf ("" is the vendor's false), an object or a list of anything deeper."""
    if element.tag in _LISTS:
        return [{child.tag: _element(child)} for child in element]
    if len(element):
        return {child.tag: _element(child) for child in element}
    return element.text or ""
