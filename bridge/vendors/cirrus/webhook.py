"""Which results a webhook of Cirrus points to. Pure; the form of the body is not certain, see `QUIRKS.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.errors import Unreadable
from bridge.sdk.vendor import Pointer, WebhookContent
from bridge.vendors.cirrus.attempt_state import folded
from bridge.vendors.cirrus.identity import BY_PAIR, identifier, pointer

__all__ = ["split"]

#: Name in a webhook, folded -> member of a reference. The first one present counts.
_NAMES = {
    "attemptextid": "attempt",
    "attemptexternalid": "attempt",
    "scheduleextid": "schedule",
    "scheduleexternalid": "schedule",
    "bookingreference": "schedule",
    "candidateextid": "candidate",
    "candidateexternalid": "candidate",
    "candidatenumber": "candidate",
}
#: A body with more pointers is refused: someone who learns the address must not use up the day's calls in one request.
MAX_POINTERS = 200


def split(body: Any, options: Mapping[str, Any]) -> WebhookContent:
    """One pointer for each result that a webhook names. It is not signed, so only identifiers are taken from it.

    Raises `Unreadable` for a body without any.
    """
    pointers: dict[str, Pointer] = {}
    for identifiers in _identifiers(body):
        named = pointer(identifiers, options.get("identity", BY_PAIR))
        if named is not None:
            pointers.setdefault(named.key, named)
    if not pointers:
        raise Unreadable(
            "webhook: no external id of an attempt, schedule or candidate. Compare its body with the vendor's page "
            "about webhooks",
            reason="no_identifier",
        )
    if len(pointers) > MAX_POINTERS:
        raise Unreadable(f"webhook: names {len(pointers)} results, more than {MAX_POINTERS}", reason="many")
    return tuple(pointers.values())


def _identifiers(value: Any) -> Iterator[dict[str, str]]:
    """The identifiers of each result that a body names: at its top level, or deeper if there are none."""
    if isinstance(value, list):
        for item in value:
            yield from _identifiers(item)
    elif isinstance(value, dict):
        given = {folded(name): identifier(member) for name, member in value.items()}
        identifiers: dict[str, str] = {}
        for name, member in _NAMES.items():
            text = given.get(name)
            if text is not None:
                identifiers.setdefault(member, text)
        if identifiers:
            yield identifiers
        else:
            for member in value.values():
                yield from _identifiers(member)
