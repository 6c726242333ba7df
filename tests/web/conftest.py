"""The API with an operator's token, and the command `watches` over the same services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from flask.testing import FlaskClient

from bridge.cli.watches import watches as command
from bridge.services import Services
from bridge.web import create_app
from tests.support.watches_api import OpenGate, access_of, build


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return build(state, tmp_path, access=access_of({"operator": "op-token"}))


@pytest.fixture
def api(services: Services) -> FlaskClient:
    """With an operator's token on every call."""
    client = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer op-token"
    return client


@pytest.fixture
def run(services: Services, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    return lambda *arguments: CliRunner().invoke(command, [str(argument) for argument in arguments])
