"""Where a webhook of Cirrus points to. Pure; what the body looks like is not known for sure, see `QUIRKS.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.errors import Unreadable
from bridge.sdk.vendor import Pointer, WebhookContent
from bridge.vendors.cirrus.identity import BY_PAIR, identifier, pointer
from bridge.vendors.cirrus.standing import letters

__all__ = ["split"]

#: Names in a webhook, letters only -> member of a reference. The first that is there counts.
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
#: More in one body is no burst of results: whoever learns the address must not spend the day's calls with one request.
MOST_POINTERS = 200


def split(body: Any, options: Mapping[str, Any]) -> WebhookContent:
    """Where a webhook points to. Nothing proves that it is the vendor's, so only identifiers are taken from it.

    Raises `Unreadable` for a body without any.
    """
    found: dict[str, Pointer] = {}
    for identifiers in _named(body):
        where = pointer(identifiers, options.get("identity", BY_PAIR))
        if where is not None:
            found.setdefault(where.key, where)
    if not found:
        raise Unreadable(
            "no external id of an attempt, a schedule or a candidate in the webhook; compare its body with the "
            "vendor's page about webhooks",
            reason="no_identifier",
        )
    if len(found) > MOST_POINTERS:
        raise Unreadable(f"the webhook names {len(found)} results, at most {MOST_POINTERS} are followed", reason="many")
    return tuple(found.values())


def _named(value: Any) -> Iterator[dict[str, str]]:
    """The identifiers of every result that a body names, at its top or, where there are none, deeper in it."""
    if isinstance(value, list):
        for one in value:
            yield from _named(one)
    elif isinstance(value, dict):
        given = {letters(name): identifier(member) for name, member in value.items()}
        found: dict[str, str] = {}
        for name, member in _NAMES.items():
            text = given.get(name)
            if text is not None:
                found.setdefault(member, text)
        if found:
            yield found
        else:
            for one in value.values():
                yield from _named(one)
