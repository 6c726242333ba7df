"""No password of an address is shown or accepted in the file, wherever in the address it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from bridge.config import loader
from bridge.config.addresses import literal_secret_problem, without_password
from bridge.config.description import describe
from bridge.config.model import Config
from bridge.config.schemas import broker_problem, state_problem
from bridge.config.yaml_document import Reference
from bridge.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@localhost:6379/0", "redis://:****@localhost:6379/0"),
        ("amqp://bridge:hunter2@mq//", "amqp://bridge:****@mq//"),
        ("amqp://b:hunter2@a//;amqp://b:hunter2@b//", "amqp://b:****@a//;amqp://b:****@b//"),
        ("redis://hunter2@localhost", "redis://****@localhost"),
        ("redis://:hun/ter2@localhost", "redis://:****@localhost"),
        ("redis://:hun@ter2@localhost", "redis://:****@localhost"),
        ("redis://localhost/0?password=hunter2&db=1", "redis://localhost/0?password=****&db=1"),
        ("unix:///run/a@b.sock?password=hunter2", "unix:///run/a@b.sock?password=****"),
        ("rediss://h/0?ssl_ca_certs=/etc/ca.pem", "rediss://h/0?ssl_ca_certs=/etc/ca.pem"),
        ("redis+socket:///run/s?virtual_host=1", "redis+socket:///run/s?virtual_host=1"),
        ("https://crm.example.org/hook?token=hunter2", "https://crm.example.org/hook?token=****"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert without_password(address) == shown


@given(st.text(min_size=6).filter(lambda text: "*" not in text), st.sampled_from(["", "user"]))
def test_whatever_the_password_no_part_of_it_is_shown(password: str, user: str) -> None:
    secret = f"S3CRET{password}S3CRET"
    assert "S3CRET" not in without_password(f"redis://{user}:{secret}@localhost:6379/0")
    assert "S3CRET" not in without_password(f"redis://localhost:6379/0?password={secret.replace('&', '')}")


@pytest.mark.parametrize(
    "address",
    [
        "redis://:hunter2@localhost/1",
        "redis://hunter2@localhost/1",
        "redis://user:hunter2@localhost/1",
        "redis://localhost/1?password=hunter2",
        "redis://localhost/1?PASSWORD=hunter2",
        "unix:///run/s?password=hunter2",
        "redis://:hun/ter2@localhost/1",
    ],
)
@pytest.mark.parametrize("problem_of", [state_problem, broker_problem])
def test_a_literal_password_is_refused_wherever_it_is(problem_of: object, address: str) -> None:
    try:
        problem = problem_of(address)  # type: ignore[operator]
    except ValidationError as error:
        problem = str(error)
    assert problem is not None
    assert "hunter2" not in problem
    assert "hun" not in problem


@pytest.mark.parametrize(
    "address",
    [
        "https://crm.example.org/hook?token=hunter2",
        "https://crm.example.org/hook?code=hunter2",
        "https://crm.example.org/hook?a=b&api_key=hunter2",
        "https://crm.example.org/hook?X-Sig=hunter2",
        "https://user:hunter2@crm.example.org/hook",
        "https://hunter2@crm.example.org/hook",
        "https://user:hun/ter2@crm.example.org/hook",
        "https://user:hun?ter2@crm.example.org/hook?token=hunter2",
    ],
)
@pytest.mark.parametrize("literal", [True, False])
def test_a_password_in_the_address_of_a_receiver_is_refused_and_not_quoted(
    address: str, literal: bool, tmp_path: Path
) -> None:
    given = address if literal else "${ADDRESS}"
    secret = "whsec_" + "QUJD" * 10
    file = tmp_path / "bridge.yaml"
    file.write_text(
        "bridge: {name: acme, public_url: 'https://bridge.example.org'}\n"
        f"subscriptions: {{crm: {{transport: http, url: '{given}', secrets: ['${{SECRET}}']}}}}\n"
    )

    def read() -> Config:
        return loader.read(file, vendors={}, environment={"ADDRESS": address, "SECRET": secret})

    if not literal and "@" not in address:
        assert read().subscriptions["crm"].url == address
        assert "hunter2" not in str(describe(read()))
        return
    with pytest.raises(ConfigError) as caught:
        read()
    (problem,) = caught.value.problems
    assert "subscriptions.crm.url: " in problem
    assert "hun" not in problem


def test_a_literal_parameter_that_is_no_secret_may_be_in_the_address_of_a_receiver() -> None:
    assert literal_secret_problem("https://crm.example.org/hook?tenant=7&country_code=de") is None


@pytest.mark.parametrize("password", ["hun/ter2", "12/ter2", "hun@ter2/x", "hun?ter2", "hun#ter2", "[hunter2"])
def test_a_password_from_the_environment_with_special_characters_is_refused_and_not_quoted(password: str) -> None:
    try:
        problem = state_problem(Reference(f"redis://:{password}@localhost:6379/0"))
    except ValidationError as error:
        problem = str(error)
    assert problem is not None
    assert "percent-encode" in problem
    assert "ter2" not in problem
    assert "hun" not in problem


def test_a_password_from_the_environment_is_accepted_when_it_is_encoded() -> None:
    assert state_problem(Reference("redis://:hun%2Fter2@localhost:6379/0")) is None
    assert state_problem(Reference("redis://localhost:6379/0?password=hunter2")) is None


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("sqs://key:secret@eu-west-1", "creates a queue whose name is wrong"),
        ("gcpubsub://projects/acme", "does not wait for its confirmation"),
        ("confluentkafka://k1:9092", "Remedy: transport: kafka"),
        ("kafka://k1:9092", "Remedy: transport: kafka"),
    ],
)
def test_a_broker_over_which_nothing_can_be_promised_is_refused_in_one_line(address: str, remedy: str) -> None:
    problem = broker_problem(address)
    assert problem is not None
    assert problem.startswith("is not supported over ")
    assert remedy in problem
    assert "secret" not in problem
