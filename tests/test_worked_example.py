"""The whole vendor in docs/adding-a-vendor.md passes every contract suite, and each suite sees the fault it is for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "adding-a-vendor.md"
_BLOCK = re.compile(r"^### ([^\n]+)\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(starts_processes: None, tmp_path: Path) -> Path:
    """The example as a folder."""
    place = tmp_path / "fernhill"
    (place / "fixtures").mkdir(parents=True)
    for name, text in _BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")):
        (place / name).write_text(text, encoding="utf-8")
    return place


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The contract suites over nothing but the example."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**os.environ, "CONTRACT_VENDORS": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_example_passes_every_suite(folder: Path) -> None:
    done = run(folder, "tests/contract")

    assert done.returncode == 0, done.stdout[-4_000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 100


FAULTS = {
    "an id that a retake shares": (
        "adapter.py",
        'attempt_id=row["id"]',
        'attempt_id=person["id"]',
        "test_attempts.py",
    ),
    "no signature": (
        "adapter.py",
        'require_signature(sent_at.encode() + b"." + raw, bytes.fromhex(signature), secrets)',
        "pass",
        "test_signatures.py",
    ),
    "no clock window": (
        "adapter.py",
        "> TOLERANCE_SECONDS:\n        raise",
        "> 1e9:\n        raise",
        "test_signatures.py",
    ),
    "only the first page": ("client.py", 'more=bool(loaded["more"])', "more=False", "test_polling.py"),
    "no overlap": (
        "client.py",
        "start(position(cursor) - max(overlap_seconds, _MIN_OVERLAP_SECONDS))",
        "cursor",
        "test_polling.py",
    ),
    "ungraded attempts forgotten": (
        "adapter.py",
        "watch=None if marked else _watch(row)",
        "watch=None",
        "test_attempts.py",
    ),
    "an unknown word that is guessed": (
        "adapter.py",
        'STATES.get(row["state"])',
        'STATES.get(row["state"], "completed")',
        "test_folders.py",
    ),
}


@pytest.mark.parametrize(("file", "right", "wrong", "suite"), FAULTS.values(), ids=list(FAULTS))
def test_a_fault_in_the_example_is_seen(folder: Path, file: str, right: str, wrong: str, suite: str) -> None:
    text = (folder / file).read_text()
    assert right in text
    (folder / file).write_text(text.replace(right, wrong))

    done = run(folder, f"tests/contract/{suite}")

    assert done.returncode == 1, done.stdout[-4_000:]
    assert "1 failed" in done.stdout
