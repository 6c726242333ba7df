"""What the bridge reads from queues that others can write to: strict, pure parsing of foreign bytes.

A message is refused unless every part that is used is what it must be; parts that are not used are left out, so that
no library ever sees them. Messages are read in
`workers/inbound/receipts.py` and `workers/inbound/celery_guard.py`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.config import queues
from bridge.errors import Unreadable
from bridge.sdk import strict_json

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_ENTRY_BYTES",
    "RECEIPT_TASK",
    "Envelope",
    "Receipt",
    "TaskMessage",
    "build_entry",
    "parse_entry",
    "read_receipt",
    "read_receipt_entry",
    "read_task",
]

RECEIPT_TASK = "bridge.receipt"
MAX_BODY_BYTES = 4096
#: kombu's envelope around it, with the body in base64 and the headers of a stock Celery.
MAX_ENTRY_BYTES = 16_384

_MEMBERS = ("subscription", "event_id")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LONGEST_WORD = 255
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message as far as we look at it, from either kind of broker. The members may be anything but `body`."""

    headers: object
    body: bytes
    content_type: object = None
    content_encoding: object = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receiver has processed an event."""

    subscription: str
    event_id: str


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A task for the worker, made of checked parts alone. `expires`: an ISO time in UTC, or None."""

    task: str
    id: str
    args: tuple[str, ...]
    expires: str | None

    def headers(self) -> dict[str, Any]:
        """As Celery's message protocol 2 has them."""
        return {
            "lang": "py",
            "task": self.task,
            "id": self.id,
            "root_id": self.id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": self.expires,
            "timelimit": [None, None],
            "argsrepr": "",
            "kwargsrepr": "",
            "ignore_result": True,
        }

    def body(self) -> bytes:
        """As Celery's message protocol 2 has it: `[args, kwargs, embed]`."""
        return json.dumps([self.args, {}, _EMBED]).encode()


def parse_entry(entry: bytes) -> Envelope:
    """The message in an entry of kombu's list on a Redis broker. Raises `Unreadable`."""
    return _envelope(_entry(entry))


