"""Each example stays a page long and knows nothing of ours; the journal reader may start before its server."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dispatch import publish
from tests.support.servers import Server

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_at_most_40_lines_of_code(path: Path) -> None:
    text = path.read_text()
    docstring = ast.parse(text).body[0].end_lineno or 0
    assert 20 <= sum(1 for line in text.splitlines()[docstring:] if line.strip()) <= 40


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_imports_nothing_of_ours(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text()))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    nodes = ast.walk(ast.parse(path.read_text()))
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & {"bridge", "workers", "schemas"}


@pytest.mark.usefixtures("starts_processes")
def test_the_journal_reader_waits_for_a_server_that_is_not_up_yet_and_passes_what_was_erased(
    own_server: Server,
) -> None:
    client = own_server.client()
    _, event_id = publish(client, 1, 2)
    client.xgroup_create("ab:{0}:journal", "certificates", id="0")
    ((_, ((erased, _),)),) = client.xreadgroup("certificates", "one", {"ab:{0}:journal": ">"}, count=1)
    client.xdel("ab:{0}:journal", erased)
    own_server.kill9()
    script = next(path for path in EXAMPLES if path.stem == "stream_subscriber")
    reader = subprocess.Popen(
        [sys.executable, str(script), "--state", own_server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(2)
        own_server.start()
        assert reader.stdout is not None
        assert json.loads(reader.stdout.readline())["received"] == event_id
    finally:
        reader.kill()
        reader.communicate()
