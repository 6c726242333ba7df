"""CPU and memory of processes, from /proc: Linux only."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def family(root: int) -> dict[int, str]:
    """Process id -> name, of `root` and all its descendants."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    members = {root}
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return {pid: _name(pid) for pid in sorted(members)}


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    known = [word for word in words if word in ("up", "web", "worker", "beat", "dispatch")]
    return known[0] if known else Path([word for word in words if word][-1].split()[0]).stem


def cpu_seconds(pid: int) -> float:
    """User and system time so far (`man 5 proc`: fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def megabytes(pid: int) -> float:
    """Proportional set size: shared memory counts once."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("smaps_rollup has no Pss: needs Linux 4.14 or newer")
