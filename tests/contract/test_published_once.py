"""Every vendor through the whole bridge: whatever comes how often by whichever path, each result is published once."""

from __future__ import annotations

import pytest

from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Record
from tests.support.contract.capabilities import GUIDE
from tests.support.contract.checked import fail
from tests.support.contract.engine import SOURCE, TOKEN, Bridge
from tests.support.contract.stage import Clock, connect, contract_of

#: A changed result is published within so many days, whatever the vendor tells of it.
REVISED_WITHIN_DAYS = 15


@pytest.fixture
def bridge(stage, variant_state):
    return Bridge(stage, variant_state)


def request_about(stage, attempt_id):
    """The webhook about an attempt as it is now; None if the vendor sends none."""
    return None if stage.vendor.split is None else stage.bench.webhook(attempt_id)


def arrive(bridge, request):
    """A webhook comes and is worked off; without webhooks, a poll."""
    if request is None:
        bridge.read()
    else:
        bridge.post(*request)
        bridge.work()


@pytest.mark.needs("split")
def test_an_attempt_that_comes_by_both_paths_is_published_once(bridge, stage, stream):
    first, second = (stage.finish(stream, stage.clock.now - seconds) for seconds in (90, 60))

    assert bridge.push(first)[0] == 200
    bridge.work()
    assert ("completed", first) in bridge.published()
    bridge.read()
    assert bridge.push(second)[0] == 200
    bridge.work()
    bridge.read()

    assert sorted(bridge.published()) == sorted([("completed", first), ("completed", second)])


@pytest.mark.needs("split")
def test_a_request_that_is_replayed_is_one_event(bridge, stage):
    attempt_id = stage.finish(stage.stream, stage.clock.now - 60)
    request = stage.bench.webhook(attempt_id)

    for _ in range(3):
        assert bridge.post(*request)[0] == 200
        bridge.work()
        stage.clock.now += 30

    assert bridge.published() == [("completed", attempt_id)]


@pytest.mark.needs("grade")
def test_grading_is_exactly_one_revision_and_old_copies_are_none(bridge, stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 60, graded=False)
    old = request_about(stage, attempt_id)
    arrive(bridge, old)
    assert bridge.published() == [("completed", attempt_id)]

    stage.bench.grade(attempt_id)
    bridge.live(2, until=lambda: len(bridge.published()) > 1)
    arrive(bridge, old)
    bridge.live(1)

    assert bridge.published() == [("completed", attempt_id), ("revised", attempt_id)]
    [before, after] = bridge.events()
    assert after["data"]["result"]["grading"] == "final"
    assert after["data"]["result"]["previous"]["grading"] == before["data"]["result"]["grading"]


@pytest.mark.needs("revise")
def test_a_later_change_is_exactly_one_revision_and_old_copies_are_none(bridge, stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 7_200)
    old = request_about(stage, attempt_id)
    arrive(bridge, old)
    bridge.read()
    assert bridge.published() == [("completed", attempt_id)]

    stage.clock.now += 3_600
    stage.bench.revise(attempt_id, int(stage.clock.now) - 60)
    bridge.live(REVISED_WITHIN_DAYS, until=lambda: len(bridge.published()) > 1)
    arrive(bridge, old)
    bridge.live(1)

    assert bridge.published() == [("completed", attempt_id), ("revised", attempt_id)]


@pytest.mark.needs("retake")
def test_a_retake_is_an_attempt_of_its_own(bridge, stage, stream):
    first = stage.finish(stream, stage.clock.now - 7_200)
    arrive(bridge, request_about(stage, first))
    second = stage.retake(first, stage.clock.now - 60)
    arrive(bridge, request_about(stage, second))
    bridge.read()

    assert bridge.published() == [("completed", first), ("completed", second)]


@pytest.mark.needs("expect")
def test_an_expected_attempt_is_found_without_a_webhook(bridge, stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 60)

    bridge.expect()
    bridge.work()

    if not bridge.published():
        fail(stage.vendor, f"`recheck` of an expectation finds nothing of {attempt_id}", "client.py", "recheck")
    assert bridge.published() == [("completed", attempt_id)]
    assert bridge.services.expectations.list(SOURCE) == ()


