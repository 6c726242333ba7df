"""A pytest plugin with the fixture `bridge_samples`. It is loaded wherever the package is installed."""

from __future__ import annotations

import pytest

from attempt_bridge_client.samples import Samples

__all__ = ["bridge_samples"]


@pytest.fixture
def bridge_samples() -> Samples:
    """Sample events of Attempt Bridge, signed on demand."""
    return Samples()
