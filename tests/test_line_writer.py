"""Lines reach a reader in order; a full disk, a closed pipe or a blocked reader neither blocks nor ends the writer."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge import line_writer as module
from bridge.line_writer import LineWriter, line_writer
from tests.support.waiting import until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with suppress(OSError):  # closed by the test
            os.close(descriptor)


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    for number in range(100):
        writer.write(f"{number} \ud800\n")
    writer.drain()
    assert os.read(pipe[0], 10_000).decode().splitlines() == [f"{number} \\ud800" for number in range(100)]


def test_a_blocked_reader_loses_lines_that_are_counted_once_it_reads_again(pipe: tuple[int, int]) -> None:
    size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    writer = LineWriter(pipe[1], most_bytes=4000)
    for _ in range(size // 100 + 1000):
        writer.write("x" * 99 + "\n")
    text = b""
    while b"could not be written" not in text:
        text += os.read(pipe[0], 100_000)
        writer.write("later\n")
    assert sum(int(line.split()[0]) for line in text.decode().splitlines() if "could not" in line) > 900
    while b"later" not in text:
        writer.write("later\n")
        text += os.read(pipe[0], 100_000)
    assert {line for line in text.decode().splitlines() if "could not" not in line} == {"x" * 99, "later"}


def test_a_closed_reader_ends_nothing(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    os.close(pipe[0])
    for _ in range(10):
        writer.write("nobody reads this\n")
    writer.drain()
    assert writer._waiting == 0


def test_a_full_disk_ends_nothing_and_a_torn_line_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = [4]

    def write(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = min(room[0], len(data))
        room[0] -= count
        return real(descriptor, data[:count])

    real = os.write
    with (tmp_path / "log").open("wb") as file:
        monkeypatch.setattr(module.os, "write", write)
        writer = LineWriter(file.fileno())
        writer.write("first\n")
        writer.write("second\n")
        writer.drain()
        room[0] = 1000
        writer.write("third\n")
        writer.drain()
    assert (tmp_path / "log").read_text() == "firs\n2 lines could not be written\nthird\n"


def test_a_child_after_a_fork_writes_its_own_lines_only(pipe: tuple[int, int], starts_processes: None) -> None:
    writer = LineWriter(pipe[1])
    writer.write("parent\n")
    writer.drain()
    pid = os.fork()
    if pid == 0:
        writer.write("child\n")
        writer.drain()
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(pipe[0], 1000) == b"parent\nchild\n"


PRINTS = """
import sys, time
from bridge.monitoring import logs
logs.configure("info", "json")
for number in range(2_000):
    logs.get_logger("x").warning("line", number=number, filler="x" * 100)
open(sys.argv[1], "w").write("went on")
"""


@pytest.mark.parametrize("kind", ["closed reader", "blocked reader", "no stderr", "full disk"])
@pytest.mark.usefixtures("starts_processes")
def test_a_process_goes_on_without_its_log(kind: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    reading, writing = os.pipe()
    if kind == "closed reader":
        os.close(reading)
    closing = "2>&-" if kind == "no stderr" else ""
    if kind == "full disk" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    target = Path("/dev/full").open("wb") if kind == "full disk" else os.fdopen(writing, "wb")  # noqa: SIM115
    with target:
        command = ["sh", "-c", f'exec "$0" "$@" {closing}', sys.executable, "-c", PRINTS, str(done)]
        process = subprocess.Popen(command, stderr=target)
        until(lambda: process.poll() is not None)
    assert (process.returncode, done.read_text()) == (0, "went on")


def test_a_stream_of_a_test_is_used_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line_writer(sys.stderr).write("here\n")
    assert capsys.readouterr().err == "here\n"
    assert line_writer(None).write("nowhere") == 7
