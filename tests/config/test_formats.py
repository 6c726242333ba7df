"""`format` in bridge.yaml: which transports have it, what it needs, and which events it cannot express."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config import loader
from bridge.config.description import describe
from bridge.config.model import Config
from bridge.errors import ConfigError
from schemas.formats import Format

Read = Callable[..., Config]
LRS = "transport: http, url: 'https://lrs.example.org/xAPI/statements'"
BASIC = "authorization: {basic: {user: bridge, password: '${PW}'}}"
SECRETS = "secrets: ['${WHSEC}']"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_members(members: str) -> Config:
        file = tmp_path / "bridge.yaml"
        file.write_text(
            "bridge: {name: acme, public_url: 'https://bridge.example.org', broker: 'redis://broker/1'}\n"
            f"subscriptions: {{one: {{{members}}}}}\n"
        )
        environment = {"PW": "hunter2", "WHSEC": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
        return loader.read(file, vendors={}, environment=environment)

    return from_members


def test_authorization_is_enough_for_an_lrs_and_secrets_sign_as_well(read: Read) -> None:
    config = read(f"{LRS}, format: xapi, {BASIC}")
    assert config.subscriptions["one"].output == Format(name="xapi", base="https://bridge.example.org")
    assert len(read(f"{LRS}, format: xapi, {BASIC}, {SECRETS}").subscriptions["one"].secrets) == 1
    assert read(f"{LRS}, format: caliper, {SECRETS}").subscriptions["one"].output.name == "caliper"
    mine = read(f"{LRS}, format: xapi, {BASIC}, actor: mbox, home_page: 'https://id.example.org'").subscriptions["one"]
    assert (mine.output.actor, mine.output.home_page) == ("mbox", "https://id.example.org")


def test_the_configuration_shows_the_format_and_no_more_than_the_file_has(read: Read) -> None:
    shown = describe(read(f"{LRS}, format: xapi, {BASIC}"))["subscriptions"]["one"]
    assert (shown["format"], shown["actor"]) == ("xapi", "account")
    assert "public_url" not in shown
    plain = describe(read(f"{LRS}, {SECRETS}"))["subscriptions"]["one"]
    assert plain["format"] == "cloudevents"
    assert "actor" not in plain
    assert describe(read("transport: kombu, queue: x, format: caliper"))["subscriptions"]["one"]["format"] == "caliper"
    assert "format" not in describe(read("transport: celery, task: t, queue: x"))["subscriptions"]["one"]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (f"{LRS}, format: tincan, {BASIC}", '"tincan" is not one of cloudevents, xapi, caliper'),
        (f"{LRS}, format: xapi", "authorization: missing: format xapi needs it, or secrets. Remedy: add basic or"),
        (f"{LRS}, format: cloudevents, {BASIC}", "secrets: missing: transport http needs it"),
        (f"{LRS}, format: xapi, {BASIC}, secrets: []", "secrets: is empty"),
        (f"{LRS}, {SECRETS}, actor: mbox", "actor: belongs to format xapi, not to cloudevents. Remedy: remove it"),
        (f"{LRS}, format: caliper, {BASIC}, home_page: 'https://x.example'", "belongs to format xapi, not to caliper"),
        (f"{LRS}, format: xapi, {BASIC}, actor: openid", '"openid" is not one of account, mbox'),
        (f"{LRS}, format: xapi, {BASIC}, home_page: id.example.org", '"id.example.org" is not a home page'),
        ("transport: celery, task: t, queue: x, format: xapi", "format: belongs to transport kombu or http"),
        (
            "transport: kombu, queue: x, format: xapi, filter: {types: ['attempt.*']}",
            "types[0]: attempt.overdue, one of attempt.*, is not a result, and format xapi has results only",
        ),
        (
            f"{LRS}, format: xapi, {BASIC}, filter: {{types: [attempt.completed, attempt.overdue]}}",
            "types[1]: attempt.overdue is not a result, and format xapi has results only. Remedy: leave types out, or "
            "name some of attempt.completed, attempt.revised, attempt.voided",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_remedy(read: Read, members: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(members)
    assert len(refused.value.problems) == 1
    assert said in refused.value.problems[0]


def test_types_of_attempts_alone_are_accepted(read: Read) -> None:
    types = "filter: {types: [attempt.completed, 'attempt.r*']}"
    assert read(f"{LRS}, format: xapi, {BASIC}, {types}").subscriptions["one"].filter.types[1] == "attempt.r*"


def test_the_examples_of_the_guide_are_accepted(read: Read, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/outputs-lrs.md").read_text()
    subscriptions = [block.partition("\n")[2] for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)]
    assert len(subscriptions) == 3
    file = tmp_path / "guide.yaml"
    file.write_text(
        "bridge: {name: acme, public_url: 'https://bridge.example.org'}\nsubscriptions:\n" + "".join(subscriptions)
    )
    config = loader.read(file, vendors={}, environment={"LRS_PASSWORD": "p", "CALIPER_TOKEN": "t"})
    assert [each.format for each in config.subscriptions.values()] == ["xapi", "caliper", "xapi"]
