"""What a number of attempts a day needs: the calculation, and its constants against a real state server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from bridge.config.kept import Kept
from bridge.config.model import BridgeConfig, Retention
from bridge.config.schemas import BridgeSchema
from bridge.journal import capacity as module
from bridge.journal.capacity import ONE_SERVER_BYTES, Capacity, Load, capacity, gigabytes
from bridge.state import keys
from bridge.text import parse_duration
from bridge.web import create_app
from bridge.web.gate import Gate
from tests.support.web import result, services_over, sign

DAY = 86_400.0
LOADS = st.builds(
    Load,
    per_day=st.integers(1, 10**9),
    peak_share=st.floats(1 / 24, 1),
    subscriptions=st.integers(0, 50),
    retention=st.builds(
        Retention, events=st.floats(60, 365 * DAY), requests=st.floats(60, 90 * DAY), deliveries=st.floats(60, 90 * DAY)
    ),
    remember_attempts=st.floats(DAY, 3650 * DAY),
)


def sizes(estimate: Capacity) -> dict[str, int]:
    return {stored.kind: stored.size for stored in estimate.stored}


def test_ten_million_a_day_with_the_defaults() -> None:
    estimate = capacity(Load(per_day=10_000_000))
    assert sizes(estimate) == {
        "events": 300_000_000 * 1800,
        "requests": 70_000_000 * 1800,
        "remembered attempts": 1_800_000_000 * 48,
        "deliveries": 30_000_000 * 226,
    }
    assert estimate.peak == pytest.approx(694.4, abs=0.1)
    assert estimate.cores == pytest.approx(
        {"web": 0.388, "state server": 0.177, "worker": 0.078, "dispatch": 0.138}, abs=1e-3
    )
    assert estimate.all_cores == 2


def test_the_defaults_are_those_of_the_configuration() -> None:
    config = BridgeConfig(name="acme", public_url="https://bridge.example.org")
    for planned in (Load(per_day=1), Kept()):
        assert (planned.retention, planned.remember_attempts) == (config.retention, config.remember_attempts)


def test_each_subscription_gets_every_event() -> None:
    single, triple = (capacity(Load(per_day=1_000_000, subscriptions=number)) for number in (1, 3))
    assert sizes(triple)["deliveries"] == 3 * sizes(single)["deliveries"]
    assert triple.cores["dispatch"] == pytest.approx(3 * single.cores["dispatch"])
    assert triple.cores["web"] == single.cores["web"]


@given(LOADS)
def test_whoever_keeps_what_is_advised_needs_one_server_or_is_told_that_it_is_still_too_much(load: Load) -> None:
    estimate = capacity(load)
    if estimate.state_bytes <= ONE_SERVER_BYTES:
        assert [line.partition(":")[0] for line in estimate.advice] == ["one state server is enough"]
        return
    retention, remember = load.retention, load.remember_attempts
    for line in estimate.advice:
        if line.startswith("set bridge."):
            key, kept = line.removeprefix("set bridge.").split(" (")[0].split(": ")
            if key == "remember_attempts":
                remember = parse_duration(kept)
            else:
                retention = replace(retention, **{key.removeprefix("retention."): parse_duration(kept)})
    advised = replace(load, retention=retention, remember_attempts=remember)
    rest = capacity(advised).state_bytes
    # Counts are rounded up to whole entries.
    assert rest <= ONE_SERVER_BYTES + 4 * 1800 or "still" in estimate.advice[-1]
    assert rest > ONE_SERVER_BYTES - 4 * 1800 or "still" not in estimate.advice[-1]


@given(LOADS)
def test_one_server_is_enough_up_to_the_number_that_is_named(load: Load) -> None:
    estimate = capacity(load)
    if estimate.most_per_day < 1:
        return
    most = capacity(replace(load, per_day=estimate.most_per_day))
    assert most.state_bytes <= ONE_SERVER_BYTES + 4 * 1800
    assert capacity(replace(load, per_day=2 * estimate.most_per_day + 2)).state_bytes > ONE_SERVER_BYTES


@given(LOADS)
def test_a_cluster_is_the_smallest_whose_primaries_have_no_more_than_one_server_should_and_as_many_partitions_each(
    load: Load,
) -> None:
    estimate = capacity(load)
    cluster, size = estimate.cluster, estimate.state_bytes
    if cluster is None:
        assert size <= ONE_SERVER_BYTES or size > 64 * ONE_SERVER_BYTES
        assert ("a cluster, or keep less" in estimate.advice[0]) is False
        return
    assert cluster.primaries * cluster.state_bytes >= size
    assert cluster.state_bytes <= ONE_SERVER_BYTES
    least = 3
    assert cluster.primaries >= least
    assert cluster.primaries == least or size > (cluster.primaries - 1) * ONE_SERVER_BYTES
    assert cluster.partitions % cluster.primaries == 0
    assert 3 <= cluster.partitions <= 64
    assert cluster.partitions == 4 * cluster.primaries or cluster.partitions > 64 - cluster.primaries
    assert "Remedy: a cluster, or keep less" in estimate.advice[0]


def test_what_is_advised_for_a_cluster_is_a_number_that_may_be_configured() -> None:
    cluster = capacity(Load(per_day=10_000_000)).cluster
    assert cluster is not None
    assert (cluster.primaries, cluster.partitions, cluster.state_bytes) == (24, 48, 31_632_500_000)
    schema = BridgeSchema().fields["partitions"]
    schema.deserialize(64)
    with pytest.raises(ValidationError):
        schema.deserialize(65)


def test_sizes_are_rounded_up() -> None:
    texts = {1: "1 MB", 50_000_001: "51 MB", 99_999_999: "100 MB", 1e8: "0.1 GB", 7.51e9: "7.6 GB", 10.2e9: "11 GB"}
    assert {size: gigabytes(size) for size in texts} == texts
    assert gigabytes(1.5e12) == "1,500 GB"


@pytest.mark.usefixtures("starts_servers")
def test_events_requests_and_attempts_take_no_more_memory_than_is_calculated(
    tmp_path: Path, empty_state: Callable[[], redis.Redis]
) -> None:
    """And no less than half or a third of it: a constant that is far too large would buy machines that nobody needs."""
    number, state = 64, empty_state()
    client = create_app(services_over(tmp_path, state), gate=Gate(lambda: None)).test_client()
    for attempt in range(number):
        body = result(attempt + 1)
        headers = {"X-Classmarker-Hmac-Sha256": sign(body)}
        assert (
            client.post("/webhooks/eu", data=body, content_type="application/json", headers=headers).status_code == 200
        )

    def each(key: str) -> float:
        assert state.exists(key), key
        return float(state.memory_usage(key, samples=0) or 0) / number

    event, request = each(keys.journal(0)), each(keys.requests(0))
    assert module.EVENT_BYTES / 2 < event < module.EVENT_BYTES
    assert module.REQUEST_BYTES / 3 < request < module.REQUEST_BYTES
