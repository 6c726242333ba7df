"""The dispatch process: one thread per lane, a heartbeat, an orderly stop. A lane's own work: `lane.py`."""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
from collections.abc import Callable

import structlog

from bridge import clock
from bridge.errors import StateUnavailable
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from workers.dispatch.lane import Lane
from workers.dispatch.schedule import Limits, fault_backoff
from workers.inbound.receipts import receipt_threads
from workers.transports import transport_or_deferred

__all__ = ["Dispatcher", "run_dispatch"]

log = structlog.get_logger(__name__)

#: A process that is silent for so long counts as dead and its entries go to others.
SILENT_SECONDS = 10.0
#: A lane waits so long for an event, so that it can stop and sees a pause.
BLOCK_SECONDS = 2.0
#: After a stop, lanes that hang in a send are left behind; their entries stay pending.
STOP_SECONDS = 3.0
_AFTER_STATE_ERROR_SECONDS = 1.0


class Dispatcher:
    """All lanes of one process. `step_all` runs them one after another without threads, for tests and simulations."""

    def __init__(
        self,
        services: Services,
        *,
        consumer: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        silent: float = SILENT_SECONDS,
        crash: Callable[[str], None] = lambda point: None,
    ) -> None:
        """`silent`: seconds without a heartbeat after which others take over."""
        self._services = services
        self._silent = silent
        self._offset = 0.0
        # A fresh name per process: two processes can never act as one consumer. The dead are adopted and removed.
        self.consumer = consumer or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.lanes = [
            Lane(
                subscription,
                partition,
                transport=transport_or_deferred(subscription, services.broker_url),
                state=services.state,
                reader=services.blocking_client,
                consumer=self.consumer,
                limits=limits,
                crash=crash,
            )
            for subscription in services.config.subscriptions.values()
            for partition in range(services.config.bridge.partitions)
        ]

    def now(self) -> float:
        """UNIX seconds of the state server as of the last heartbeat: all processes agree on what is due."""
        return self._services.now() + self._offset

    def beat(self) -> None:
        """Say that this process lives, and look at the state server's clock. Raises `StateUnavailable`."""
        milliseconds = int(self._silent * 1000)
        with state_errors():
            pipe = self._services.state.pipeline(transaction=False)
            pipe.time()
            pipe.set(self._heartbeat(self.consumer), 1, px=milliseconds)
            (seconds, micros), _ = pipe.execute()
            server = seconds + micros / 1e6
            self._services.state.set(keys.heartbeat("dispatch"), f"{server:.3f}", px=max(milliseconds, 30_000))
        self._offset = server - self._services.now()

    def alive(self, consumer: str) -> bool:
        """Whether the process of a consumer has shown itself lately."""
        return bool(self._services.state.exists(self._heartbeat(consumer)))

    def step_all(self, now: Callable[[], float], draw: Callable[[], float]) -> float:
        """One step of each lane; the shortest wait they ask for, in seconds."""
        return min((lane.step(now, draw) for lane in self.lanes), default=1.0)

    def leave(self) -> None:
        """End in order: what is still pending may be taken over at once."""
        with state_errors():
            self._services.state.delete(self._heartbeat(self.consumer))

    @staticmethod
    def _heartbeat(consumer: str) -> str:
        return keys.heartbeat(f"dispatch:{consumer}")

    def serve(self, stop: threading.Event) -> None:
        """Run all lanes until `stop`; returns within 5 s of it. What one lane cannot handle ends no other."""
        self._beat_or_log()
        threads = [
            threading.Thread(target=self._run, args=(lane, stop), daemon=True, name=lane.subscription.name)
            for lane in self.lanes
        ]
        threads += receipt_threads(self._services, stop)
        for thread in threads:
            thread.start()
        log.info("dispatch_started", consumer=self.consumer, lanes=len(self.lanes))
        while not stop.wait(self._silent / 4):
            self._beat_or_log()
        deadline = clock.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - clock.monotonic()))
        self._end()

    def _run(self, lane: Lane, stop: threading.Event) -> None:
        """Until `stop`, whatever happens: a lane that ended would be missed by nobody but its subscriber."""
        draw = random.Random().random  # noqa: S311 - jitter, not a secret
        adopt_at, faults = 0.0, 0
        while not stop.is_set():
            try:
                wait = lane.step(self.now, draw, block=BLOCK_SECONDS)
                if clock.monotonic() >= adopt_at:
                    self._adopt(lane)
                    adopt_at = clock.monotonic() + self._silent / 2
                faults = 0
            except StateUnavailable as error:
                lane.recover()
                log.warning("dispatch_state_unavailable", subscription=lane.subscription.name, error=str(error))
                wait = _AFTER_STATE_ERROR_SECONDS
            except Exception as error:  # noqa: BLE001 - the other lanes and the process go on
                lane.recover()
                faults += 1
                wait = fault_backoff(faults)
                self._report(lane, error, faults, wait)
            stop.wait(wait)
        try:
            lane.transport.close()
        except Exception as error:  # noqa: BLE001 - the process ends anyway
            log.warning("transport_not_closed", subscription=lane.subscription.name, error=type(error).__name__)

    def _report(self, lane: Lane, error: Exception, faults: int, wait: float) -> None:
        """The frames once for each row of faults; every one is counted."""
        frames = error if faults == 1 else None
        log.error("dispatch_lane_failed", subscription=lane.subscription.name, times=faults, wait=wait, exc_info=frames)
        try:
            with state_errors():
                lane.count_unexpected()
        except StateUnavailable as unavailable:
            log.warning("dispatch_state_unavailable", subscription=lane.subscription.name, error=str(unavailable))

    def _adopt(self, lane: Lane) -> None:
        taken = lane.adopt(self.alive)
        if taken:
            log.info("dispatch_adopted", subscription=lane.subscription.name, entries=taken)

    def _beat_or_log(self) -> None:
        try:
            self.beat()
        except StateUnavailable as error:
            log.warning("dispatch_heartbeat_failed", error=str(error))

    def _end(self) -> None:
        try:
            for lane in self.lanes:
                lane.leave()
            self.leave()
        except StateUnavailable as error:
            # Then others take over after SILENT_SECONDS instead of at once.
            log.warning("dispatch_left_in_silence", error=str(error))
        log.info("dispatch_stopped", consumer=self.consumer)


def run_dispatch(services: Services, stop: threading.Event) -> None:
    """Serve all subscriptions until `stop` is set. Any number of processes may do so at once and share the work."""
    if not services.config.subscriptions:
        log.info("dispatch_idle", reason="no subscriptions in bridge.yaml")
    Dispatcher(services).serve(stop)
