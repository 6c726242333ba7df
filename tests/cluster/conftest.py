"""Fixtures: state servers that replace one another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sentinel import SentinelGroup


@pytest.fixture
def group(starts_servers: None, tmp_path: Path) -> Iterator[SentinelGroup]:
    """A primary, two replicas and three sentinels of this test alone."""
    group = SentinelGroup(tmp_path / "group")
    yield group
    group.close()
