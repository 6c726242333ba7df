"""Webhooks as the pages of requests show them: signed ones, texts that would be scripts, the token of a form."""

from __future__ import annotations

import re

from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.services import Services
from tests.support.dashboard import Dashboard
from tests.support.web import sign

__all__ = ["HOSTILE", "PUBLISHED", "csrf", "send"]

PUBLISHED = "01930000-0000-7000-8000-000000000001"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script></pre>'


def send(services: Services, body: bytes, ident: str = PUBLISHED, **headers: str) -> str:
    """A signed webhook to the source eu; its outcome."""
    request = WebhookRequest(
        id=ident,
        body=body,
        headers={"x-classmarker-hmac-sha256": sign(body, "w")},
        kept_headers={"content-type": "application/json", **headers},
        received_at=services.now(),
    )
    return receive(services.ingest_context("eu"), request).outcome


def csrf(dashboard: Dashboard) -> str:
    field = re.search(r'name="csrf" value="([^"]+)"', dashboard.get("requests"))
    assert field is not None
    return field[1]
