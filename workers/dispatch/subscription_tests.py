"""Runs the tests of subscriptions that operators ask for: one event, one try, through a separate transport.

A test leaves no delivery, counter or failure behind, and neither a pause nor an open circuit holds it back.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from bridge.delivery.subscription_test import AskedTest, Report, SubscriptionTests, build_test_event, event_source
from bridge.errors import BridgeError, StateUnavailable
from bridge.services import BLOCK_SECONDS, Services
from workers.transports import transport_for
from workers.transports.contract import Outgoing, ShowsRequest

__all__ = ["SubscriptionTester", "tester_threads"]

_AFTER_STATE_ERROR_SECONDS = 1.0
_OTHER_FILE = "dispatch runs with another version of bridge.yaml. Remedy: run attempt-bridge config reload"

_log = structlog.get_logger(__name__)


class SubscriptionTester:
    """Runs one test after another. `now`: UNIX seconds of the state server."""

    def __init__(self, services: Services, now: Callable[[], float]) -> None:
        self._services, self._now = services, now
        self._tests = SubscriptionTests(services.state, services.blocking_client)

    def step(self, seconds: float) -> bool:
        """Run the next test; False if none was asked for within `seconds`. Raises `StateUnavailable`."""
        test = self._tests.take(seconds)
        if test is None:
            return False
        try:
            report = self._do(test)
        except BridgeError as error:
            # The transport cannot be built from the configuration.
            report = Report(problem=str(error), reason=error.reason)
        except Exception as error:  # noqa: BLE001 - the caller gets the kind of the error, the log its frames
            _log.exception("subscription_test_failed", subscription=test.subscription)
            problem = f"internal error: {type(error).__name__}. Remedy: see the log of dispatch"
            report = Report(problem=problem, reason="unexpected_error")
        self._tests.report(test, report)
        return True

    def _do(self, test: AskedTest) -> Report:
        config = self._services.config
        subscription = config.subscriptions.get(test.subscription)
        if subscription is None or test.digest != config.digest:
            return Report(problem=_OTHER_FILE, reason="other_configuration")
        now = self._now()
        event = build_test_event(config.bridge, subscription.name, ident=test.ident, now=now)
        body = subscription.output.converted(json.loads(event.to_json()))
        outgoing = Outgoing(event.id, event.type, event_source(subscription.name), f"test:{test.ident}", body)
        # Not the lane's transport: it is for the lane's thread only, and its connections prove nothing about a new one.
        transport = transport_for(subscription, self._services.broker_url)
        try:
            (tried,) = transport.send([outgoing], now=now)
            request = _request(transport, outgoing, tried.at)
        finally:
            transport.close()
        failure = tried.failure
        return Report(
            problem="" if failure is None else str(failure),
            reason="" if failure is None else failure.reason,
            event_id=event.id,
            at=tried.at,
            seconds=tried.seconds,
            request=request,
            status=tried.status,
            answer=tried.answer.decode(errors="replace"),
        )


def _request(transport: ShowsRequest, outgoing: Outgoing, at: float) -> Mapping[str, Any]:
    shown = transport.shown(outgoing, now=at)
    return {"to": shown.to, "headers": dict(shown.headers), "body": shown.body.decode()}


def tester_threads(services: Services, now: Callable[[], float], stop: threading.Event) -> list[threading.Thread]:
    """The thread that runs tests until `stop`. `now`: UNIX seconds of the state server."""
    tester = SubscriptionTester(services, now)

    def run() -> None:
        while not stop.is_set():
            try:
                tester.step(BLOCK_SECONDS)
            except StateUnavailable as error:
                _log.warning("subscription_tests_state_unavailable", error=str(error))
                stop.wait(_AFTER_STATE_ERROR_SECONDS)
            except Exception:  # noqa: BLE001 - the lanes and the process continue
                _log.exception("subscription_tests_failed")
                stop.wait(_AFTER_STATE_ERROR_SECONDS)

    return [threading.Thread(target=run, daemon=True, name="tests")]
