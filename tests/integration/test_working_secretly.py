"""No text of a foreign exception reaches the output of a worker or of a command."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from celery import Celery

from tests.support.forked import Forked
from tests.support.servers import Server

pytestmark = pytest.mark.usefixtures("starts_processes")

CANARY = "CANARY-7f3a"
#: A part of the bridge with tasks that raise, start threads and warn in words that quote a person.
#: argv: part, state, broker, canary.
DRIVER = """
import sys, threading, time, warnings
import workers.app, workers.tasks
from bridge.monitoring import logs
from tests.support.polling import Api, make_services, make_vendor
from dataclasses import replace
import redis

CANARY = sys.argv[4]

def boom(*_):
    raise UnicodeEncodeError("utf-8", CANARY + "\\ud800", 0, 1, CANARY)

logs.configure("info", "json")
built = make_services(redis.Redis.from_url(sys.argv[2]), make_vendor(Api(clock=time.time)), time.time)
services = replace(built, state_url=sys.argv[2], broker_url=sys.argv[3])
workers.tasks.Tasks.poll = boom
workers.tasks.Tasks.housekeeping = lambda *_: warnings.warn("Exception outside: " + CANARY, RuntimeWarning)
def in_thread(*_):
    threading.Thread(target=boom).start()
workers.tasks.Tasks.check_sources = in_thread
workers.app.run_worker(services)
"""
#: A command line that ends in such an error.
COMMAND = f"""
import sys
from bridge import cli
from bridge.cli import common

def boom(**_):
    raise KeyError("{CANARY}")

common.load = boom
sys.exit(cli.run(sys.argv[1:], logging=True))
"""


def wait_for(log: Path, words: list[str], process: Forked) -> None:
    deadline = time.monotonic() + 40
    while not all(word in log.read_text() for word in words):
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


def test_a_worker_tells_the_type_and_the_place_of_what_its_tasks_raise(own_server: Server, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    (tmp_path / "driver.py").write_text(DRIVER)
    with log.open("w") as output:
        arguments = [str(tmp_path / "driver.py"), "worker", own_server.url, own_server.broker_url, CANARY]
        process = Forked(arguments, stdout=output, stderr=output)
    try:
        app = Celery(broker=own_server.broker_url, set_as_current=False)
        app.conf.task_default_queue = "attempt-bridge"
        for name, args in [("bridge.poll", [CANARY]), ("bridge.housekeeping", []), ("bridge.watch_over", [])]:
            app.send_task(name, args=args)
        app.send_task(f"unknown.{CANARY}", args=[CANARY])
        app.close()
        words = ["bridge.poll", "UnicodeEncodeError", "RuntimeWarning", '"thread"', "messages_refused"]
        wait_for(log, words, process)
    finally:
        process.terminate()
        process.wait(20)
    text = log.read_text()
    assert CANARY not in text
    assert "Traceback" not in text


def test_a_command_tells_the_type_and_the_place_and_the_text_only_when_asked_for(tmp_path: Path) -> None:
    command = tmp_path / "command.py"
    command.write_text(COMMAND)
    for arguments, tells in (["requests", "list"], False), (["--debug", "requests", "list"], True):
        with (tmp_path / "out.txt").open("w") as out, (tmp_path / "err.txt").open("w") as err:
            done = Forked([str(command), *arguments], cwd=tmp_path, stdout=out, stderr=err)
            assert done.wait(60) == 1
        said = (tmp_path / "err.txt").read_text()
        assert "KeyError" in said
        assert (CANARY in said) is tells
