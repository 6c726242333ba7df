"""A simulated ClassMarker account and a bridge that receives and polls it, over real HTTP."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from itertools import count

from werkzeug.wrappers import Request as WsgiRequest
from werkzeug.wrappers import Response

from bridge.config.model import PollConfig
from bridge.errors import BadSignature
from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.polling.vendor_http import vendor_session
from bridge.sdk.simulator import Faults
from bridge.vendors.classmarker import VENDOR
from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from tests.support.polling import journal_events, make_services, with_source
from tests.support.servers import serving
from tests.support.waiting import until

NAME = "eu-little"
NO_FAULTS = Faults()


class World:
    """A simulated account and a bridge that receives and polls it; time runs, and can be moved on."""

    def __init__(self, state, *, options=None, faults=NO_FAULTS, **behaviour):
        self.ahead = 0.0
        self.simulator = Simulator(
            11, self.now, webhook_secret="phrase", faults=faults, behaviour=Behaviour(**behaviour)
        )
        services = make_services(
            state,
            VENDOR,
            self.now,
            poll=PollConfig(every=300, overlap=600, look_back=7 * 86_400),
            vendor_session=vendor_session,
        )
        credentials = {
            "api_key": (self.simulator.api_key,),
            "api_secret": (self.simulator.api_secret,),
            "webhook_secret": ("new-phrase", "phrase"),
        }
        self.services = with_source(services, credentials=credentials, options=options or {})
        self.state = state
        self.received = Counter()
        self._numbers = count()
        self._lock = threading.Lock()

    def now(self):
        return time.time() + self.ahead

    @WsgiRequest.application
    def webhooks(self, http):
        headers = {name.lower(): value for name, value in http.headers.items()}
        request = WebhookRequest(
            id=f"r{next(self._numbers)}", body=http.get_data(), headers=headers, kept_headers={}, received_at=self.now()
        )
        try:
            outcome = receive(self.services.ingest_context(NAME), request).outcome
        except BadSignature:
            return Response(status=401)
        with self._lock:
            self.received[outcome] += 1
        return Response(status=200)

    @property
    def events(self):
        return journal_events(self.state)


@contextmanager
def running(world):
    """API and webhooks are served while this lasts."""
    with serving(world.simulator.wsgi) as api, serving(world.webhooks) as hook:
        world.services = with_source(world.services, base_url=api)
        world.simulator.start_webhooks(hook)
        try:
            yield
        finally:
            world.simulator.stop()


def settle(world):
    """Wait until every webhook has been sent or lost."""
    until(lambda: not world.simulator.webhooks_pending())
