"""What every benchmark shares: a durable server of its own, interleaved rounds, the printed table."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import redis

from bridge.state.embedded_server import server_binary

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def server() -> Iterator[str]:
    """An empty server with the bridge's own durable configuration (fsync always); gives its address."""
    directory, port = Path(tempfile.mkdtemp(prefix="bench-")), free_port()
    process = subprocess.Popen(
        [
            str(server_binary()),
            *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"),
            *("--hash-max-listpack-entries", "512"),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: redis.Redis(port=port).ping())
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)


@contextmanager
def program(*arguments: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A child process in a group of its own, ended with the block."""
    process = subprocess.Popen(
        arguments, env={**os.environ, **(env or {})}, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until `condition` is true; connection errors count as false."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, redis.RedisError):
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"not ready within {seconds:.0f} s. See the processes' output above")
        time.sleep(0.05)


def header(title: str, *packages: str) -> None:
    """Print title, command, machine and versions."""
    with server() as address:
        facts = redis.Redis.from_url(address).info("server")
    name = "Valkey" if "valkey_version" in facts else "Redis"
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    print(f"# {title}\n")
    print(f"command   scripts/bench {Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}")
    system = f"{platform.machine()}, {platform.system()} {platform.release()}"
    print(f"machine   {cores} cores, {system}, one-minute load {os.getloadavg()[0]:.1f}")
    durable = f"{name} {facts.get('valkey_version', facts['redis_version'])} (append-only file, fsync always)"
    print(f"versions  Python {platform.python_version()}, {durable}, {versions}\n", flush=True)


def rounds(number: int, *runs: Callable[[], float]) -> list[list[float]]:
    """The values of each run, in turn (A B A B ...), so that a slow phase of the machine affects all alike."""
    values: list[list[float]] = [[] for _ in runs]
    for _ in range(number):
        for place, run in enumerate(runs):
            values[place].append(run())
    return values


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [names, *rows]) for column in range(len(names))]
    for row in [names, *rows]:
        first, *rest = zip(row, widths, strict=True)
        print("  ".join([first[0].ljust(first[1])] + [cell.rjust(width) for cell, width in rest]))
    print(flush=True)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median, and all values in brackets."""
    return f"{median(values):{form}} ({' '.join(format(value, form) for value in sorted(values))})"


def verdict(name: str, value: float, target: float, *, least: bool = True, unit: str = "") -> None:
    """Print one line: the figure, its target and the difference."""
    off = (value / target - 1) * 100
    reached = value >= target if least else value <= target
    print(
        f"{name}: {value:.2f}{unit}, target {'>=' if least else '<='} {target:g}{unit}: "
        f"{'reached' if reached else 'MISSED'} ({off:+.0f} %)",
        flush=True,
    )


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return median(mine / theirs for mine, theirs in zip(ours, baseline, strict=True))
