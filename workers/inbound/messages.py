"""Strict, pure parsing of messages in queues that others can write to.

A message is refused unless every part that is used is valid; parts that are not used are dropped, so no library ever
gets them. `workers/inbound/receipts.py` and `workers/inbound/celery_guard.py` read the messages.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.config import queues
from bridge.delivery.receipts import MEMBERS, Receipt
from bridge.delivery.receipts import read_receipt as read_members
from bridge.errors import Unreadable
from bridge.sdk import strict_json

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_ENTRY_BYTES",
    "RECEIPT_TASK",
    "Envelope",
    "TaskMessage",
    "build_entry",
    "parse_entry",
    "read_receipt",
    "read_receipt_entry",
    "read_task",
]

#: Name of the Celery task by which a receiver confirms an event.
RECEIPT_TASK = "bridge.receipt"
#: Longest body of a message.
MAX_BODY_BYTES = 4096
#: Longest entry of a Redis list: kombu's envelope with the body in base64 and the headers of a stock Celery.
MAX_ENTRY_BYTES = 16_384

_MAX_TEXT_LENGTH = 255
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True, slots=True)
class Envelope:
    """The used parts of a message from either kind of broker; all but `body` are unchecked and may have any type."""

    #: Headers of the message.
    headers: object
    #: Its body.
    body: bytes
    #: Content type of the body.
    content_type: object = None
    #: Content encoding of the body.
    content_encoding: object = None


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A task for the worker, with checked parts only."""

    #: Name of the task.
    task: str
    #: Task id.
    id: str
    #: Arguments.
    args: tuple[str, ...]
    #: When it expires, ISO 8601 in UTC, or None.
    expires: str | None

    def headers(self) -> dict[str, Any]:
        """The headers in Celery's message protocol 2."""
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
        """The body in Celery's message protocol 2: `[args, kwargs, embed]`."""
        return json.dumps([self.args, {}, _EMBED]).encode()


def parse_entry(entry: bytes) -> Envelope:
    """The message in an entry of kombu's list on a Redis broker. Raises `Unreadable`."""
    return _envelope(_entry(entry))


def build_entry(message: TaskMessage, tag: str) -> bytes:
    """The entry of kombu's list for a task. `tag`: unique id for its acknowledgement."""
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
    if isinstance(document, dict) and document.keys() == set(MEMBERS):
        return read_members(document, subscriptions)
    return read_receipt(_envelope(document), subscriptions)


def read_receipt(message: Envelope, subscriptions: Container[str]) -> Receipt:
    """The receipt in a message: a task `bridge.receipt`, or a JSON object of its two members. Raises `Unreadable`."""
    document = _body(message)
    if isinstance(document, dict):
        return read_members(document, subscriptions)
    if _member(message.headers, "task") != RECEIPT_TASK:
        raise Unreadable("neither a bridge.receipt task nor a JSON object", reason="unknown_task")
    args, kwargs = _call(document)
    if len(args) > len(MEMBERS):
        raise Unreadable("too many arguments", reason="bad_arguments")
    given = dict(zip(MEMBERS, args, strict=False))
    if given.keys() & kwargs.keys():
        raise Unreadable("duplicate argument", reason="bad_arguments")
    return read_members(given | kwargs, subscriptions)


def read_task(message: Envelope, arguments: Mapping[str, int], subscriptions: Container[str]) -> TaskMessage:
    """The task in a message for the worker. `arguments`: task -> its number of arguments. Raises `Unreadable`."""
    name = _member(message.headers, "task")
    if not isinstance(name, str) or name not in arguments:
        raise Unreadable("not a task of the worker", reason="unknown_task")
    task_id = _member(message.headers, "id")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= _MAX_TEXT_LENGTH:
        raise Unreadable("the task id is not a short text", reason="bad_header")
    # The worker does not delay tasks, and a task for later must not run now.
    if _member(message.headers, "eta") is not None or not _is_time_limit(_member(message.headers, "timelimit")):
        raise Unreadable("eta and timelimit are not supported", reason="bad_header")
    expires = _expires(_member(message.headers, "expires"))
    if name == RECEIPT_TASK:
        receipt = read_receipt(message, subscriptions)
        return TaskMessage(name, task_id, (receipt.subscription, receipt.event_id), expires)
    args, kwargs = _call(_body(message))
    if kwargs or len(args) != arguments[name]:
        raise Unreadable("wrong arguments for the task", reason="bad_arguments")
    if not all(isinstance(argument, str) and len(argument) <= _MAX_TEXT_LENGTH for argument in args):
        raise Unreadable("an argument is not a short text", reason="bad_arguments")
    return TaskMessage(name, task_id, tuple(args), expires)


def _entry(entry: bytes) -> Any:
    if len(entry) > MAX_ENTRY_BYTES:
        raise Unreadable(f"entry is longer than {MAX_ENTRY_BYTES} bytes", reason="too_large")
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
        raise Unreadable(f"body is longer than {MAX_BODY_BYTES} bytes", reason="too_large")
    if message.content_type not in (None, "application/json"):
        raise Unreadable("the content type is not application/json", reason="bad_content_type")
    encoding = message.content_encoding
    if encoding is not None and not (isinstance(encoding, str) and encoding.lower() in ("utf-8", "utf8")):
        raise Unreadable("the content encoding is not utf-8", reason="bad_content_type")
    return strict_json.parse(message.body)


def _member(document: object, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None


def _call(document: Any) -> tuple[list[Any], dict[str, Any]]:
    """(args, kwargs) in a body of Celery's message protocol 2; `embed` (what to run afterwards) is ignored."""
    if not isinstance(document, list) or len(document) != 3:
        raise Unreadable("the body is not [args, kwargs, embed]", reason="bad_body")
    args, kwargs, _ = document
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise Unreadable("the body is not [args, kwargs, embed]", reason="bad_body")
    return args, kwargs


def _is_time_limit(value: object) -> bool:
    # `type`, not `isinstance`: True is an int, but not a number of seconds.
    if value is None:
        return True
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(limit is None or type(limit) is int for limit in value)
    )


def _expires(value: object) -> str | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise Unreadable("expires is not a valid time", reason="bad_header") from error
    raise Unreadable("expires is not a valid time with a UTC offset", reason="bad_header")
