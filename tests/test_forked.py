"""`tests.support.forked`: processes of tests that need no imports of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.forked import Forked
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("starts_processes")


def _program(directory: Path, text: str, *arguments: str, **environment: str) -> Forked:
    (directory / "program.py").write_text(text)
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        command = [str(directory / "program.py"), *arguments]
        return Forked(command, cwd=directory, env=environment, stdout=out, stderr=err)


def test_a_fork_has_its_own_arguments_variables_directory_and_files(tmp_path: Path) -> None:
    text = """
import atexit, json, os, sys
atexit.register(print, "and nothing lost", file=sys.stderr)
print(json.dumps([sys.argv, dict(os.environ), os.getcwd(), __name__]))
sys.exit("no further")
"""
    process = _program(tmp_path, text, "a", "b", ONLY="this")
    assert process.wait(30) == 1
    program = str(tmp_path / "program.py")
    expected = [[program, "a", "b"], {"ONLY": "this"}, str(tmp_path), "__main__"]
    assert json.loads((tmp_path / "out").read_text()) == expected
    assert sorted((tmp_path / "err").read_text().splitlines()) == ["and nothing lost", "no further"]


def test_a_fork_has_imported_the_bridge_and_no_other_forks_have_left_anything(tmp_path: Path) -> None:
    text = """
import sys
missing = [name for name in sys.argv[1:] if name not in sys.modules]
left = hasattr(sys, "left")
sys.left = True
sys.exit(f"{missing} {left}" if missing or left else 0)
"""
    modules = ["workers.app", "workers.dispatch.process", "bridge.web.server", "bridge.vendors.mettl.adapter"]
    for _ in range(2):
        assert _program(tmp_path, text, *modules).wait(30) == 0, (tmp_path / "err").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_a_fork_as_any_process(tmp_path: Path, number: signal.Signals) -> None:
    process = _program(tmp_path, "import time\nprint('there')\nwhile True: time.sleep(1)\n")
    until(lambda: (tmp_path / "out").read_text() == "there\n")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(number)
    assert process.wait(30) == -number
    # It is over, and nothing happens to who has its number next.
    process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
