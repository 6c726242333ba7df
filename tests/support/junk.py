"""Messages that nobody can use, for queues that others can write to."""

from __future__ import annotations

import base64
import json
from typing import Any

HEADERS: dict[str, Any] = {"lang": "py", "task": "bridge.look", "id": "1"}
BODY = b"[[], {}, {}]"
EVENT = "0e0b4a3c-9d5a-5b5e-8a51-3c1f0d7a9e11"

#: Headers, body and content type of messages that neither worker nor receipts' reader can use.
MESSAGES: list[tuple[Any, bytes, str | None, str | None]] = [
    ({"lang": "js", "task": "bridge.receipt", "id": "1"}, b'{"subscription":"gradebook","event_id":"x"}', *[None] * 2),
    *[(HEADERS, body, "application/json", "utf-8") for body in (b"[]", b"{}", b"", b"null", b"7", b"nope", b"\xff")],
    *[
        (HEADERS, body, "application/json", "utf-8")
        for body in (b'[["x"], {}, {}]', b'[[], {"a": 1}, {}]', b"[{}, [], {}]", b"[[],{},{}" + b"[" * 3000)
    ],
    *[(HEADERS | {"timelimit": odd}, BODY, "application/json", "utf-8") for odd in ("x", [1], ["a", "b"], {"a": 1}, 7)],
    *[(HEADERS | {"id": odd}, BODY, "application/json", "utf-8") for odd in ([1], {"a": 1}, 7, "", "x" * 300, None)],
    *[(HEADERS | {"task": odd}, BODY, "application/json", "utf-8") for odd in ([1], {"a": 1}, 7, None, "os.system")],
    *[(HEADERS | {"eta": odd}, BODY, "application/json", "utf-8") for odd in ("9999-12-31T23:59:59", "x", [1], 10**12)],
    *[
        (HEADERS | {"expires": odd}, BODY, "application/json", "utf-8")
        for odd in ("x", [1], "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", {"a": 1}, 5)
    ],
    (HEADERS, BODY, "application/x-python-serialize", "binary"),
    (HEADERS, BODY, "application/json", "no-such-code"),
    (HEADERS, BODY, "text/x-unknown", "utf-8"),
    (HEADERS | {"compression": "no-such-packing"}, b"packed", "application/json", "utf-8"),
    (HEADERS | {"compression": "application/x-gzip"}, b"packed", "application/json", "utf-8"),
    ({}, BODY, "application/json", "utf-8"),
    ({}, b"x" * 100_000, "application/json", "utf-8"),
    ({}, b'{"task": "bridge.look", "id": "1", "args": [], "kwargs": {}}', "application/json", "utf-8"),
    ({}, b'{"task": "bridge.look", "id": "1", "args": 5, "kwargs": 5}', "application/json", "utf-8"),
    ({}, b'{"args": [], "task": [1]}', "application/json", "utf-8"),
    # What a receipt is not.
    *[
        (HEADERS | {"task": "bridge.receipt"}, body, "application/json", "utf-8")
        for body in (
            b'[["gradebook", "x"], {}, {}]',
            b'[["nobody", "%s"], {}, {}]' % EVENT.encode(),
            b'[["gradebook"], {}, {}]',
            b'[["gradebook", "%s", "more"], {}, {}]' % EVENT.encode(),
            b'[["gradebook"], {"subscription": "gradebook"}, {}]',
            b'[["gradebook", 7], {}, {}]',
            b'[[["gradebook"], "%s"], {}, {}]' % EVENT.encode(),
            b'[[], {"subscription": {}, "event_id": "%s"}, {}]' % EVENT.encode(),
        )
    ],
    ({}, b'{"subscription":"gradebook","event_id":"%s","more":1}' % EVENT.encode(), "application/json", "utf-8"),
    ({}, b'{"subscription":"gradebook","subscription":"x","event_id":"x"}', "application/json", "utf-8"),
]


def entry(headers: Any, body: bytes | str, kind: Any, encoding: Any, **properties: Any) -> bytes:
    """kombu's envelope in a Redis list."""
    document = {
        "body": body if isinstance(body, str) else base64.b64encode(body).decode(),
        "headers": headers,
        "content-type": kind,
        "content-encoding": encoding,
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "tag",
            "delivery_info": {"exchange": "", "routing_key": "attempt-bridge"},
            **properties,
        },
    }
    return json.dumps(document).encode()


_WHOLE = json.loads(entry(HEADERS, BODY, "application/json", "utf-8"))

#: Entries of a Redis list: the messages above, and what is not even kombu's envelope.
ENTRIES: list[bytes] = [
    *[entry(*message) for message in MESSAGES],
    *[b"not json", b"", b"\x00\xff", b"[]", b"{}", b"null", b"7", b'"text"', b"NaN", b"[" * 5000, b"9" * 5000],
    # Without one of the parts, or with another in its place. The receipts' reader needs no headers for an object.
    *[json.dumps({**_WHOLE, name: odd}).encode() for name in ("body", "properties") for odd in (None, 7, [], "x")],
    *[json.dumps({**_WHOLE, "headers": odd}).encode() for odd in (None, 7, [], "x")],
    *[
        json.dumps({key: value for key, value in _WHOLE.items() if key != name}).encode()
        for name in ("body", "headers")
    ],
    json.dumps({key: value for key, value in _WHOLE.items() if key != "properties"}).encode(),
    entry(HEADERS, "not base64 !", "application/json", "utf-8"),
    entry(HEADERS, "é", "application/json", "utf-8"),
    entry(HEADERS, BODY, "application/json", "utf-8", body_encoding="rot13"),
    entry(HEADERS, BODY, "application/json", "utf-8", body_encoding=[1]),
    entry(HEADERS, BODY, {"a": 1}, ["b"]),
    entry(HEADERS, b"[[],{},{}]" + b" " * 20_000, "application/json", "utf-8"),
]
