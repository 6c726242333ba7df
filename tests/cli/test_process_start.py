"""What every long-running process does first."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from bridge import cli
from bridge.cli.process_start import start_process
from tests.support.servers import Server
from tests.support.web import captured_logs


def test_what_a_process_creates_is_for_its_user_alone(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bridge.yaml").write_text("demo: true\nbridge: {name: acme}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", server.url)
    monkeypatch.setenv("ATTEMPT_BRIDGE_BROKER", server.broker_url)
    before = os.umask(0)
    try:
        with click.Context(cli.cli), captured_logs():
            start_process("web")
        created = os.umask(0)
    finally:
        os.umask(before)
    assert created == 0o077
