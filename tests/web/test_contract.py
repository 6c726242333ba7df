"""What the public contract names exists: every address of ours in an event and in the documents is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml
from flask.testing import FlaskClient

from bridge.ingest.context import WebhookRequest
from bridge.ingest.notices import alarm, submission
from bridge.ingest.pipeline import receive
from bridge.services import Services
from schemas import export
from schemas.notices import CREDENTIALS_REJECTED
from tests.support.polling import journal_events
from tests.support.web import result, sign


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for member in node:
            yield from _texts(member)
    elif isinstance(node, str):
        yield node


def test_every_address_of_the_bridge_in_an_event_is_answered(api: FlaskClient, services: Services) -> None:
    body, context = result(1), services.ingest_context("eu")
    headers = {"x-classmarker-hmac-sha256": sign(body, "w")}
    request = WebhookRequest(id="r", body=body, headers=headers, kept_headers={}, received_at=services.now())
    assert receive(context, request).outcome == "published"
    notice = alarm(
        CREDENTIALS_REJECTED, "eu", occasion="1", time=1.0, state="raised", since=1.0, fact="f", value="v", remedy="r"
    )
    bridge = services.config.bridge
    built = submission(bridge, "eu", "classmarker", notice, now=2.0).build(1, None)[2]
    events = [*journal_events(services.state), json.loads(built)]
    results = [text for event in events for text in _texts(event) if text.startswith(bridge.public_url)]
    assert len(results) == len(events) == 2
    for address in results:
        assert api.get(address.removeprefix(bridge.public_url)).status_code == 200, address


def test_every_address_of_the_bridge_in_the_asyncapi_document_is_answered(api: FlaskClient) -> None:
    page = yaml.safe_load(export.documents()["asyncapi.yaml"])
    for channel in page["channels"].values():
        if channel["address"].startswith("/"):
            # A stream has no end.
            assert api.head(channel["address"]).status_code == 200, channel["address"]
    assert {operation["channel"]["$ref"] for operation in page["operations"].values()} == {
        f"#/channels/{name}" for name in page["channels"]
    }
