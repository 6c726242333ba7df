"""What is valid and needs attention: secrets that expire, personal data that nobody has chosen to send."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.config.advice import advice_about
from bridge.config.model import Authorization, Filter, Subscription
from bridge.config.yaml_document import Reference
from bridge.net.standard_webhooks import SigningSecret, new_hmac_secret

DAY = 86_400.0
CHOSEN = Filter(sources=("eu-*",))
NEW, OLD = (new_hmac_secret(bytes([number]) * 32) for number in (1, 2))


def texts(now: float, *expiries: float | None) -> list[tuple[str, bool]]:
    secrets = tuple(SigningSecret(value, expires) for value, expires in zip((NEW, OLD), expiries, strict=False))
    crm = Subscription(name="crm", transport="http", filter=CHOSEN, secrets=secrets)
    return [(f"{advice.text}. Remedy: {advice.remedy}", advice.failure) for advice in advice_about(crm, now)]


@pytest.mark.parametrize(
    ("now", "said", "failure"),
    [
        (5.9 * DAY, None, False),
        (6 * DAY, "secrets[1] expires at 1970-01-21T00:00:00Z, in 14d. Remedy: check that the receiver", False),
        (20 * DAY - 90, "secrets[1] expires at 1970-01-21T00:00:00Z, in 1m. Remedy: check that", False),
        (20 * DAY, "secrets[1] expired at 1970-01-21T00:00:00Z and is not used. Remedy: remove it", True),
    ],
)
def test_the_expiry_of_one_of_two_secrets_is_announced_two_weeks_ahead(
    now: float, said: str | None, failure: bool
) -> None:
    if said is None:
        assert texts(now, None, 20 * DAY) == []
        return
    ((text, failed),) = texts(now, None, 20 * DAY)
    assert text.startswith(said)
    assert failed is failure


def test_the_expiry_of_the_last_secret_says_that_nothing_is_sent_then() -> None:
    (first, last) = texts(19 * DAY, 20 * DAY, 18 * DAY)
    assert first[0].startswith("secrets[0] expires at 1970-01-21T00:00:00Z, in 1d; then nothing is sent. Remedy: add")
    assert last == (
        "secrets[1] expired at 1970-01-19T00:00:00Z and is not used. Remedy: remove it from bridge.yaml",
        True,
    )
    for text, failed in texts(20 * DAY, 20 * DAY, 18 * DAY):
        assert failed
        assert "no other secret is valid: nothing is sent. Remedy: add a new secret" in text
        assert "whsec" not in text


@pytest.mark.parametrize(
    ("members", "warned"),
    [
        ({}, True),
        ({"filter": Filter(types=("attempt.completed",))}, True),
        ({"filter": CHOSEN}, False),
        ({"data": "minimal"}, False),
        ({"data": ("result.passed",)}, False),
    ],
)
def test_personal_data_without_a_filter_is_warned_of(members: dict[str, object], warned: bool) -> None:
    advice = list(advice_about(Subscription(name="crm", transport="celery", **members), 0.0))  # type: ignore[arg-type]
    assert [(each.topic, each.failure) for each in advice] == ([("personal data", False)] if warned else [])


@pytest.mark.parametrize(
    ("url", "members", "warned"),
    [
        ("http://10.0.0.7/", {"authorization": Authorization("token")}, True),
        ("http://10.0.0.7/", {"headers": {"X-Api-Key": Reference("key")}}, True),
        ("http://10.0.0.7/", {"headers": {"X-Tenant": "acme"}}, False),
        ("http://10.0.0.7/", {}, False),
        ("http://127.0.0.1:8099/", {"authorization": Authorization("token")}, False),
        ("https://10.0.0.7/", {"authorization": Authorization("token")}, False),
    ],
)
def test_credentials_that_are_sent_unencrypted_are_warned_of(url: str, members: dict[str, Any], warned: bool) -> None:
    crm = Subscription(name="crm", transport="http", url=url, filter=CHOSEN, **members)
    assert [advice.topic for advice in advice_about(crm, 0.0)] == (["credentials"] if warned else [])


@pytest.mark.parametrize(
    ("members", "warned"),
    [
        ({}, False),
        ({"filter": Filter(sources=("eu",), when={"passed": True})}, True),
        ({"filter": Filter(sources=("eu",), types=("attempt.completed",))}, True),
        ({"filter": Filter(sources=("eu",), types=("attempt.*",))}, False),
        ({"filter": Filter(sources=("eu",), when={"passed": True}), "format": "caliper"}, False),
    ],
)
def test_a_filter_that_keeps_a_voiding_statement_away_is_warned_of(members: dict[str, Any], warned: bool) -> None:
    lrs = Subscription(name="lrs", transport="kombu", **{"filter": CHOSEN, "format": "xapi", **members})
    assert [advice.topic for advice in advice_about(lrs, 0.0)] == (["revisions"] if warned else [])
