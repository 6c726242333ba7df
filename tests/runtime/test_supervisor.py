"""The supervisor: output, restarts, refusals, stopping in order, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import BridgeError, ConfigError
from bridge.runtime import supervisor as module
from bridge.runtime.supervisor import Program, Supervisor, restart_delay
from tests.support.commands import descendants

pytestmark = pytest.mark.usefixtures("starts_processes")

STAYS = "import time; print('here', flush=True); time.sleep(600)"
#: Does not end on SIGTERM, and has a child of its own that does not either.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN);"
                          " print('ready', flush=True); time.sleep(600)"])
print("grandchild", child.pid, flush=True)
time.sleep(600)
"""
SUPERVISE = """
import sys, time
from bridge.runtime.supervisor import Program, Supervisor
programs = [Program(name=str(n), command=(sys.executable, "-c", code), environment={})
            for n, code in enumerate(sys.argv[1:])]
with Supervisor(programs, on_line=lambda name, line: print(name, line, flush=True)) as supervisor:
    print("pids", *supervisor.pids().values(), flush=True)
    while True:
        supervisor.check()
        time.sleep(0.05)
"""


SUPERVISE_KEPT = SUPERVISE.replace(
    'command=(sys.executable, "-c", code)', 'command=kept((sys.executable, "-c", code), patience=1.0)'
).replace("import sys, time", "import sys, time\nfrom bridge.state.keeper import kept")


class Lines:
    """What the children printed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.seen.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for who, line in self.seen if who == name]


def program(name: str, code: str, *arguments: str) -> Program:
    return Program(name=name, command=(sys.executable, "-c", code, *arguments), environment=dict(os.environ))


def wait_until(condition: Callable[[], bool], step: Callable[[], object] = lambda: None) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        step()
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether a process runs; one that is dead and only not reaped yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_restart_delays_double_up_to_a_minute() -> None:
    assert [restart_delay(deaths) for deaths in range(1, 10)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert restart_delay(100_000) == 60.0


def test_each_line_is_forwarded_with_the_name_of_its_process() -> None:
    lines = Lines()
    with Supervisor([program("a", STAYS), program("b", "print('ümläut'); print('two')" + "; " + STAYS)], on_line=lines):
        wait_until(lambda: len(lines.seen) == 4)
    assert sorted(lines.seen) == [("a", "here"), ("b", "here"), ("b", "two"), ("b", "ümläut")]


def test_a_killed_child_is_restarted_and_its_grandchildren_are_killed() -> None:
    lines = Lines()
    with Supervisor([program("web", STUBBORN)], on_line=lines) as supervisor:
        wait_until(lambda: "ready" in lines.of("web"))
        first = supervisor.pids()["web"]
        grandchild = int(
            lines.of("web")[0].split()[1] if "grandchild" in lines.of("web")[0] else lines.of("web")[1].split()[1]
        )
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: supervisor.pids().get("web", first) != first, supervisor.check)
        assert not lives(grandchild)
    assert "exited unexpectedly (killed by signal 9); restarting in 0.5 s" in lines.of("web")


def test_a_child_that_keeps_exiting_is_restarted_and_the_others_keep_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "restart_delay", lambda deaths: 0.01)
    lines = Lines()
    dying = program("beat", "print('no schedule'); raise SystemExit(3)")
    with Supervisor([dying, program("web", STAYS)], on_line=lines) as supervisor:
        web = supervisor.pids()["web"]
        wait_until(lambda: len(lines.of("beat")) >= 20, supervisor.check)
        assert supervisor.pids()["web"] == web
    assert "exited unexpectedly (exit code 3); restarting in 0.01 s" in lines.of("beat")
    told = "exited unexpectedly (exit code 3, 9 times in a row); restarting in 0.01 s. Its last line: no schedule"
    assert told in lines.of("beat")


@pytest.mark.parametrize("code", [2, 78])
def test_once_everything_has_run_a_refusal_is_reported_and_retried_slowly(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(module, "LONGEST_DELAY_SECONDS", 0.3)
    lines = Lines()
    refusing = program("worker", f"print('bridge.yaml:3: unknown key'); raise SystemExit({code})")
    with Supervisor([program("web", STAYS), refusing], on_line=lines) as supervisor:
        supervisor.settle()
        wait_until(
            lambda: len([line for line in lines.of("worker") if "exited unexpectedly" in line]) >= 2, supervisor.check
        )
        assert "web" in supervisor.pids()
    told = f"exited unexpectedly (exit code {code}); restarting in 0.3 s. Its last line: bridge.yaml:3: unknown key"
    assert told in lines.of("worker")


def test_an_error_in_the_output_callback_reaches_the_caller_and_the_child_keeps_running() -> None:
    def refuse(name: str, line: str) -> None:
        raise ValueError(line)

    talkative = program("web", "while True: print('x' * 1000)")
    with Supervisor([talkative], on_line=refuse) as supervisor:
        with pytest.raises(ValueError, match="xxx"):
            wait_until(lambda: False, supervisor.check)
        assert supervisor.pids()


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (2, BridgeError, r"^web refuses to start: bridge.yaml:3: unknown key \(exit code 2\)$"),
        (78, ConfigError, r"^web refuses to start: bridge.yaml:3: unknown key$"),
    ],
)
def test_before_everything_has_run_a_wrong_configuration_stops_the_supervisor(
    code: int, kind: type[BridgeError], message: str
) -> None:
    lines = Lines()
    child = program("web", f"print('bridge.yaml:3: unknown key'); raise SystemExit({code})")
    with (
        Supervisor([child], on_line=lines) as supervisor,
        pytest.raises(kind, match=message),
    ):
        wait_until(lambda: False, supervisor.check)


def test_children_are_stopped_in_order(tmp_path: Path) -> None:
    tells = """
