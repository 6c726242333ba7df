"""The tests' own order: where helpers are."""

from __future__ import annotations

import re
from pathlib import Path

import tests.support

TESTS = Path(__file__).parent


def test_a_test_file_imports_helpers_from_support_and_nothing_from_another_test_file() -> None:
    found = [
        f"{path.relative_to(TESTS)}: {module}"
        for path in sorted(TESTS.rglob("*.py"))
        for module in re.findall(r"^\s*(?:from|import) (tests[\w.]*)", path.read_text(), re.M)
        if not module.startswith(("tests.support", "tests.simulation.world"))
    ]
    assert found == []


def test_every_helper_module_has_its_line() -> None:
    listed = [name.rstrip("/") for name in re.findall(r"^([a-z_]+/?)  ", tests.support.__doc__, re.M)]
    there = {path.stem for path in (TESTS / "support").iterdir() if path.name[0] != "_"}
    assert listed == sorted(there)
