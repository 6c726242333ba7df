"""Errors of Kafka, sorted by what to do. Only their codes are read: texts quote addresses and may quote more.

`Retryable`: wait, brokers are away or too few; `ConfigError`: address, topic, rights or credentials are wrong;
`Rejected`: brokers refuse a message because of its content; any other `BridgeError`: unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bridge.errors import BridgeError, ConfigError, Rejected, Retryable

__all__ = ["Fault", "away", "misconfigured", "problem_of", "worst"]

_UNCONFIRMED = ("did not confirm in time", "check the brokers, and that enough replicas of the topic are in sync")
_UNREACHABLE = ("cannot be reached", "check that the brokers run, the addresses under `servers`, and the network")
_FEW = ("too few replicas of the topic are in sync", "start the brokers that are missing")
_RESTING = ("is electing or recovering", "none needed; delivery resumes by itself")
_SESSION = ("the producer's session has ended there", "none needed; a new one is begun")
#: Codes of librdkafka (negative) and of the protocol after which delivery is tried again without using up a try.
_AWAY = {
    **dict.fromkeys((-192, -185, -166, -152, -151, 7), _UNCONFIRMED),
    **dict.fromkeys((-197, -196, -195, -187, -184, 8, 13), _UNREACHABLE),
    -193: ("the name of a server is unknown", "correct `servers`, or the DNS"),
    **dict.fromkeys((19, 20), _FEW),
    **dict.fromkeys((-180, -178, 5, 6, 9, 14, 15, 16, 41, 72, 74, 75), _RESTING),
    **dict.fromkeys((-172, -150, -148, 45, 46, 47, 48, 49, 51, 59, 90), _SESSION),
    56: ("a disk of a broker fails", "check its log and its disk"),
    89: ("a quota of the cluster is used up", "raise the quota of the bridge's user"),
}
_CREDENTIALS = ("it refuses user, password or mechanism", "correct `sasl`")
_OLD = ("its brokers lack what the bridge needs", "use brokers with idempotent producers: Apache Kafka 0.11 or newer")
#: The same for errors that last until somebody changes something.
_CONFIGURATION = {
    **dict.fromkeys(
        (-188, -190, 3),
        (
            "topic {topic} does not exist, or is not visible",
            "create it, correct `topic`, or grant the user Describe on it",
        ),
    ),
    17: ("topic {topic} is not a valid topic there, or is internal", "name another"),
    29: ("the user may not write to topic {topic}", "grant it Write and Describe on the topic"),
    31: ("the user may not write idempotently", "grant it IdempotentWrite on the cluster"),
    53: ("the user may not write idempotently", "grant it IdempotentWrite on the cluster"),
    **dict.fromkeys((-169, 33, 34, 58), _CREDENTIALS),
    54: ("its brokers take no credentials", "remove `sasl`, or name a listener with SASL"),
    -181: (
        "TLS fails: the certificate is refused, or this port does not speak TLS",
        "check `servers` and `tls`; ca is the file of a CA of your own",
    ),
    -186: ("a setting is refused", "check the files under `tls`"),
    **dict.fromkeys((-165, 35, 43), _OLD),
}
#: Errors of one message, or of the batch that it is in.
_REFUSED = {
    10: "larger than the topic allows (max.message.bytes)",
    18: "larger than a segment of the topic",
    4: "it has no valid size for the topic",
    32: "its time is out of the range that the topic allows",
    44: "a policy of the cluster refuses it",
    87: "a rule of the topic refuses it",
}


class Fault(Protocol):
    """The error of confluent-kafka."""

    def code(self) -> int:
        """The code, of librdkafka or of the protocol."""
        ...

    def name(self) -> str:
        """The name of the code."""
        ...


def away(fact: str, remedy: str) -> Retryable:
    """The error of a cluster that cannot be used now."""
    return Retryable(f"kafka: {fact}. Remedy: {remedy}", reason="kafka_unavailable")


def misconfigured(fact: str, remedy: str) -> ConfigError:
    """The error of a cluster that cannot be used until somebody changes something."""
    return ConfigError(f"kafka: {fact}. Remedy: {remedy}")


def problem_of(fault: Fault, topic: str) -> BridgeError:
    """What an error means for a sender to this topic."""
    code, name = fault.code(), fault.name()
    if code in _CONFIGURATION:
        fact, remedy = _CONFIGURATION[code]
        return misconfigured(f"{fact.format(topic=topic)} ({name})", remedy)
    if code in _REFUSED:
        return Rejected(
            f"kafka: refuses this event: {_REFUSED[code]} ({name}). Remedy: raise the limit, or discard it",
            reason="message_refused",
        )
    if code in _AWAY:
        fact, remedy = _AWAY[code]
        return away(f"{fact} ({name})", remedy)
    return BridgeError(f"kafka: unexpected error {name}. Remedy: see the log of the brokers", reason="kafka_error")


def worst(faults: Iterable[Fault], topic: str) -> BridgeError | None:
    """The problem that explains the others: wrong credentials may make a cluster look as if it were away."""
    problems = [problem_of(fault, topic) for fault in faults]
    return next((each for each in problems if isinstance(each, ConfigError)), problems[0] if problems else None)
