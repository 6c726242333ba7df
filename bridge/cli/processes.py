"""`web`, `worker`, `beat`, `dispatch`: each part as a process of its own. `up` starts all four."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bridge.services import Services

__all__ = ["beat", "dispatch", "web", "worker"]

_RETRY_SECONDS = 1.0


def _prepare(part: str, *, wait: bool = True) -> Services:
    """Settings, logs, and a state server that may be used: what every part needs before its own work.

    Waits for a state server that is not up yet, unless told otherwise. Raises `ConfigError`, also for a server that
    would lose data or belongs to another bridge.
    """
    from bridge.cli.common import load_services  # noqa: PLC0415
    from bridge.errors import StateUnavailable  # noqa: PLC0415
    from bridge.monitoring import doctor, logs  # noqa: PLC0415 - `--help` must be quick

    services = load_services()
    logs.configure(services.settings.log_level, services.settings.log_format)
    while True:
        try:
            doctor.require_safe_state(services.state)
            doctor.require_same_bridge(services.state, services.config.bridge)
            return services
        except StateUnavailable as error:
            if not wait:
                return services
            click.echo(f"{part}: waiting for the state server: {error}", err=True)
            time.sleep(_RETRY_SECONDS)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--workers", type=click.IntRange(1), help="Web processes; one per core if not given.")
def web(host: str, port: int, workers: int | None) -> None:
    """Receive webhooks; serve the API and health."""
    from bridge.web.server import run  # noqa: PLC0415

    # It answers 503 by itself while the state server is away: a vendor must not find the door locked.
    run(_prepare("web", wait=False), host, port, workers)


@click.command()
def worker() -> None:
    """Poll the vendors and look after open attempts."""
    from workers.app import run_worker  # noqa: PLC0415

    run_worker(_prepare("worker"))


@click.command()
def beat() -> None:
    """Tell the workers when to poll. One process is enough; a second one does no harm."""
    from workers.app import run_beat  # noqa: PLC0415

    run_beat(_prepare("beat"))


@click.command()
def dispatch() -> None:
    """Deliver events to the subscriptions."""
    from workers.dispatch.process import run_dispatch  # noqa: PLC0415

    services, stop = _prepare("dispatch"), threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        # Not `stop.set()` itself: the interrupted main thread may be holding that very lock in `stop.wait()`.
        threading.Thread(target=stop.set).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    run_dispatch(services, stop)
