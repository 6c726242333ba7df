"""Every vendor's simulator as demos and simulations use it: repeatable, and its candidates come to an end."""

from __future__ import annotations

from importlib import import_module

import pytest

from bridge.sdk.simulator import Faults
from tests.support.contract.stage import NOW, Clock, module_of

#: Of a sitting, until nothing of it is to follow, at the speed of a demo.
LONGEST = 3_600
MUTE = Faults(lose=1.0)


@pytest.fixture
def open_account(vendor):
    def open_(seed: int, clock: Clock):
        return import_module(f"{module_of(vendor)}.simulator").sandbox(seed, clock, scale=60.0, faults=MUTE)

    return open_


def live(simulator, clock: Clock) -> list[str]:
    """Twelve candidates sit, one each second; then time goes on until nothing is to follow. A vendor may spare webhooks
    from the faults without which a demo would wait for hours; these are delivered."""
    attempts = []
    for number in range(12):
        clock.now += 1
        attempts.append(simulator.sit(clock.now, candidate=1_000_000 + number))
        simulator.tick(clock.now)
    while not simulator.idle():
        clock.now += 1
        assert clock.now < NOW + LONGEST, "it never comes to an end"
        simulator.tick(clock.now)
        for message in simulator.outbox.take_due():
            simulator.outbox.settle(message, delivered=True)
    return attempts


def test_candidates_sit_and_nothing_of_it_is_forgotten(open_account):
    clock = Clock()
    simulator = open_account(5, clock)

    attempts = live(simulator, clock)

    truth = simulator.expected()
    assert len(set(attempts)) == len(attempts)
    assert set(attempts) <= set(truth)
    assert all(one.versions >= 1 for one in truth.values())
    assert simulator.counts()["completed"] == len(truth)
    assert simulator.counts()["lost"] == sum(one.lost for one in truth.values())


def test_one_seed_is_one_history_and_another_is_another(open_account):
    def history(seed: int):
        clock = Clock()
        simulator = open_account(seed, clock)
        live(simulator, clock)
        return dict(simulator.expected()), simulator.expectations()

    assert history(5) == history(5)
    assert history(5) != history(6)


def test_what_is_expected_of_operators_is_understood_by_the_vendor(open_account, vendor):
    clock = Clock()
    simulator = open_account(5, clock)
    live(simulator, clock)
    options = {name: option.default for name, option in vendor.options.items()} | dict(simulator.options)

    for reference in simulator.expectations():
        pointer = vendor.expect(reference, options)
        assert pointer.key
        assert set(reference) <= set(vendor.reference_help)
    assert simulator.expectations() or vendor.polls
    assert set(simulator.credentials) == set(vendor.credentials)
