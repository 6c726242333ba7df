"""The bridge's own queues stay its own, and its broker is not its state."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import queues
from bridge.errors import ConfigError
from bridge.services import load
from bridge.settings import Settings

SAME = [
    ("redis://localhost:6379/0", "redis://127.0.0.1"),
    ("redis://h/1", "redis://:secret@H:6379/1"),
    ("redis://h?db=2", "rediss://h:6379/2"),
    ("unix:///run/r.sock?db=1", "redis+socket:///run/r.sock?virtual_host=1"),
    ("unix:///run/r.sock", "redis+socket:///run/r.sock"),
    ("amqp://guest:guest@h//", "amqp://h:5672"),
    ("amqp://a//;amqp://h//", "amqp://h:5672;amqp://c"),
]
DIFFERENT = [
    ("redis://h/0", "redis://h/1"),
    ("redis://h:6379/0", "redis://h:6380/0"),
    ("redis://h/0", "redis://other/0"),
    ("unix:///run/r.sock?db=1", "redis+socket:///run/r.sock?virtual_host=2"),
    ("amqp://h/one", "amqp://h/two"),
    ("amqp://a;amqp://b", "amqp://c;amqp://d"),
    ("amqp://h//", "redis://h:5672/"),
    ("redis://h:port/0", "unused"),
    ("unused", "unused"),
]


@pytest.mark.parametrize(
    ("first", "other", "same"), [*((*pair, True) for pair in SAME), *((*pair, False) for pair in DIFFERENT)]
)
def test_addresses_are_compared_by_what_they_lead_to(first: str, other: str, same: bool) -> None:
    assert queues.same_server(first, other) is same
    assert queues.same_server(other, first) is same


def read(directory: Path, subscription: str, *, state: str = "redis://h/0", broker: str = "redis://h/1") -> object:
    file = directory / "bridge.yaml"
    file.write_text(
        f'demo: true\nbridge: {{name: acme, state: "{state}", broker: "{broker}"}}\n'
        f"sources: {{}}\nsubscriptions: {{one: {{{subscription}}}}}\n"
    )
    return load(Settings(config=file))


@pytest.mark.parametrize("queue", [queues.WORKER, queues.RECEIPTS])
@pytest.mark.parametrize("transport", ["transport: celery, task: t", "transport: kombu"])
@pytest.mark.parametrize("broker", ["", ', broker: "redis://h:6379/1"'])
def test_a_subscription_cannot_have_a_queue_that_the_bridge_reads(
    tmp_path: Path, queue: str, transport: str, broker: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f'{transport}, queue: "{queue}"{broker}')
    (problem,) = caught.value.problems
    assert "subscriptions.one.queue: " in problem
    assert "is read by the bridge itself. Remedy: " in problem


def test_on_another_broker_these_names_are_the_receivers_own(tmp_path: Path) -> None:
    assert read(tmp_path, 'transport: celery, task: t, queue: attempt-bridge, broker: "redis://h/5"')


def test_a_broker_in_the_database_of_the_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bridge\.broker: is the same Redis database as the state"):
        read(tmp_path, "transport: kombu, queue: q", broker="redis://h:6379/0")
