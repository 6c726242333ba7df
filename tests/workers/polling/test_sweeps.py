"""A stream that is read once a day: a round that reads nothing does not use up the day."""

from __future__ import annotations

from dataclasses import replace

import redis

from bridge.errors import VendorUnavailable
from tests.support.polling import DAY, START, Api, Sitting, make_services, make_vendor
from workers.polling.poll import poll_once

NAME = "eu-little"


def test_a_daily_sweep_whose_first_call_fails_is_repeated_at_the_next_poll(fake_state: redis.Redis) -> None:
    moment = [START]
    api = Api(lambda: moment[0])
    api.add(Sitting("one", START - 60))

    def fails(number: int) -> None:
        if number <= 2:
            raise VendorUnavailable("HTTP 503")

    api.before = fails
    vendor = make_vendor(api)
    daily = replace(vendor.polls["results"], sweep=lambda _options: DAY, every=DAY)
    services = make_services(fake_state, replace(vendor, polls={"results": daily}), lambda: moment[0])
    rounds = []
    for _ in range(5):
        rounds.append(poll_once(services, NAME, not_within=240).outcome)
        moment[0] += 300
    assert rounds == ["cut_short", "cut_short", "done", "fresh", "fresh"]
    moment[0] += DAY
    assert poll_once(services, NAME, not_within=240).outcome == "done"
