"""Push over HTTP by one dispatch process: events/s at receivers that answer at once and after 100 ms, beside slow
receivers, and memory with a backlog. The baseline signs and posts the same events with threads and urllib3."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

import urllib3
from standardwebhooks.webhooks import Webhook

from benchmarks.common import free_port, header, program, ratios, rounds, server, spread, table, verdict, wait_for
from benchmarks.dispatch import publish
from benchmarks.http_requests import Requests, serve
from benchmarks.processes import cpu_seconds, megabytes
from benchmarks.receive import config
from bridge import services as composition
from bridge.delivery.store import Deliveries
from bridge.net.standard_webhooks import Signer, SigningSecret
from schemas.event import MEDIA_TYPE

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONCURRENCY = 64


class Receiver(Requests):
    """Answers every request with 204 after `delay` seconds, or closes the connection while it is away."""

    delay = 0.0

    def take(self, head: str) -> None:
        asyncio.get_running_loop().call_later(self.delay, self.answer) if self.delay else self.answer()

    def answer(self) -> None:
        self.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def receive(port: int, delay: float) -> None:
    """Run a receiver until the process is ended."""
    Receiver.delay = delay
    asyncio.run(serve(Receiver, port))


@contextmanager
def receiver(delay: float, port: int = 0) -> Iterator[int]:
    """A receiver in a process of its own; gives its port."""
    port = port or free_port()
    with program(sys.executable, "-m", "benchmarks.push", "--receiver", str(port), "--delay", str(delay)):
        wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() or True)
        yield port


def subscriptions(ports: Sequence[int]) -> str:
    template = (
        "crm{}: {{transport: http, url: 'http://127.0.0.1:{}/', secrets: ['{}'], allow_private: true, concurrency: {}}}"
    )
    return "{" + ", ".join(template.format(place, port, SECRET, CONCURRENCY) for place, port in enumerate(ports)) + "}"


class Bench:
    """A durable server with `ports` as receivers."""

    def __init__(self, address: str, ports: Sequence[int]) -> None:
        self.path = config(Path(tempfile.mkdtemp(prefix="bench-")), address, subscriptions(ports))
        self.services = composition.load(config_path=self.path)
        self.names = list(self.services.config.subscriptions)
        self.first = 10_000_000

    def publish(self, number: int) -> list[bytes]:
        events = publish(self.services, self.first, number)
        self.first += number
        return events

    def delivered(self, name: str) -> int:
        return int(self.services.state.hget(f"ab:{{0}}:state:{name}", "delivered") or 0)

    @contextmanager
    def dispatch(self) -> Iterator[int]:
        """A dispatch process; gives its process id."""
        with program(sys.executable, "-m", "bridge", "--config", str(self.path), "dispatch") as process:
            yield process.pid

    def speed(self, names: Sequence[str], number: int) -> float:
        """Events/s from the first delivery on, until these subscriptions have delivered `number` more events each."""
        before, total = sum(map(self.delivered, names)), number * len(names)
        while (first := sum(map(self.delivered, names)) - before) == 0:
            time.sleep(0.002)
        started = time.perf_counter()
        while sum(map(self.delivered, names)) - before < total:
            time.sleep(0.01)
        return (total - first) / (time.perf_counter() - started)


def bare(port: int, events: Sequence[bytes]) -> float:
    """Events/s of a loop that signs and posts with as many threads as the window is wide."""
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=CONCURRENCY, block=True)
    waiting: SimpleQueue[bytes] = SimpleQueue()
    for event in events:
        waiting.put(event)
    webhook = Webhook(SECRET)

    def work() -> None:
        with suppress(Empty):
            while True:
                event, now = waiting.get_nowait(), datetime.now(UTC)
                event_id = json.loads(event)["id"]
                headers = {
                    "content-type": MEDIA_TYPE,
                    "webhook-id": event_id,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": webhook.sign(event_id, now, event.decode()),
                }
                if pool.urlopen("POST", "/", body=event, headers=headers).status != 204:
                    raise SystemExit("the receiver refused an event")

    started = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(events) / (time.perf_counter() - started)


def bare_asyncio(port: int, events: Sequence[bytes]) -> float:
    """The same over asyncio's streams, which looks for the end of the head only."""
    signer = Signer([SigningSecret(SECRET)])

    async def work(waiting: Iterator[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for event in waiting:
            headers = signer.headers(json.loads(event)["id"], event, time.time())
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(
                f"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {MEDIA_TYPE}\r\n{head}"
                f"content-length: {len(event)}\r\n\r\n".encode()
                + event
            )
            if b" 204 " not in await reader.readuntil(b"\r\n\r\n"):
                raise SystemExit("the receiver refused an event")
        writer.close()

    async def everyone() -> None:
        waiting = iter(events)
        await asyncio.gather(*(work(waiting) for _ in range(CONCURRENCY)))

    started = time.perf_counter()
    asyncio.run(everyone())
    return len(events) / (time.perf_counter() - started)


def fast_and_slow(address: str, events: int, number: int) -> None:
    """At 0 ms and at 100 ms, against the bare loops."""
    with receiver(0.0) as fast, receiver(0.1) as slow:
        for port, delay in ((fast, 0), (slow, 100)):
            bench = Bench(address, [port])
            bench.services.state.flushdb()
            deliveries = Deliveries(bench.services.state)
            with bench.dispatch():
                bench.publish(CONCURRENCY)
                wait_for(lambda: bench.delivered("crm0") == CONCURRENCY)  # noqa: B023 - called at once
                count = events if not delay else events // 4
                sent: list[bytes] = []

                def ours() -> float:
                    nonlocal sent
                    deliveries.pause("crm0")  # noqa: B023
                    time.sleep(2.5)
                    sent = bench.publish(count)  # noqa: B023
                    deliveries.resume("crm0")  # noqa: B023
                    return bench.speed(["crm0"], count)  # noqa: B023

                loops: list[Callable[[], float]] = [lambda: bare(port, sent), lambda: bare_asyncio(port, sent)]  # noqa: B023
                mine, threads, streams = rounds(number, ours, *loops)
            table(
                [f"events/s at {delay} ms, median (all rounds)", ""],
                [
                    ["dispatch: journal to receiver, settled", spread(mine)],
                    ["bare loop, threads and urllib3", spread(threads)],
                    ["bare loop, asyncio streams", spread(streams)],
                ],
            )
            verdict(f"push / bare threads at {delay} ms", ratios(mine, threads), 0.7)
            print(f"push / bare asyncio at {delay} ms: {ratios(mine, streams):.2f}, without a target")
            if delay:
                verdict("events/s at 100 ms", sorted(mine)[len(mine) // 2], 500, unit="/s")


def beside_slow_ones(address: str, events: int) -> None:
    """20 subscriptions, 5 of them answering after 10 s: the speed of the other 15, against that without delay."""
    speeds = []
    for delay in (0.0, 10.0):
        with receiver(0.0) as fast, receiver(delay) as slow:
            bench = Bench(address, [fast] * 15 + [slow] * 5)
            bench.services.state.flushdb()
            bench.publish(events)
            with bench.dispatch():
                speeds.append(bench.speed(bench.names[:15], events))
    rows = [["all 20 answer at once", f"{speeds[0]:,.0f}"], ["5 answer after 10 s", f"{speeds[1]:,.0f}"]]
    table(["events/s of the 15, together", ""], rows)
    verdict("the 15 beside 5 slow ones / beside 5 fast ones", speeds[1] / speeds[0], 0.9)


def backlog(address: str, events: int, away: float) -> None:
    """Memory of the dispatch process with a backlog behind a receiver that was away."""
    port = free_port()
    bench = Bench(address, [port])
    bench.services.state.flushdb()
    bench.publish(events)
    seen: list[float] = []
    with bench.dispatch() as pid:
        time.sleep(away)
        before = megabytes(pid)
        with receiver(0.0, port):
            started = time.perf_counter()
            while bench.delivered("crm0") < events:
                seen.append(megabytes(pid))
                time.sleep(0.1)
            took, cpu = time.perf_counter() - started, cpu_seconds(pid)
    seen = seen or [before]
    rows = [["while the receiver is away", f"{before:.0f}"], ["a tenth delivered", f"{seen[len(seen) // 10]:.0f}"]]
    rows += [["the end", f"{seen[-1]:.0f}"], ["most", f"{max(seen):.0f}"]]
    table([f"{events:,} events, MB of the process", ""], rows)
    print(f"delivered in {took:.0f} s, {1e6 * cpu / events:.0f} us of CPU for each")
    verdict("memory", max(seen), 150, least=False, unit=" MB")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=6000, help="in each round")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--backlog", type=int, default=100_000, help="events behind the receiver that was away")
    options.add_argument("--away", type=float, default=10.0, help="seconds that it is away while dispatch runs")
    options.add_argument("--only", choices=["speed", "slow", "backlog"], help="one part")
    options.add_argument("--receiver", type=int, help=argparse.SUPPRESS)
    options.add_argument("--delay", type=float, default=0.0, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.receiver:
        receive(given.receiver, given.delay)
    header("push over HTTP", "redis", "urllib3", "standardwebhooks")
    with server() as address:
        if given.only in (None, "speed"):
            fast_and_slow(address, given.events, given.rounds)
        if given.only in (None, "slow"):
            beside_slow_ones(address, given.events // 4)
        if given.only in (None, "backlog"):
            backlog(address, given.backlog, given.away)


if __name__ == "__main__":
    main()
