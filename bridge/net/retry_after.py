"""Reads `Retry-After` of vendors and receivers (RFC 9110, 10.2.3: whole seconds or an HTTP date). Pure.

The value is foreign text: any text is read without an error, and the result is a plausible span.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["LONGEST_SECONDS", "http_date", "retry_after_seconds"]

#: No wait is longer than this, whatever the header says.
LONGEST_SECONDS = 7 * 86_400.0
#: The longest HTTP date has 33 characters; a number of more digits is far beyond the limit.
_LONGEST_TEXT = 64


def retry_after_seconds(text: str, *, now: float) -> float | None:
    """Seconds from `now` (UNIX seconds), 0 to `LONGEST_SECONDS`; None where the text is neither number nor date."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        # A float of any number of digits is at worst infinite; an int of thousands of them would be an error.
        wait = float(text)
    elif len(text) > _LONGEST_TEXT:
        return None
    else:
        moment = http_date(text)
        if moment is None:
            return None
        wait = moment - now
    return min(max(wait, 0.0), LONGEST_SECONDS)


def http_date(text: str) -> float | None:
    """UNIX seconds of a date as HTTP and mail write it; None for any other text."""
    try:
        date = parsedate_to_datetime(text)
        # Every HTTP date is in UTC; some servers leave the zone out.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, LookupError, AttributeError):
        # The library's parser promises ValueError; numbers beyond its types and odd punctuation raise the others.
        return None
