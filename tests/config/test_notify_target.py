"""Subscriptions of transport `notify` in bridge.yaml: what is accepted, what each problem says, what is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import loader
from bridge.config.description import describe
from bridge.config.model import Config
from bridge.config.notify_target import shown_service
from bridge.errors import ConfigError

Read = Callable[..., Config]
GUIDE = (Path(__file__).parents[2] / "docs/outputs-notify.md").read_text()
HOOK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_members(members: str) -> Config:
        file = tmp_path / "bridge.yaml"
        file.write_text(
            "bridge: {name: acme, public_url: 'https://bridge.example.org'}\n"
            f"subscriptions: {{ops: {{transport: notify, {members}}}}}\n"
        )
        (tmp_path / "hook").write_text(HOOK)
        return loader.read(file, vendors={}, environment={"SLACK": "slack://T1/B1/C1", "PW": "hunter2", "BAD": "hook"})

    return from_members


def test_a_chat_gets_alarms_and_overdue_attempts_and_no_names_unless_asked(read: Read) -> None:
    subscription = read("urls: ['${SLACK}', {file: hook}]").subscriptions["ops"]
    assert subscription.urls == ("slack://T1/B1/C1", HOOK)
    assert subscription.filter.takes_header("source.poll_failing", "eu")
    assert subscription.filter.takes_header("subscription.disabled", "subscriptions/x")
    assert subscription.filter.takes_header("attempt.overdue", "eu")
    assert not subscription.filter.takes_header("attempt.completed", "eu")
    assert (subscription.data, subscription.digest, subscription.rate) == ("minimal", None, None)
    assert subscription.public_url == "https://bridge.example.org"
    asked = read("urls: ['${SLACK}'], filter: {types: ['attempt.*'], sources: ['x-*']}, data: full").subscriptions[
        "ops"
    ]
    assert (asked.filter.types, asked.data) == (("attempt.*",), "full")


def test_what_is_shown_has_no_token(read: Read) -> None:
    config = read("urls: ['${SLACK}', {file: hook}], digest: 1h, rate: {events: 5, per: 1m}")
    shown = describe(config)["subscriptions"]["ops"]
    assert shown["urls"] == ["slack://****", "https://hooks.slack.com/****"]
    assert (shown["digest"], shown["rate"]) == ("1h", {"events": 5, "per": "1m"})
    assert "public_url" not in shown
    assert "T1JJ3T3L2" not in repr(config.subscriptions) + str(shown)
    assert shown_service("mailtos://bridge:hunter2@mail.example.org?to=a@b") == "mailtos://****"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("digest: 1h", "urls: missing: transport notify needs it"),
        ("urls: []", "urls: is empty. Remedy: name a service"),
        ("urls: ['slack://a/b/c']", "urls[0]: a secret must not be in this file. Remedy: write ${ENV_NAME}"),
        ("urls: ['${BAD}']", "urls[0]: is not the address of a service, such as slack://"),
        ("urls: ['${SLACK}'], digest: 2d", "digest: 2d is out of range; 1m to 1d is allowed"),
        ("urls: ['${SLACK}'], concurrency: 3", "concurrency: belongs to transport http, not to notify"),
        ("urls: ['${SLACK}'], templates: {source.x: {title: a}}", '"source.x" is not an event type.'),
        (
            "urls: ['${SLACK}'], templates: {source.*: {titel: a}}",
            "templates.source.*.titel: unknown key. Did you mean",
        ),
        ("urls: ['${SLACK}'], templates: {digest: {}}", "templates.digest: must be a section with `title`, `body`"),
        (
            "urls: ['${SLACK}'], templates: {source.*: {body: '{{ range(9) }}'}}",
            "templates.source.*.body: is not a valid template: line 1: a call is not available",
        ),
        (
            "urls: ['${SLACK}'], templates: {source.*: {body: '{{ data.alarm.fct }}'}}",
            "no attribute 'fct' (tried with an invented source.webhooks_silent)",
        ),
        (
            "urls: ['${SLACK}'], data: [result.passed], filter: {types: [attempt.completed]}, "
            "templates: {attempt.*: {body: '{{ data.candidate.name }}'}}",
            "no attribute 'candidate' (tried with an invented attempt.completed)",
        ),
        ("urls: ['${SLACK}'], templates: {digest: {title: '{{ cuont }}'}}", "'cuont' is undefined"),
    ],
)
def test_each_problem_is_one_line_with_its_place(read: Read, members: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(members)
    (problem,) = refused.value.problems
    assert said in problem
    assert "\n" not in problem
    assert "slack://T1" not in problem


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL))
def test_each_example_of_the_guide_is_accepted(example: str, tmp_path: Path) -> None:
    if not example.startswith("subscriptions:"):
        example = "subscriptions:\n  ops:\n    transport: notify\n    urls: ['${OPS_SLACK_URL}']\n" + example
    file = tmp_path / "bridge.yaml"
    file.write_text("bridge: {name: acme, public_url: 'https://bridge.example.org'}\n" + example)
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)\}", example), "slack://T1/B1/C1")
    config = loader.read(file, vendors={}, environment=environment)
    assert {each.transport for each in config.subscriptions.values()} == {"notify"}


def test_events_are_kept_longer_than_a_digest_gathers_them(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(
        "bridge: {name: acme, public_url: 'https://b.example.org', retention: {events: 12h}}\n"
        "subscriptions: {ops: {transport: notify, urls: ['${SLACK}'], digest: 1d, retry: {schedule: [5s]}}}\n"
    )
    with pytest.raises(ConfigError, match="12h is shorter than the tries of subscription ops"):
        loader.read(file, vendors={}, environment={"SLACK": "slack://T1/B1/C1"})
