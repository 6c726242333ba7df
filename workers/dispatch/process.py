"""The dispatch process: one thread per lane, a heartbeat, an orderly stop. The lanes themselves are in `lane.py`."""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from bridge import clock
from bridge.config.model import Subscription
from bridge.errors import StateUnavailable
from bridge.net.push_loop import PushLoop
from bridge.services import Services
from bridge.state.errors import state_errors
from workers.dispatch.ahead_lane import AheadLane
from workers.dispatch.heartbeat import Heartbeat, raise_unless_away
from workers.dispatch.idle import IdleLanes
from workers.dispatch.jobs import job_threads
from workers.dispatch.lane import Lane
from workers.dispatch.membership import consumers
from workers.dispatch.notify_lane import NotifyLane
from workers.dispatch.schedule import Limits, fault_backoff
from workers.dispatch.subscription_tests import tester_threads
from workers.dispatch.traced_transport import traced
from workers.dispatch.window_lane import WindowLane
from workers.inbound.receipts import receipt_threads
from workers.transports import transport_or_deferred
from workers.transports.contract import WindowTransport

__all__ = ["Dispatcher", "run_dispatch"]

_log = structlog.get_logger(__name__)

#: Transport -> its kind of lane, where that is neither `Lane` nor `WindowLane`.
_LANES: Mapping[str, type[Lane]] = {"notify": NotifyLane, "sql": AheadLane}
#: A process without a heartbeat for this long counts as dead, and others adopt its entries.
SILENT_SECONDS = 10.0
#: An idle lane does a step after this time even if nothing was noticed.
IDLE_SECONDS = 60.0
#: After a stop, a lane that hangs in a send is abandoned after this time; its entries stay pending.
STOP_SECONDS = 3.0
_AFTER_STATE_ERROR_SECONDS = 1.0
_FOLLOW_SECONDS = 10.0


