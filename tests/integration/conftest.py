"""Fixtures of tests with real processes: parts of the bridge at a vendor, a RabbitMQ broker."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.rabbitmq import NodeNames, RabbitNode
from tests.support.servers import Server
from tests.support.workers import ListingVendor, listing_vendor, running_parts


@pytest.fixture
def vendor() -> Iterator[ListingVendor]:
    with listing_vendor() as server:
        yield server


@pytest.fixture
def start_part(
    starts_processes: None, own_server: Server, vendor: ListingVendor, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `worker`, `beat` or `dispatch`; whatever still runs at the end of the test is killed."""
    with running_parts(tmp_path, own_server.url, own_server.broker_url, vendor.url) as start:
        yield start


@pytest.fixture(scope="session")
def rabbitmq(rabbitmq_node: RabbitNode) -> str:
    """The address of the session's own broker."""
    return rabbitmq_node.url


@pytest.fixture(scope="session")
def rabbitmq_node(
    starts_servers: None, starts_processes: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitNode]:
    """A broker of our own: its directories, ports and node name touch no other, and it ends with the session."""
    names = NodeNames()
    try:
        node = RabbitNode(tmp_path_factory.mktemp("rabbitmq"), names)
        try:
            node.wait()
            yield node
        finally:
            node.kill()
    finally:
        names.close()
