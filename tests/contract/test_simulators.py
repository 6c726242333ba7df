"""Every vendor's simulator as demos and simulations use it: repeatable, its webhooks are sent, everything ends."""

from __future__ import annotations

import pytest
from werkzeug.wrappers import Request, Response

from bridge import registry
from bridge.sdk.simulator import NO_FAULTS, Faults
from tests.support.contract.checked import fail
from tests.support.contract.stage import NOW, Clock
from tests.support.servers import serving
from tests.support.waiting import until

pytestmark = pytest.mark.needs("simulator.py")

#: Seconds from the last attempt until nothing is due, at the speed of a demo.
LONGEST = 3_600
ALL_LOST = Faults(lose=1.0)
#: Members of `counts` that demos and simulations read.
COUNTS = {"completed", "lost", "duplicated", "api_calls", "quota_refusals"}


@pytest.fixture
def open_account(vendor):
    def open_(seed: int, clock: Clock, faults: Faults = ALL_LOST):
        module = registry.simulator(vendor.name)
        sandbox = getattr(module, "sandbox", None)
        if sandbox is None:
            fail(vendor, "there is no function `sandbox`", "simulator.py", "simulator.py")
        return sandbox(seed, clock, scale=60.0, faults=faults)

    return open_


def live(simulator, clock: Clock) -> list[str]:
    """Twelve candidates sit, one each second; then time goes on until nothing is due. Webhooks that were not lost are
    delivered: a vendor may exempt those from the faults without which a demo would wait for hours."""
    attempts = []
    for number in range(12):
        clock.now += 1
        attempts.append(simulator.sit(clock.now, candidate=1_000_000 + number))
        simulator.tick(clock.now)
    while not simulator.idle():
        clock.now += 1
        assert clock.now < NOW + LONGEST, "something is still due"
        simulator.tick(clock.now)
        for message in simulator.outbox.take_due():
            simulator.outbox.settle(message, delivered=True)
    return attempts


@pytest.mark.parametrize("faults", [ALL_LOST, Faults(lose=0.3, duplicate=0.3, delay=5, reorder=True)])
def test_every_attempt_and_every_webhook_about_it_is_accounted_for(open_account, vendor, faults):
    clock = Clock()
    simulator = open_account(5, clock, faults)

    attempts = live(simulator, clock)

    truth = simulator.expected()
    assert len(set(attempts)) == len(attempts)
    assert set(attempts) <= set(truth)
    assert all(attempt.versions >= 1 for attempt in truth.values())
    if lacking := COUNTS - simulator.counts().keys():
        fail(vendor, f"`counts` has no {', '.join(sorted(lacking))}", "simulator.py", "simulator.py")
    assert simulator.counts()["completed"] == len(truth)
    assert simulator.counts()["lost"] == sum(attempt.lost for attempt in truth.values())
    assert simulator.outbox.tally()["webhooks_sent"] >= sum(attempt.sent for attempt in truth.values())
    assert faults is ALL_LOST or vendor.split is None or any(attempt.sent for attempt in truth.values())


@pytest.mark.needs("split")
def test_a_refused_webhook_is_sent_again_over_http_with_the_same_bytes(open_account):
    clock, bodies = Clock(), []

    @Request.application
    def refuse_first(request: Request) -> Response:
        bodies.append(request.get_data())
        return Response(status=503 if len(bodies) == 1 else 200)

    def first_came_again() -> bool:
        clock.now += 1
        simulator.tick(clock.now)
        return bodies[1:].count(bodies[0]) > 0 if bodies else False

    simulator = open_account(5, clock, NO_FAULTS)
    simulator.sit(clock.now, candidate=1)
    with serving(refuse_first) as address:
        simulator.start_webhooks(f"{address}/webhooks/source")
        until(first_came_again)
        simulator.stop()

    assert simulator.outbox.tally()["webhooks_refused"] == 1
    assert simulator.outbox.tally()["webhooks_sent"] == len(bodies) - 1


@pytest.mark.parametrize("faults", [ALL_LOST, Faults(lose=0.5, duplicate=0.3, delay=5, reorder=True)])
def test_the_same_seed_has_the_same_history_and_another_seed_another(open_account, faults):
    def history(seed: int):
        clock = Clock()
        simulator = open_account(seed, clock, faults)
        live(simulator, clock)
        return dict(simulator.expected()), simulator.expectations(), dict(simulator.counts())

    assert history(5) == history(5)
    assert history(5) != history(6)


def test_what_is_expected_of_operators_is_understood_by_the_vendor(open_account, vendor):
    clock = Clock()
    simulator = open_account(5, clock)
    live(simulator, clock)
    options = {name: option.default for name, option in vendor.options.items()} | dict(simulator.options)

    if simulator.expectations() and vendor.expect is None:
        fail(vendor, "`expectations` has references, and the vendor has no `expect`", "simulator.py", "expect")
    for reference in simulator.expectations():
        pointer = vendor.expect(reference, options)
        assert pointer.key
        assert set(reference) <= set(vendor.reference_help)
    assert simulator.expectations() or vendor.polls
    assert set(simulator.credentials) == set(vendor.credentials)
    for name, value in simulator.credentials.items():
        if not isinstance(value, str) and not vendor.credentials[name].many:
            fail(vendor, f"`credentials` has several values of {name}", "simulator.py", "simulator.py")
