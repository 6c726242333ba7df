"""Celery: its configuration, and how worker and beat run.

Beat only sends ticks; what is due is in the state server. So a lost tick, a repeated one or a second beat is harmless.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from celery import Celery, bootsteps, signals
from celery.beat import Scheduler
from celery.exceptions import SecurityWarning
from celery.utils.threads import bgThread
from celery.worker.consumer.tasks import Tasks as ConsumerTasks
from kombu import Exchange, Queue

from bridge import clock
from bridge.config import queues
from bridge.errors import StateUnavailable
from bridge.monitoring import logs
from bridge.net.broker_address import broker_address
from bridge.net.sentinels import primary_problem
from bridge.net.tls import tls_problem
from bridge.services import Services
from bridge.settings import ignore_library_settings
from bridge.state import keys
from bridge.state.errors import state_errors
from workers.inbound.celery_guard import MessageFilter, filtering_consumer, guarded_connection
from workers.inbound.refusals import RefusalCounter
from workers.polling.source_access import never
from workers.polling.stuck import StuckWatch
from workers.tasks import ARGUMENTS, Tasks, beat_schedule

__all__ = ["QUEUE", "make_celery", "run_beat", "run_worker"]

QUEUE = queues.WORKER
#: Concurrent tasks of one worker; they mostly wait for vendors, so more than cores.
CONCURRENCY = 4
#: Interval of heartbeats; without one for three times as long a process counts as dead.
HEARTBEAT_SECONDS = 5.0
#: Interval of the heartbeats between worker and an AMQP broker.
_AMQP_HEARTBEAT = 10

_log = structlog.get_logger(__name__)


def make_celery(services: Services, *, stopping: Callable[[], bool] = never) -> Celery:
    """The bridge's own Celery app. `stopping`: whether running polls are to end at the next page."""
    # In Celery, CELERY_BROKER_URL overrides the configuration.
    ignore_library_settings()
    broker = broker_address(services.broker_url)
    queue = queues.worker_queue(services.broker_url)
    arguments = queues.TICKS_ARGUMENTS if queue != QUEUE else None
    app = Celery("attempt-bridge", broker=broker.url, set_as_current=False)
    app.amqp.Connection = guarded_connection()
    app.conf.update(
        # The default exchange: a named one silently drops messages once its binding is lost (eviction, flush).
        task_queues=[Queue(queue, Exchange(""), routing_key=queue, queue_arguments=arguments)],
        task_default_queue=queue,
        task_default_exchange="",
        task_default_routing_key=queue,
        broker_use_ssl=broker.ssl,
        broker_transport_options={**_transport_options(services.broker_url), **broker.options},
        broker_heartbeat=_AMQP_HEARTBEAT,
        broker_connection_timeout=5,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Acknowledged before it runs: the next tick does what a killed worker left undone. With late acknowledgement
        # a long catch-up would run a second time after the visibility timeout.
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Remote control and events are published synchronously from the worker's loop; a hanging broker would stop it.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        beat_schedule=beat_schedule(services),
        beat_max_loop_interval=HEARTBEAT_SECONDS,
        timezone="UTC",
    )

    Tasks(app, services, stopping)
    return app


def run_worker(services: Services, *, on_signals: Callable[[], object] = lambda: None) -> None:
    """Poll until SIGTERM or SIGINT, then finish the current page. Logging must be configured already.

    `on_signals` is called once Celery has installed its signal handlers, including one of SIGHUP.

    Raises `SystemExit` with Celery's exit code if that is not 0.
    """
    stop = threading.Event()
    app = make_celery(services, stopping=stop.is_set)
    refusals = RefusalCounter(services, QUEUE)
    message_filter = MessageFilter(ARGUMENTS, services.config.subscriptions, refusals)
    app.amqp.Connection = guarded_connection(message_filter)
    app.steps["consumer"].add(_heartbeat_step(services, refusals, app.connection_for_read().as_uri()))
    _keep_own_logging()

    def begin_to_stop(**_: Any) -> None:
        stop.set()

    signals.worker_shutting_down.connect(begin_to_stop)
    # Celery warns about pickle when run as root, as in most containers; this worker accepts only JSON.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        consumer_cls=filtering_consumer(message_filter),
        pool="threads",
        concurrency=CONCURRENCY,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    install_handlers = worker.install_platform_tweaks

    def install_then_call(of: Any) -> None:
        install_handlers(of)
        on_signals()

    worker.install_platform_tweaks = install_then_call
    worker.start()
    refusals.flush(force=True)
    if worker.exitcode:
        raise SystemExit(worker.exitcode)