import signal, sys, time
def end(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(sys.argv[2])
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("here", flush=True)
time.sleep(600)
"""
    lines, record = Lines(), tmp_path / "order"
    programs = [program(name, tells, str(record), name) for name in "abcd"]
    with Supervisor(programs, on_line=lines):
        wait_until(lambda: len(lines.seen) == 4)
    assert record.read_text() == "abcd"


def test_a_child_that_does_not_stop_is_killed_with_its_own_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.5)
    lines = Lines()
    with Supervisor([program("worker", STUBBORN)], on_line=lines) as supervisor:
        wait_until(lambda: "ready" in lines.of("worker"))
        pids = [*supervisor.pids().values(), *(int(line.split()[1]) for line in lines.of("worker") if "grand" in line)]
    assert len(pids) == 2
    # Killed with its group; we can wait for the child, the grandchild ends in its own time.
    wait_until(lambda: not any(lives(pid) for pid in pids))
    assert "still running after 0.5 s: killed" in lines.of("worker")


def test_an_error_in_the_caller_stops_all_children() -> None:
    pids: dict[str, int] = {}

    def fail_while_it_runs() -> None:
        with Supervisor([program("a", STAYS)], on_line=Lines()) as supervisor:
            pids.update(supervisor.pids())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_it_runs()
    assert not lives(pids["a"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_children_and_grandchildren_die_with_a_killed_supervisor(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", SUPERVISE, STAYS, STUBBORN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        seen = ""
        while not re.search(r"ready", seen):
            seen += process.stdout.readline()
        pids = [int(pid) for match in re.findall(r"(?:pids|grandchild) ([\d ]+)", seen) for pid in match.split()]
        assert len(pids) == 3
        assert all(lives(pid) for pid in pids)
        process.send_signal(number)
        process.wait()
    wait_until(lambda: not any(lives(pid) for pid in pids))


@pytest.mark.parametrize("under", ["a keeper", "its own watch"])
def test_a_child_ends_also_when_supervisor_and_reaper_were_killed(under: str) -> None:
    watching = f"from bridge.runtime.parent_pipe import end_with_parent; end_with_parent(); {STAYS}"
    command = (SUPERVISE_KEPT, STAYS) if under == "a keeper" else (SUPERVISE, watching)
    process = subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        seen = ""
        while not ("pids" in seen and "here" in seen):
            seen += process.stdout.readline()
        below = set(descendants(process.pid))
        # The reaper first: it acts on the end of the supervisor.
        for pid in [*(pid for pid, command in descendants(process.pid).items() if "reaper.py" in command), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    wait_until(lambda: not any(lives(pid) for pid in below))


def test_a_killed_reaper_is_replaced_by_one_that_knows_all_children() -> None:
    process = subprocess.Popen([sys.executable, "-c", SUPERVISE, STAYS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        pid = int(process.stdout.readline().split()[1])
        (first,) = children(process.pid) - {pid}
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(children(process.pid) - {pid, first}) == 1)
        # It shows up a moment before it is told which groups to watch, and nothing shows the telling.
        time.sleep(1.0)
        process.kill()
        process.wait()
    wait_until(lambda: not lives(pid))


def children(pid: int) -> set[int]:
    return {int(part) for part in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
