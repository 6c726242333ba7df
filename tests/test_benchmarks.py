"""Every benchmark runs with tiny numbers and prints its table and its mark: they must not rot. No figure is judged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = {
    "publish_once": ["--events", "200", "--rounds", "1"],
    "memory": ["--attempts", "2000"],
    "dispatch": ["--events", "100", "--rounds", "1"],
    "receive": ["--seconds", "0.5", "--rounds", "1", "--connections", "4", "--workers", "1", "--rates", "20"],
    "latency": ["--seconds", "1", "--rates", "20", "--workers", "1"],
    "backfill": ["--seconds", "1", "--rounds", "1", "--webhooks", "20", "--workers", "1", "--pages", "0"],
}
#: What the others import.
SHARED = {"__init__", "bare_flask", "common", "latency_worker", "listing_vendor", "load"}


def test_every_benchmark_is_run_here() -> None:
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == set(TINY) | SHARED


@pytest.mark.process
@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_prints_versions_a_table_and_how_far_its_mark_is_off(name: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *TINY[name]],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "versions  Python" in done.stdout
    assert f"scripts/bench {name}" in done.stdout
    assert ", mark " in done.stdout
