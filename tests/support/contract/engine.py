"""The whole bridge around one bench, in one process: the web application, the workers' functions, the journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis
from flask.testing import FlaskClient

from bridge.config.model import BridgeConfig, Config, PollConfig, Source, WebhookConfig
from bridge.net.signatures import sha256_hex
from bridge.quota.windows import Window
from bridge.services import Services
from bridge.settings import Settings
from bridge.web import create_app
from bridge.web.gate import Gate
from schemas.event import COMPLETED, REVISED, VOIDED
from tests.support.clients import clients_over
from tests.support.contract.stage import Stage
from tests.support.contract.wire import BASE_URL, Wire, session_over, wsgi
from tests.support.partitions import entries
from workers.polling.poll import PollReport, poll_once
from workers.polling.recheck import recheck

__all__ = ["SOURCE", "TOKEN", "Bridge", "Killed"]

SOURCE = "eu-bench"
TOKEN = "an-invented-last-segment-of-the-address"
DAY = 86_400.0


class Killed(BaseException):
    """Nothing of ours may catch it: the process is gone."""


class Bridge:
    """One source whose vendor is the stage's bench. `wire`: what its calls go through instead of a socket.

    Everything that only one process knows is built anew by `restart`.
    """

    def __init__(
        self,
        stage: Stage,
        state: redis.Redis,
        *,
        secrets: tuple[str, ...] = (),
        window: Window | None = None,
    ) -> None:
        self.stage, self.state = stage, state
        self.wire: Wire = wsgi(stage.bench.wsgi)
        self.config = _config(stage, secrets, window)
        self.restart()

    def restart(self) -> None:
        self.services = self.process()
        self._web: FlaskClient | None = None

    def process(self) -> Services:
        """What another process of the same bridge works with."""
        return Services(
            settings=Settings(),
            config=self.config,
            vendors={self.stage.vendor.name: self.stage.vendor},
            state_url="redis://unused.invalid/0",
            broker_url="redis://unused.invalid/1",
            clients=clients_over(self.state, lambda: session_over(lambda *call: self.wire(*call))),
            now=self.stage.clock,
        )

    @property
    def web(self) -> FlaskClient:
        """The web application, built when first needed: most restarts are those of workers."""
        if self._web is None:
            # API and dashboard are not called here, and making them takes longer than all the rest of an application.
            with patch("bridge.web.register_api"), patch("bridge.web.register_ui"):
                self._web = create_app(self.services, gate=Gate(lambda: None)).test_client()
        return self._web

    # What the world does ------------------------------------------------------------------------------------------

    def post(self, raw: bytes, headers: Mapping[str, str], token: str | None = TOKEN) -> tuple[int, str]:
        """A webhook comes in; the status and the outcome that the vendor is told."""
        segment = f"/{token}" if token is not None and self.stage.vendor.verify is None else ""
        answer = self.web.post(f"/webhooks/{SOURCE}{segment}", data=raw, headers=dict(headers))
        return answer.status_code, (answer.get_json() or {}).get("outcome", "")

    def push(self, attempt_id: str) -> tuple[int, str]:
        """The webhook about an attempt as it is now comes in."""
        return self.post(*self.stage.bench.webhook(attempt_id))

    def work(self) -> None:
        """Every recheck that is due."""
        while (report := recheck(self.services, SOURCE)).outcome == "done" and report.rechecks:
            assert report.error is None, report.error

    def poll(self) -> PollReport:
        return poll_once(self.services, SOURCE)

    def read(self) -> None:
        """The path without webhooks: a poll, or rechecks of what operators expect; then every recheck that is due."""
        if self.stage.stream:
            report = self.poll()
            assert [poll_round.error for poll_round in report.rounds if poll_round.error] == []
        else:
            self.expect()
        self.work()

    def expect(self) -> None:
        """An operator expects every attempt that the bench has finished."""
        vendor, now, options = self.stage.vendor, self.stage.clock.now, self.stage.options
        pointers = [
            vendor.expect(self.stage.bench.expectation(attempt_id), options) for attempt_id in self.stage.finished
        ]
        self.services.expectations.expect(SOURCE, pointers, label=None, due=now, deadline=now + DAY, now=now)

    def live(self, days: float, until: Callable[[], bool] = lambda: False) -> None:
        """Time goes on, and the workers recheck and poll whenever there is something to do; at most until something is
        so."""
        end = self.stage.clock.now + days * DAY
        while self.stage.clock.now < end and not until():
            self.stage.clock.now += DAY / 4
            if self.stage.stream:
                self.poll()
            self.work()

    # What there is to see -----------------------------------------------------------------------------------------

    def events(self) -> list[dict[str, Any]]:
        """Everything about attempts in the journal, in order."""
        events = [json.loads(fields[b"event"]) for _, fields in entries(self.state)]
        return [event for event in events if event["type"] in (COMPLETED, REVISED, VOIDED)]

    def published(self) -> list[tuple[str, str]]:
        """(type without its first word, attempt id) of everything in the journal about attempts, in order."""
        return [(event["type"].partition(".")[2], event["subject"]) for event in self.events()]


def _config(stage: Stage, secrets: tuple[str, ...], window: Window | None) -> Config:
    vendor, quota = stage.vendor, stage.vendor.quota
    credentials = dict(stage.bench.credentials)
    if secrets:
        credentials[vendor.secret_credential] = secrets
    source = Source(
        name=SOURCE,
        vendor=vendor.name,
        base_url=BASE_URL,
        credentials=credentials,
        webhook=WebhookConfig(
            enabled=vendor.split is not None,
            token_sha256=(sha256_hex(TOKEN),) if vendor.split and vendor.verify is None else (),
        ),
        poll=PollConfig(look_back=2 * DAY),
        budget=window or Window(1_000_000, quota.per_seconds),
        options=stage.options,
    )
    return Config(
        path=Path("bridge.yaml"),
        bridge=BridgeConfig(name="acme", public_url="https://bridge.example.test"),
        sources={SOURCE: source},
        subscriptions={},
    )
