"""The client of a topic: sign-in and TLS, what it says of wrong ones, and what it needs to be installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from bridge.config.kafka_target import KafkaSasl, KafkaTls
from bridge.config.model import Subscription
from bridge.errors import ConfigError, Rejected, Retryable
from bridge.kafka.client import _PRODUCER
from bridge.kafka.opening import Limits, settings_of, topic_of
from bridge.kafka.problems import problem_of
from tests.support.kafka import RefusingBroker
from tests.support.tls import Authority, TLSFront

QUICK = Limits(connect=1.0, confirm=2.0)
PLAIN = KafkaSasl(mechanism="PLAIN", user="bridge", password="hunter2")


def subscription(server: str, **members: object) -> Subscription:
    members = {"tls": KafkaTls(enabled=False), **members}
    return Subscription(name="analytics", transport="kafka", servers=(server,), topic="attempts", **members)  # type: ignore[arg-type]


def test_a_wrong_password_is_a_problem_of_the_configuration(capfd: pytest.CaptureFixture[str]) -> None:
    broker = RefusingBroker()
    try:
        with pytest.raises(ConfigError) as caught:
            topic_of(subscription(broker.server, sasl=PLAIN), QUICK).check()
    finally:
        broker.close()
    assert broker.told[0] == b"\0bridge\0hunter2"
    assert str(caught.value) == (
        "kafka: it refuses user, password or mechanism (_AUTHENTICATION). Remedy: correct `sasl`"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_librdkafka_has_each_mechanism(mechanism: str) -> None:
    sasl = KafkaSasl(mechanism=mechanism, user="bridge", password="hunter2")
    settings = settings_of(subscription("127.0.0.1:1", sasl=sasl, tls=KafkaTls()), QUICK)
    assert (settings["security.protocol"], settings["sasl.mechanism"]) == ("SASL_SSL", mechanism)
    Producer({**settings, **_PRODUCER}).close()


def test_only_a_certificate_of_a_trusted_ca_for_that_host_is_taken(starts_processes: None, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    right, wrong = (authority.issue(name, f"DNS:{name}") for name in ("localhost", "elsewhere.test"))
    for context, ca in ((right, None), (wrong, str(authority.ca))):
        front = TLSFront(context)
        with pytest.raises(ConfigError, match=r"the certificate is refused.*\(_SSL\)"):
            topic_of(subscription(f"localhost:{front.port}", sasl=PLAIN, tls=KafkaTls(ca=ca)), QUICK).check()
        front.close()
        assert not front.told
    front = TLSFront(right)
    with pytest.raises(Retryable):
        topic_of(subscription(f"localhost:{front.port}", tls=KafkaTls(ca=str(authority.ca))), QUICK).check()
    front.close()
    assert b"attempt-bridge" in front.told


def test_a_server_that_nobody_can_reach_is_waited_for() -> None:
    with pytest.raises(Retryable, match="cannot be reached"):
        topic_of(subscription("127.0.0.1:1"), QUICK).check()


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(ConfigError, match="check the files under `tls`"):
        topic_of(subscription("127.0.0.1:1", tls=KafkaTls(ca=str(tmp_path / "ca.pem"))), QUICK).check()


def test_without_the_optional_dependency_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "bridge.kafka.client", raising=False)
    with pytest.raises(ConfigError, match=r"subscriptions.analytics.transport: confluent-kafka is not installed"):
        topic_of(subscription("127.0.0.1:1"))


class Fault:
    def __init__(self, code: int) -> None:
        self._code = code

    def code(self) -> int:
        return self._code

    def name(self) -> str:
        return "NAME"


def test_every_code_says_what_to_do() -> None:
    kinds = {code: type(problem_of(Fault(code), "attempts")) for code in range(-200, 130)}
    assert {code for code, kind in kinds.items() if kind is Rejected} == {4, 10, 18, 32, 44, 87}
    assert {code for code, kind in kinds.items() if kind is ConfigError} >= {-188, -181, -169, 3, 17, 29, 31, 53, 58}
    assert {code for code, kind in kinds.items() if kind is Retryable} >= {-195, -192, -187, -185, 5, 6, 7, 19, 20, 56}
    # The rest is charged to the subscription.
    assert {-1, 2, 42, 73} <= {code for code, kind in kinds.items() if kind not in (Rejected, ConfigError, Retryable)}
    for code in kinds:
        assert ". Remedy: " in str(problem_of(Fault(code), "attempts"))