class Dispatcher:
    """All lanes of one process. `step_all` runs them in turn without threads, for tests and simulations."""

    def __init__(
        self,
        services: Services,
        *,
        consumer: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        silent: float = SILENT_SECONDS,
        crash: Callable[[str], None] = lambda point: None,
    ) -> None:
        """`silent`: seconds without a heartbeat after which others adopt the entries."""
        self._services = services
        self._silent = silent
        self._offset = 0.0
        self._clock_followed = 0.0
        # A new name per process, so that two processes never act as one consumer. Dead ones are adopted and removed.
        self.consumer = consumer or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._loop = PushLoop()
        self._limits, self._crash = limits, crash
        self.heartbeat = Heartbeat(
            services.state, self.consumer, partitions=services.config.bridge.partitions, silent=silent
        )
        self._idle = IdleLanes(
            state=services.state,
            blocking_client=services.blocking_client,
            partitions=services.config.bridge.partitions,
            now=self.now,
        )
        self.lanes = [
            self._lane(subscription, partition)
            for subscription in services.config.subscriptions.values()
            for partition in range(services.config.bridge.partitions)
        ]

    def _lane(self, subscription: Subscription, partition: int) -> Lane:
        services = self._services
        transport = traced(
            transport_or_deferred(subscription, services.broker_url, self._loop), subscription, services.broker_url
        )
        kind = WindowLane if isinstance(transport, WindowTransport) else _LANES.get(subscription.transport, Lane)
        return kind(
            subscription,
            partition,
            transport=transport,
            state=services.state,
            blocking_client=services.blocking_client,
            consumer=self.consumer,
            limits=self._limits,
            idle=self._idle,
            crash=self._crash,
        )

    def now(self) -> float:
        """UNIX seconds by the state server's clock, so that all processes agree on what is due."""
        return self._services.now() + self._offset

    def beat(self) -> None:
        """Write the heartbeat and read the state server's clock. Raises `StateUnavailable`."""
        with state_errors():
            server = self.heartbeat.beat(self.now())
        self._offset = server - self._services.now()
        self._follow_clock(server)

    def _follow_clock(self, server: float) -> None:
        if 0 <= server - self._clock_followed < _FOLLOW_SECONDS:
            return
        pipe, lanes = self._services.state.pipeline(transaction=False), self._reached()
        for lane in lanes:
            lane.follow_clock(server, pipe)
        with state_errors():
            moved = pipe.execute(raise_on_error=False)
            raise_unless_away(moved)
        for lane, back in zip(lanes, moved, strict=True):
            if back and not isinstance(back, Exception):
                _log.warning("clock_was_set_back", subscription=lane.subscription.name, seconds=back)
        self._clock_followed = server

    def _reached(self) -> list[Lane]:
        """The lanes whose server answered the last heartbeat."""
        return [lane for lane in self.lanes if lane.partition not in self.heartbeat.away]

    def step_all(self, now: Callable[[], float], draw: Callable[[], float]) -> float:
        """One step of each lane; returns the shortest wait, in seconds."""
        return min((lane.step(now, draw) for lane in self.lanes), default=1.0)

    def serve(self, stop: threading.Event) -> None:
        """Run all lanes until `stop`; returns within 5 s of it. A fault of one lane stops no other."""
        self._try_beat(adopt=True)
        threads = [
            threading.Thread(target=self._run, args=(lane, stop), daemon=True, name=lane.subscription.name)
            for lane in self.lanes
        ]
        threads.append(threading.Thread(target=self._idle.run, args=(stop,), daemon=True, name="idle lanes"))
        threads += receipt_threads(self._services, stop)
        threads += job_threads(self._services, self.now, self.consumer, stop)
        threads += tester_threads(self._services, self.now, stop)
        for thread in threads:
            thread.start()
        _log.info("dispatch_started", consumer=self.consumer, lanes=len(self.lanes))
        beats = 0
        while not stop.wait(self._silent / 4):
            beats += 1
            self._try_beat(adopt=beats % 2 == 0)
        self._idle.end()
        deadline = clock.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - clock.monotonic()))
        self._end()
        self._loop.close()

    def _run(self, lane: Lane, stop: threading.Event) -> None:
        """Run the lane until `stop`, whatever happens: only its subscriber would notice that it ended."""
        draw = random.Random().random  # noqa: S311 - jitter, not a secret
        faults = 0
        while not stop.is_set():
            try:
                wait = lane.step(self.now, draw, block=IDLE_SECONDS)
                if lane.adoption_due:
                    self._adopt(lane)
                faults = 0
            except StateUnavailable as error:
                lane.recover()
                _log.warning("dispatch_state_unavailable", subscription=lane.subscription.name, error=str(error))
                wait = _AFTER_STATE_ERROR_SECONDS
            except Exception as error:  # noqa: BLE001 - the other lanes and the process continue
                lane.recover()
                faults += 1
                wait = fault_backoff(faults)
                self._report(lane, error, faults, wait)
            stop.wait(wait)
        try:
            lane.finish(self.now, draw, within=STOP_SECONDS * 2 / 3)
        except Exception as error:  # noqa: BLE001 - what is not settled stays pending, and others send it again
            _log.warning("lane_not_finished", subscription=lane.subscription.name, error=type(error).__name__)
        try:
            lane.transport.close()
        except Exception as error:  # noqa: BLE001 - the process ends anyway
            _log.warning("transport_not_closed", subscription=lane.subscription.name, error=type(error).__name__)

    def _report(self, lane: Lane, error: Exception, faults: int, wait: float) -> None:
        """Log and count a fault; the frames are logged only for the first of several faults in a row."""
        frames = error if faults == 1 else None
        _log.error(
            "dispatch_lane_failed", subscription=lane.subscription.name, times=faults, wait=wait, exc_info=frames
        )
        try:
            with state_errors():
                lane.count_unexpected()
        except StateUnavailable as unavailable:
            _log.warning("dispatch_state_unavailable", subscription=lane.subscription.name, error=str(unavailable))

    def _adopt(self, lane: Lane) -> None:
        taken = lane.adopt(partial(self.heartbeat.is_alive, partition=lane.partition))
        if taken:
            _log.info("dispatch_adopted", subscription=lane.subscription.name, entries=taken)

    def _request_adoptions(self) -> None:
        """Let the lanes whose groups have a dead consumer adopt its entries."""
        lanes = [lane for lane in self._reached() if self.heartbeat.may_adopt(lane.partition)]
        with state_errors():
            consumer_names = consumers(self._services.state, [lane.place for lane in lanes])
            places = list(zip(lanes, consumer_names, strict=True))
            others = {(name, lane.partition) for lane, names in places for name in names - {self.consumer}}
            dead = {other for other in others if not self.heartbeat.is_alive(*other)}
        for lane, names in places:
            if any((name, lane.partition) in dead for name in names):
                lane.request_adoption()

    def _try_beat(self, *, adopt: bool = False) -> None:
        try:
            self.beat()
            if adopt:
                self._request_adoptions()
        except StateUnavailable as error:
            _log.warning("dispatch_heartbeat_failed", error=str(error))

    def _end(self) -> None:
        try:
            for lane in self._reached():
                lane.leave()
            with state_errors():
                self.heartbeat.leave()
        except StateUnavailable as error:
            # Others then adopt the entries after SILENT_SECONDS instead of at once.
            _log.warning("dispatch_leave_failed", error=str(error))
        _log.info("dispatch_stopped", consumer=self.consumer)


def run_dispatch(services: Services, stop: threading.Event) -> None:
    """Serve all subscriptions until `stop` is set. Any number of processes share the work."""
    if not services.config.subscriptions:
        _log.info("dispatch_idle", reason="no subscriptions in bridge.yaml")
    Dispatcher(services).serve(stop)
