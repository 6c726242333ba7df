"""Every vendor whose API is in trouble for some calls: nothing is missed, and no round is endless."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest

from bridge.errors import VendorFault
from tests.support.contract.checked import fail
from tests.support.contract.engine import Bridge
from tests.support.contract.stage import Clock, Stage, connect, contract_of
from tests.support.contract.wire import Facts, calls_over, wsgi

pytestmark = pytest.mark.needs("contract.py", "polls")

#: What one call of a round is answered.
TROUBLES = [
    (500, {}, b"oops"),
    (429, {"Retry-After": "30"}, b""),
    (200, {}, b"<html>We are busy</html>"),
    (200, {}, b"{}"),
    (200, {}, b"[]"),
]


@pytest.fixture
def first(vendor) -> Stage:
    """The first variant of a vendor that is polled."""
    return connect(vendor, next(iter(contract_of(vendor).VARIANTS.values())), Clock())


def test_a_call_that_fails_costs_no_result(first, state):
    """Whatever fails is an error of `bridge.errors`, and no cursor moves beyond rows that were not read."""
    bridge, finished = Bridge(first, state), set()
    healthy, failed = bridge.wire, Counter()
    for call in (1, 2):
        for number, answer in enumerate(TROUBLES):
            finished |= {first.finish(first.stream, first.clock.now - 60 * back) for back in range(1, 5)}
            failed[number] += _fails(bridge, healthy, call=call, answer=answer)
            first.clock.now += 120.0
    bridge.wire = healthy
    bridge.poll()

    assert all(failed.values()), "a call was not made"
    assert Counter(bridge.published()) == Counter(("completed", attempt_id) for attempt_id in finished)


def test_an_api_that_ignores_what_it_is_asked_for_does_not_keep_a_round_for_ever(first):
    """Every call of an address gets the first answer of that address, whatever its parameters."""
    for number in range(15):
        first.finish(first.stream, first.clock.now - 9_000 + 600 * number)
    healthy, answers = wsgi(first.bench.wsgi), {}

    def wire(method, path, *rest):
        address = path.partition("?")[0]
        if address not in answers:
            answers[address] = healthy(method, path, *rest)
        return answers[address]

    facts = Facts(name="bench", credentials=first.bench.credentials, options=first.options)
    first.client = first.vendor.connect(facts, calls_over(wire, facts, first.clock))
    poll = first.polls[first.stream]
    cursor = first.start(first.stream, first.clock.now - 86_400)
    with suppress(VendorFault):
        for _ in range(50):
            page = poll.fetch(first.client, cursor)
            if not page.more:
                return
            cursor = page.cursor
        fact = "the same rows were read 50 times. Raise VendorFault with reason loop for a page that comes again"
        fail(first.vendor, fact, "client.py", "fetch")


def _fails(bridge: Bridge, healthy, *, call: int, answer) -> bool:
    """Whether a poll made so many calls, of which the last one was answered so."""
    made = 0

    def wire(*request):
        nonlocal made
        made += 1
        return answer if made == call else healthy(*request)

    bridge.wire = wire
    bridge.poll()
    return made >= call