@pytest.mark.needs("split")
def test_a_webhook_about_an_attempt_of_another_account_publishes_nothing(bridge, stage):
    """Also if it is signed with the secret of this source, as where two accounts share one."""
    another = stage.another()
    foreign = another.bench.webhook(another.finish(stage.stream, stage.clock.now - 60))
    reading = stage.vendor.split(parse(foreign[0]), stage.options)
    if any(isinstance(item, Record) for item in reading):
        reason = f"tests for webhooks that only point to a result; not needed here ({GUIDE}#pointer)"
        pytest.skip(f"{stage.vendor.name}: {reason}")

    assert bridge.post(*foreign)[0] == 200
    bridge.work()
    bridge.live(1)

    assert bridge.published() == []


@pytest.mark.needs("split", "elsewhere", "restricted")
def test_a_webhook_about_what_the_operator_left_out_publishes_nothing(stage, variant_state):
    stage.options = {**stage.options, **stage.bench.restricted}
    bridge = Bridge(stage, variant_state)
    wanted, other = stage.finish(stage.stream, stage.clock.now - 90), stage.bench.elsewhere(int(stage.clock.now) - 60)

    for attempt_id in (other, wanted):
        assert bridge.push(attempt_id)[0] == 200
        bridge.work()
    bridge.live(1)

    assert bridge.published() == [("completed", wanted)]


@pytest.mark.needs("contract.py", "polls", "spoil")
def test_a_row_that_cannot_be_read_is_quarantined_alone(vendor, state):
    stage = connect(vendor, next(iter(contract_of(vendor).VARIANTS.values())), Clock())
    bridge = Bridge(stage, state)
    finished = [stage.finish(stage.stream, stage.clock.now - 600 * number) for number in range(7, 0, -1)]
    spoiled = {finished[1], finished[-1]}
    for attempt_id in spoiled:
        stage.bench.spoil(attempt_id)

    for _ in range(2):
        bridge.poll()
        stage.clock.now += 600.0

    assert {subject for _, subject in bridge.published()} == set(finished) - spoiled
    assert bridge.services.quarantine.size() == len(spoiled)
    position = bridge.services.cursors.position(SOURCE, stage.stream)
    assert (position.faults, position.resume) == (0, None)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN.upper()])
def test_without_a_signature_the_address_needs_its_token(bridge, unsigned, token):
    request = unsigned.bench.webhook(unsigned.finish(unsigned.stream, unsigned.clock.now - 60))

    assert bridge.post(*request, token=token) == (404, "")
    bridge.work()
    assert bridge.published() == []


def test_a_tampered_or_unsigned_request_is_refused_and_publishes_nothing(bridge, signed):
    raw, headers = signed.bench.webhook(signed.finish(signed.stream, signed.clock.now - 60))
    tampered = raw[:-1] + bytes([raw[-1] ^ 1])
    unsigned = {name: value for name, value in headers.items() if name.lower() not in signed.bench.sign(raw, "x")}

    assert bridge.post(tampered, headers) == (401, "")
    assert bridge.post(raw, unsigned) == (401, "")
    bridge.work()
    assert bridge.published() == []


def test_a_secret_is_rotated_without_losing_a_webhook(signed, variant_state):
    bridge = Bridge(signed, variant_state, secrets=("new-phrase", "old-phrase"))
    new, old, third = (signed.finish(signed.stream, signed.clock.now - seconds) for seconds in (90, 60, 30))
    statuses = []
    for attempt_id, secret in ((new, "new-phrase"), (old, "old-phrase"), (third, "third-phrase")):
        raw, headers = signed.bench.webhook(attempt_id)
        lower = {name.lower(): value for name, value in headers.items()}
        statuses.append(bridge.post(raw, lower | dict(signed.bench.sign(raw, secret)))[0])
    bridge.work()

    assert statuses == [200, 200, 401]
    assert set(bridge.published()) == {("completed", new), ("completed", old)}