def build_entry(message: TaskMessage, tag: str) -> bytes:
    """An entry of kombu's list. `tag`: a name for its acknowledgement that no other entry has."""
    properties = {
        "correlation_id": message.id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queues.WORKER},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": tag,
    }
    return json.dumps(
        {
            "body": base64.b64encode(message.body()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": message.headers(),
            "properties": properties,
        }
    ).encode()


def read_receipt_entry(entry: bytes, subscriptions: Container[str]) -> Receipt:
    """The receipt in an entry of a Redis list: in kombu's envelope, or the JSON object itself. Raises `Unreadable`."""
    document = _entry(entry)
    if isinstance(document, dict) and document.keys() == set(_MEMBERS):
        return _receipt(document, subscriptions)
    return read_receipt(_envelope(document), subscriptions)


def read_receipt(message: Envelope, subscriptions: Container[str]) -> Receipt:
    """The receipt in a message: a task `bridge.receipt`, or a JSON object of its two members. Raises `Unreadable`."""
    document = _body(message)
    if isinstance(document, dict):
        return _receipt(document, subscriptions)
    if _member(message.headers, "task") != RECEIPT_TASK:
        raise Unreadable("neither a task bridge.receipt nor a JSON object", reason="unknown_task")
    args, kwargs = _call(document)
    if len(args) > len(_MEMBERS):
        raise Unreadable("too many arguments", reason="bad_arguments")
    given = dict(zip(_MEMBERS, args, strict=False))
    if given.keys() & kwargs.keys():
        raise Unreadable("an argument is given twice", reason="bad_arguments")
    return _receipt(given | kwargs, subscriptions)


def read_task(message: Envelope, arguments: Mapping[str, int], subscriptions: Container[str]) -> TaskMessage:
    """The task in a message for the worker. `arguments`: how many each known task takes. Raises `Unreadable`."""
    name = _member(message.headers, "task")
    if not isinstance(name, str) or name not in arguments:
        raise Unreadable("no task of the worker", reason="unknown_task")
    identity = _member(message.headers, "id")
    if not isinstance(identity, str) or not 0 < len(identity) <= _LONGEST_WORD:
        raise Unreadable("the task id is no short text", reason="bad_header")
    # Nothing waits in Celery: who asks for later must not get now.
    if _member(message.headers, "eta") is not None or not _is_time_limit(_member(message.headers, "timelimit")):
        raise Unreadable("a task with a time that beat does not send", reason="bad_header")
    expires = _expires(_member(message.headers, "expires"))
    if name == RECEIPT_TASK:
        receipt = read_receipt(message, subscriptions)
        return TaskMessage(name, identity, (receipt.subscription, receipt.event_id), expires)
    args, kwargs = _call(_body(message))
    if kwargs or len(args) != arguments[name]:
        raise Unreadable("other arguments than the task takes", reason="bad_arguments")
    if not all(isinstance(one, str) and len(one) <= _LONGEST_WORD for one in args):
        raise Unreadable("an argument is no short text", reason="bad_arguments")
    return TaskMessage(name, identity, tuple(args), expires)


def _entry(entry: bytes) -> Any:
    if len(entry) > MAX_ENTRY_BYTES:
        raise Unreadable(f"entry has more than {MAX_ENTRY_BYTES} bytes", reason="too_large")
    return strict_json.parse(entry)


def _envelope(document: Any) -> Envelope:
    properties, body = _member(document, "properties"), _member(document, "body")
    if not isinstance(properties, dict) or not isinstance(body, str):
        raise Unreadable("entry is not kombu's envelope", reason="no_envelope")
    encoding = properties.get("body_encoding")
    if encoding == "base64":
        try:
            raw = base64.b64decode(body, validate=True)
        except ValueError as error:
            raise Unreadable("the body is not base64", reason="bad_body") from error
    elif encoding is None or encoding == "utf-8":
        raw = body.encode()
    else:
        raise Unreadable("the body has an unknown encoding", reason="bad_body")
    return Envelope(document.get("headers"), raw, document.get("content-type"), document.get("content-encoding"))


def _body(message: Envelope) -> Any:
    if len(message.body) > MAX_BODY_BYTES:
        raise Unreadable(f"body has more than {MAX_BODY_BYTES} bytes", reason="too_large")
    if message.content_type not in (None, "application/json"):
        raise Unreadable("the content type is not application/json", reason="bad_content_type")
    encoding = message.content_encoding
    if encoding is not None and not (isinstance(encoding, str) and encoding.lower() in ("utf-8", "utf8")):
        raise Unreadable("the content encoding is not utf-8", reason="bad_content_type")
    return strict_json.parse(message.body)


def _member(document: object, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None


def _call(document: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in a body of Celery's message protocol 2. What to do afterwards (`embed`) is not looked at."""
    if not isinstance(document, list) or len(document) != 3:
        raise Unreadable("the body is not [args, kwargs, embed]", reason="bad_body")
    args, kwargs, _ = document
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise Unreadable("the body is not [args, kwargs, embed]", reason="bad_body")
    return args, kwargs


def _receipt(members: Mapping[str, Any], subscriptions: Container[str]) -> Receipt:
    if members.keys() != set(_MEMBERS):
        raise Unreadable("a receipt has subscription and event_id, nothing else", reason="bad_arguments")
    subscription, event_id = members["subscription"], members["event_id"]
    if not isinstance(event_id, str) or not _UUID.fullmatch(event_id):
        raise Unreadable("the event id is no UUID", reason="bad_event_id")
    if not isinstance(subscription, str) or subscription not in subscriptions:
        raise Unreadable("no such subscription", reason="unknown_subscription")
    # Some databases give a UUID back in capitals.
    return Receipt(subscription, event_id.lower())


def _is_time_limit(value: object) -> bool:
    # A type of its own for bool: True is an int, and no number of seconds.
    if value is None:
        return True
    return isinstance(value, list | tuple) and len(value) == 2 and all(one is None or type(one) is int for one in value)


def _expires(value: object) -> str | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise Unreadable("the time of expiry is no time", reason="bad_header") from error
    raise Unreadable("the time of expiry is no time with an offset", reason="bad_header")
