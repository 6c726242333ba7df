"""Services over a file with two sources, tokens for the API, an expectation to register."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import redis

from bridge import registry
from bridge.config import loader
from bridge.sdk.vendor import Vendor
from bridge.services import Services
from bridge.settings import Settings
from tests.support.clients import clients_over

SOURCE = "{vendor: classmarker, credentials: {api_key: k, api_secret: s, webhook_secret: [w]}}"
HEAD = "demo: true\nbridge: {name: acme, public_url: 'https://bridge.example.test'}\n"
LINK = {"source": "eu", "reference": {"stream": "link", "result": "7"}, "label": "HR-7"}
TOKENS = {"operator": "op-token", "viewer": "view-token"}


class OpenGate:
    failure = None

    def check(self) -> None: ...

    def report(self, error: Exception) -> None: ...


def access_of(tokens: Mapping[str, str]) -> str:
    """The section of bridge.yaml. `tokens`: role -> token."""
    entries = [
        f"{{name: {role}, role: {role}, sha256: {hashlib.sha256(text.encode()).hexdigest()}}}"
        for role, text in tokens.items()
    ]
    return f"access: {{tokens: [{', '.join(entries)}]}}\n"


def build(
    state: redis.Redis, folder: Path, *, access: str = "", vendors: Mapping[str, Vendor] | None = None
) -> Services:
    vendors = registry.vendors() if vendors is None else vendors
    path = folder / "bridge.yaml"
    path.write_text(f"{HEAD}sources: {{eu: {SOURCE}, us: {SOURCE}}}\n{access}")
    config = loader.read(path, vendors=vendors, environment={})
    return Services(
        settings=Settings(),
        config=config,
        vendors=vendors,
        state_url="redis://127.0.0.1:1",
        broker_url="x",
        clients=clients_over(state),
    )
