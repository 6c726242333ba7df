"""Pages and answers with more keys than Lua can unpack: every script takes them, and no source stops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from bridge.quota.budgets import POLL
from bridge.sdk.vendor import Pointer, Record
from bridge.services import Services
from tests.support.polling import DAY, START, Api, Sitting, make_services, make_vendor
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

NAME, MANY = "eu-little", 9_000

pytestmark = pytest.mark.long


def services_of(state: redis.Redis, api: Api, **changes: object) -> Services:
    return make_services(state, replace(make_vendor(api), **changes), lambda: START)  # type: ignore[arg-type]


@pytest.mark.parametrize("sittings", [False, True], ids=["ids", "resits"])
def test_a_page_of_9000_attempts_is_published_while_one_of_them_is_expected(state: redis.Redis, sittings: bool) -> None:
    api = Api(lambda: START, page_size=MANY)
    api.add(*(Sitting(f"{number}", START - 3600 + number % 3000) for number in range(MANY)))
    services = services_of(state, api, sittings=sittings)
    pointer = Pointer(key="a:7", reference={"sitting": "7"})
    services.expectations.expect(NAME, [pointer], label="x", due=START + DAY, deadline=START + 2 * DAY, now=START)

    report = poll_once(services, NAME)

    assert (report.outcome, report.rounds[0].outcomes) == ("done", {"published": MANY})
    assert services.expectations.list(NAME) == ()
    assert services.watches.list(NAME) == ()


@pytest.mark.parametrize("expected", [True, False], ids=["expected", "announced"])
def test_a_schedule_of_9000_candidates_is_watched_after_one_recheck(state: redis.Redis, expected: bool) -> None:
    api = Api(lambda: START)
    api.add(Sitting("other", START - 60))
    candidates = [Pointer(key=f"pair:{number}", reference={"sitting": "other"}) for number in range(MANY)]
    schedule = Pointer(key="?schedule", reference={"schedule": "1"})

    def answer(client: object, reference: dict[str, str]) -> list[Pointer] | list[Record]:
        return candidates if "schedule" in reference else []

    services = services_of(state, api, recheck=answer)
    if expected:
        services.expectations.expect(NAME, [schedule], label="x", due=START, deadline=START + DAY, now=START)
    else:
        services.watches.add_pointers(NAME, [schedule], now=START)

    report = recheck(services, NAME, limit=1)

    assert (report.outcome, report.rechecks, report.error) == ("done", 1, None)
    assert len(services.watches.list(NAME)) == MANY + 1
    assert services.budgets.status(NAME, services.config.sources[NAME].budget, START).spenders.get(POLL) is None
