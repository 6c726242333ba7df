"""Celery: its configuration, and how worker and beat run.

Beat only ticks; what is due stands in the state. So a lost tick, a doubled one or a second beat changes nothing.
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
from bridge.net.tls import broker_address, tls_problem
from bridge.services import Services
from bridge.state import keys
from bridge.state.errors import state_errors
from workers.inbound.celery_guard import MessageFilter, filtering_consumer, guarded_connection
from workers.inbound.refusals import RefusalCounter
from workers.polling.source_access import never
from workers.tasks import ARGUMENTS, Tasks, beat_schedule

__all__ = ["QUEUE", "make_celery", "run_beat", "run_worker"]

QUEUE = queues.WORKER
#: Tasks at the same time in one worker: they wait for vendors, so more than cores.
CONCURRENCY = 4
#: A process shows its life this often, and is taken for dead after three times as long, seconds.
HEARTBEAT_SECONDS = 5.0

_log = structlog.get_logger(__name__)


def make_celery(services: Services, *, stopping: Callable[[], bool] = never) -> Celery:
    """The bridge's own Celery app. `stopping` ends running polls at the next page."""
    broker = broker_address(services.broker_url)
    app = Celery("attempt-bridge", broker=broker.url, set_as_current=False)
    app.conf.update(
        # The default exchange: a named one drops what its binding key has lost (an eviction, a flush) without a word.
        task_queues=[Queue(QUEUE, Exchange(""), routing_key=QUEUE)],
        task_default_queue=QUEUE,
        task_default_exchange="",
        task_default_routing_key=QUEUE,
        broker_use_ssl=broker.ssl,
        broker_transport_options=_transport_options(services.broker_url),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Acknowledged before it runs: what a killed worker leaves undone, the next tick does. Late acknowledgement
        # would run a long catch-up a second time as soon as the visibility time-out is over.
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Remote control and events are published synchronously from the worker's loop, which a silent broker stops.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        beat_schedule=beat_schedule(services),
        beat_max_loop_interval=HEARTBEAT_SECONDS,
        timezone="UTC",
    )

    Tasks(app, services, stopping)
    return app


def run_worker(services: Services) -> None:
    """Poll until SIGTERM or SIGINT, then finish the page at hand. Logging must be configured already.

    Raises `SystemExit` with Celery's exit code if that is not 0.
    """
    stop = threading.Event()
    app = make_celery(services, stopping=stop.is_set)
    refusals = RefusalCounter(services, QUEUE)
    message_filter = MessageFilter(ARGUMENTS, services.config.subscriptions, refusals)
    app.amqp.Connection = guarded_connection(message_filter)
    app.steps["consumer"].add(_heartbeat_step(services, refusals))
    _keep_our_logging()

    def begin_to_stop(**_: Any) -> None:
        stop.set()

    signals.worker_shutting_down.connect(begin_to_stop)
    # Ten lines against pickle under root, as in most containers; this worker accepts JSON alone.
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
    worker.start()
    refusals.flush(force=True)
    if worker.exitcode:
        raise SystemExit(worker.exitcode)


def run_beat(services: Services) -> None:
    """Send the ticks until SIGTERM or SIGINT. Keeps no file; a second one beside it does no harm."""
    _keep_our_logging()
    pulse = _Pulse(services, "beat")

    class PulsingScheduler(_EagerScheduler):
        def tick(self, *args: Any, **kwargs: Any) -> float:
            wait: float = super().tick(*args, **kwargs)
            pulse()
            return min(wait, HEARTBEAT_SECONDS)

    make_celery(services).Beat(scheduler_cls=PulsingScheduler, quiet=True).run()


def _transport_options(broker_url: str) -> dict[str, Any]:
    if not broker_url.startswith("redis"):
        return {}
    return {
        # A task that a dying worker had taken but not begun comes back after this time; scanned for every 5 s.
        "visibility_timeout": 300,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # Without these a connection that swallows bytes stops worker and beat for ever.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


class _EagerScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Beat's schedule in memory. After a start everything is due at once; what was done a moment ago is left out by
    those who do it."""

    def setup_schedule(self) -> None:
        super().setup_schedule()
        for entry in self.schedule.values():
            entry.last_run_at -= max(entry.schedule.run_every, timedelta(seconds=1))


class _Pulse:
    """Shows that a process's loop goes round: called from that loop, so that a stuck one falls silent."""

    def __init__(self, services: Services, process: str) -> None:
        self._services = services
        self._key = keys.heartbeat(process)
        self._process = process
        self._last = -HEARTBEAT_SECONDS

    def __call__(self) -> None:
        moment = clock.monotonic()
        if moment - self._last < HEARTBEAT_SECONDS / 2:
            return
        self._last = moment
        try:
            with state_errors():
                self._services.state.set(self._key, repr(self._services.now()), ex=int(HEARTBEAT_SECONDS * 3))
        except StateUnavailable as error:
            _log.warning("heartbeat_failed", process=self._process, problem=str(error))


def _heartbeat_step(services: Services, refusals: RefusalCounter) -> type[bootsteps.StartStopStep]:
    show_life = _Pulse(services, "worker")

    def pulse() -> None:
        show_life()
        refusals.flush()

    class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # celery has no types
        """Ticks on the consumer's own timer, which Celery empties at every reconnection and this step fills again."""

        requires = (ConsumerTasks,)

        def start(self, consumer: Any) -> None:
            pulse()
            self._timer = consumer.timer.call_repeatedly(HEARTBEAT_SECONDS, pulse)

        def stop(self, consumer: Any) -> None:
            self._timer.cancel()

    return Heartbeat


def _keep_our_logging() -> None:
    # Celery sets up no logging of its own as soon as somebody listens to this signal.
    signals.setup_logging.connect(_leave_logging)
    bgThread.on_crash = _crashed
    # Three lines a tick; `poll_round` and `rechecked` say what came of it.
    for name in ("celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("celery.beat", "celery.worker.consumer.consumer"):
        logging.getLogger(name).addFilter(_name_tls_problem)


def _name_tls_problem(record: logging.LogRecord) -> bool:
    """Trouble of the broker's certificate as one line with its remedy, instead of OpenSSL's text."""
    for given in record.args if isinstance(record.args, tuple) else ():
        problem = tls_problem(given) if isinstance(given, BaseException) else None
        if problem is not None:
            record.msg, record.args = "broker: %s", (problem,)
            break
    return True


def _crashed(thread: Any, _message: str, *_words: Any) -> None:
    # Celery would print the exception on stderr, with its text, before it ends the process.
    logs.log_unhandled(sys.exc_info()[1], "thread")


def _leave_logging(**_: Any) -> None:
    """Logging is configured by whoever started the process."""