def run_beat(services: Services) -> None:
    """Send the ticks until SIGTERM or SIGINT. Keeps no file; a second beat is harmless."""
    _keep_own_logging()
    app = make_celery(services)
    heartbeat = _Heartbeat(services, "beat", app.connection_for_write().as_uri())

    class HeartbeatScheduler(_EagerScheduler):
        def tick(self, *args: Any, **kwargs: Any) -> float:
            wait: float = super().tick(*args, **kwargs)
            heartbeat()
            return min(wait, HEARTBEAT_SECONDS)

    app.Beat(scheduler_cls=HeartbeatScheduler, quiet=True).run()


def _transport_options(broker_url: str) -> dict[str, Any]:
    if not broker_url.startswith("redis"):
        return {"read_timeout": 10, "write_timeout": 10, "confirm_publish": True}
    return {
        # A task that a dying worker took but did not start is redelivered after this time; checked every 5 s.
        "visibility_timeout": 300,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # Without these a connection that swallows bytes blocks worker and beat indefinitely.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


class _EagerScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Beat's schedule in memory. At the start everything is due; the tasks skip what was done a moment ago."""

    def setup_schedule(self) -> None:
        super().setup_schedule()
        for entry in self.schedule.values():
            entry.last_run_at -= max(entry.schedule.run_every, timedelta(seconds=1))


class _Heartbeat:
    """Writes the heartbeat of a process; called from its main loop, so that a stuck loop is noticed.

    `broker`: the address that it uses, without password; doctor compares it with bridge.yaml.
    """

    def __init__(self, services: Services, process: str, broker: str) -> None:
        self._services = services
        self._key = keys.heartbeat(process)
        self._process = process
        self._broker = broker
        self._last = -HEARTBEAT_SECONDS

    def __call__(self) -> None:
        moment = clock.monotonic()
        if moment - self._last < HEARTBEAT_SECONDS / 2:
            return
        self._last = moment
        try:
            with state_errors():
                self._services.sync_clock()
                seconds, state = int(HEARTBEAT_SECONDS * 3), self._services.state
                state.set(self._key, repr(self._services.now()), ex=seconds)
                state.set(keys.broker_in_use(self._process), self._broker, ex=seconds)
        except StateUnavailable as error:
            _log.warning("heartbeat_failed", process=self._process, problem=str(error))


def _heartbeat_step(services: Services, refusals: RefusalCounter, broker: str) -> type[bootsteps.StartStopStep]:
    heartbeat, report_stuck = _Heartbeat(services, "worker", broker), StuckWatch(services)

    def tick() -> None:
        heartbeat()
        report_stuck()
        refusals.flush()

    class HeartbeatStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
        """Uses the consumer's own timer, which Celery clears at every reconnection; this step sets it again."""

        requires = (ConsumerTasks,)

        def start(self, consumer: Any) -> None:
            tick()
            self._timer = consumer.timer.call_repeatedly(HEARTBEAT_SECONDS, tick)

        def stop(self, consumer: Any) -> None:
            self._timer.cancel()

    return HeartbeatStep


def _keep_own_logging() -> None:
    # If this signal has a receiver, Celery does not set up logging.
    signals.setup_logging.connect(_leave_logging)
    bgThread.on_crash = _log_crash
    # Three lines per tick; `poll_round` and `rechecked` log the result.
    for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("celery.beat", "celery.worker.consumer.consumer"):
        logging.getLogger(name).addFilter(_name_problem)


def _name_problem(record: logging.LogRecord) -> bool:
    """Replace a problem with certificate or sentinels by one line with its remedy, without a library's text."""
    for argument in record.args if isinstance(record.args, tuple) else ():
        if not isinstance(argument, BaseException):
            continue
        problem = tls_problem(argument) or primary_problem(argument)
        if problem is not None:
            # Our own words: as an argument they would be removed from the line.
            record.msg, record.args = f"broker: {problem}", ()
            break
    return True


def _log_crash(thread: Any, _message: str, *_args: Any) -> None:
    # Celery would print the exception on stderr, with its text, before it ends the process.
    logs.log_unhandled(sys.exc_info()[1], "thread")


def _leave_logging(**_: Any) -> None:
    """Does nothing: the process has already configured logging."""
