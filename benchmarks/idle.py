"""CPU and memory of all processes of an idle `attempt-bridge up` with one source of every vendor, polled every five
minutes at an address that refuses connections, and with as many Celery subscriptions as asked for. Linux only: reads
/proc."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import requests

from benchmarks.common import free_port, header, program, table, verdict, wait_for
from benchmarks.processes import cpu_seconds, family, megabytes

SOURCES = {
    "classmarker": "credentials: {api_key: k, api_secret: s, webhook_secret: [phrase-of-the-benchmark]}",
    "cirrus": "credentials: {token: t}, webhook: {token: token-of-the-benchmark-1}",
    "coremetrix": "credentials: {api_key: k}, webhook: {token: token-of-the-benchmark-2}, "
    "options: {quiz_ids: [63f751bb-7a2b-4c86-bfbc-217c1104b36e]}",
    "mettl": "credentials: {public_key: k, private_key: s}, webhook: {token: token-of-the-benchmark-3}, "
    "options: {schedules: [k7p2m9x4aa]}",
    "thought-industries": "credentials: {api_key: k, webhook_secret: [phrase-of-the-benchmark]}",
}


def config(directory: Path, vendor: int, subscriptions: int) -> Path:
    path = directory / "bridge.yaml"
    sources = "".join(
        f"  {name}: {{vendor: {name}, base_url: 'http://127.0.0.1:{vendor}', poll: {{every: 5m}}, {more}}}\n"
        for name, more in SOURCES.items()
    )
    tasks = "".join(
        f"  tasks{number}: {{transport: celery, task: gradebook.attempt_completed, queue: gradebook}}\n"
        for number in range(subscriptions)
    )
    path.write_text(
        f"demo: true\nbridge: {{name: bench, public_url: 'http://127.0.0.1', data_dir: {directory}}}\n"
        f"sources:\n{sources}subscriptions:\n{tasks or '  {}'}\n"
    )
    return path


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="to measure")
    options.add_argument("--settle", type=float, default=20.0, help="to wait before measuring")
    options.add_argument("--subscriptions", type=int, default=0, help="Celery subscriptions")
    given = options.parse_args()
    header("idle", "celery", "kombu", "gunicorn", "gevent", "redis")
    port, vendor = free_port(), free_port()
    path = config(Path(tempfile.mkdtemp(prefix="bench-")), vendor, given.subscriptions)
    with program("attempt-bridge", "--config", str(path), "up", "--port", str(port)) as root:
        wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/readyz", timeout=1).ok)
        time.sleep(given.settle)
        processes = family(root.pid)
        before, started = {pid: cpu_seconds(pid) for pid in processes}, time.perf_counter()
        time.sleep(given.seconds)
        took = time.perf_counter() - started
        rows = [
            (name, 100 * (cpu_seconds(pid) - before[pid]) / took, megabytes(pid)) for pid, name in processes.items()
        ]
    cpu, memory = sum(row[1] for row in rows), sum(row[2] for row in rows)
    rows.append(("total", cpu, memory))
    table(
        [f"over {took:.0f} s", "% of a core", "MB (proportional)"],
        [[name, f"{part:.2f}", f"{size:.0f}"] for name, part, size in rows],
    )
    verdict("CPU", cpu, 2, least=False, unit=" %")
    verdict("memory", memory, 350, least=False, unit=" MB")


if __name__ == "__main__":
    main()
