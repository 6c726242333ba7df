"""The Redis keys of access and audit; used as those of `keys.py`."""

from __future__ import annotations

__all__ = ["audit", "audit_copy", "failed_logins", "session", "sign_in_code"]


def audit() -> str:
    """Stream of changes made through the API or the command line, see `bridge/audit.py`."""
    return "ab:audit"


def audit_copy() -> str:
    """Stream: the audit without what names a person, while an erasure builds it; at the end it replaces the audit."""
    return "{ab:audit}:copy"


def failed_logins(minute: int, address: str) -> str:
    """String with an expiry: failed logins in a minute, of an address (as a digest) or of `all`."""
    return f"ab:{{logins}}:{minute}:{address}"


def session(digest: str) -> str:
    """String with an expiry: an open session of the user interface, JSON; `digest` of its cookie."""
    return f"ab:session:{digest}"


def sign_in_code() -> str:
    """Hash with an expiry: the one-time code of the sign-in link, as a digest (see redeem_code.lua)."""
    return "ab:sign-in"
