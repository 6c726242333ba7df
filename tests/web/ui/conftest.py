"""The dashboard over a fake state, as an operator sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from bridge.services import Services
from tests.support.dashboard import Dashboard
from tests.support.watches_api import TOKENS, access_of, build


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return build(state, tmp_path, access=access_of(TOKENS))


@pytest.fixture
def operator(services: Services) -> Dashboard:
    return Dashboard(services)


@pytest.fixture
def viewer(services: Services) -> Dashboard:
    return Dashboard(services, "view-token")
