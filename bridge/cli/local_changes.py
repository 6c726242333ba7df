"""Changes that a command makes beside the server without a call: who made them, and their entry in the audit."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bridge.audit import Change

if TYPE_CHECKING:
    from bridge.services import Services

__all__ = ["record_change", "user_name"]


def record_change(services: Services, action: str, target: str, *, after: Mapping[str, Any]) -> None:
    """Record in the audit what a command has changed. `action`: the operation of the API that does the same.

    Raises `StateUnavailable`.
    """
    change, actor = Change(target, after=after), f"cli:{user_name()}"
    call_id = os.urandom(12).hex()
    services.audit.record(change, actor=actor, role="operator", action=action, now=services.now(), call_id=call_id)


def user_name() -> str:
    """The name of the operating system's user, or its number where it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
