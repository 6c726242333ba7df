"""CPU of one process for each event, without and with traces that a collector takes: from records to the journal, and
from the journal onto a Celery queue. CPU and not time, so that a busy machine matters less."""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import free_port, header, program, ratios, rounds, server, spread, table, verdict, wait_for
from benchmarks.dispatch import SUBSCRIPTION, _records
from benchmarks.receive import config, result
from bridge import services as composition
from bridge.ingest.pipeline import ingest
from bridge.sdk.strict_json import parse
from bridge.telemetry.process import begin
from bridge.telemetry.switch import telemetry_of
from workers.dispatch.process import Dispatcher

_SINK = """
import http.server, sys
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=3000, help="in each round")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    header("CPU with and without traces", "opentelemetry-sdk", "redis")
    port = free_port()
    # The SDK reads it, too.
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"http://127.0.0.1:{port}/v1/traces"
    with server() as address, program(sys.executable, "-c", _SINK, str(port)):
        services = composition.load(config_path=config(Path(tempfile.mkdtemp(prefix="bench-")), address, SUBSCRIPTION))
        wait_for(lambda: answers(port))
        first = 20_000_000
        sent: dict[str, list[float]] = {"off": [], "on": []}

        def both(name: str) -> float:
            nonlocal first
            first += given.events
            publishing = cpu(lambda: publish(services, first, given.events), given.events)
            dispatcher = Dispatcher(services)
            sent[name].append(cpu(lambda: empty(dispatcher, services), given.events))
            for lane in dispatcher.lanes:
                lane.transport.close()
            return publishing

        def traced() -> float:
            wanted = telemetry_of(os.environ)
            assert wanted is not None
            running = begin(wanted, "worker", "bench")
            try:
                return both("on")
            finally:
                running.end()

        off, on = rounds(given.rounds, lambda: both("off"), traced)
    table(
        ["CPU us for each event, median (all rounds)", "without", "with traces"],
        [
            ["records to the journal", spread(off), spread(on)],
            ["journal to a Celery queue, settled", spread(sent["off"]), spread(sent["on"])],
        ],
    )
    verdict("to the journal, with / without", ratios(on, off), 3.0, least=False)
    verdict("to the queue, with / without", ratios(sent["on"], sent["off"]), 4.0, least=False)


def publish(services: composition.Services, first: int, number: int) -> None:
    context = services.ingest_context("eu")
    for start in range(first, first + number, 200):
        bodies = (json.dumps(result(place)).encode() for place in range(start, min(start + 200, first + number)))
        records = [
            record for body in bodies for record in _records(context.vendor.split(parse(body), context.source.options))
        ]
        ingest(context, records, now=services.now())


def empty(dispatcher: Dispatcher, services: composition.Services) -> None:
    while dispatcher.step_all(services.now, random.random) == 0:
        pass


def cpu(work: Callable[[], object], events: int) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) / events * 1e6


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


if __name__ == "__main__":
    main()
