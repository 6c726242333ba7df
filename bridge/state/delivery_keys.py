"""The Redis keys of deliveries and replays; used as those of `keys.py`."""

from __future__ import annotations

__all__ = [
    "alive",
    "asked_test",
    "asked_tests",
    "claims",
    "dead",
    "deliveries",
    "ended_tries",
    "failure_groups",
    "letter_index",
    "pauses",
    "rate",
    "replay_job",
    "replay_progress",
    "replays",
    "retry",
    "settled",
    "subscription_alarm",
    "subscription_state",
    "test_report",
    "tested",
    "tries",
]


def alive(partition: int, consumer: str) -> str:
    """String with an expiry: the dispatch process of a consumer runs."""
    return f"ab:{{{partition}}}:alive:{consumer}"


def rate(subscription: str) -> str:
    """List "slot number" of what the rate of a subscription has let through lately, oldest first (see rate.lua)."""
    return f"ab:{{0}}:rate:{subscription}"


def retry(subscription: str, partition: int = 0) -> str:
    """Sorted set event id -> UNIX time of the next try, for the deliveries of a subscription that wait for a retry."""
    return f"ab:{{{partition}}}:retry:{subscription}"


def dead(subscription: str, partition: int = 0) -> str:
    """Stream of the dead letters of a subscription."""
    return f"ab:{{{partition}}}:dead:{subscription}"


def deliveries(subscription: str, partition: int = 0) -> str:
    """Hash: deliveries under way (event id -> JSON) of a subscription."""
    return f"ab:{{{partition}}}:deliveries:{subscription}"


def claims(subscription: str, partition: int = 0) -> str:
    """Hash event id -> how often a retry was claimed and never settled, which shows events that kill the process."""
    return f"ab:{{{partition}}}:claims:{subscription}"


def pauses(subscription: str) -> str:
    """Hash `<consumer>|<partition>` -> 1: lanes that have seen the pause of a subscription and send nothing."""
    return f"ab:{{0}}:pauses:{subscription}"


def subscription_state(subscription: str, partition: int = 0) -> str:
    """Hash of counters of a subscription in a partition; that of partition 0 also holds the circuit breaker."""
    return f"ab:{{{partition}}}:state:{subscription}"


def tries(subscription: str, partition: int = 0) -> str:
    """Hash event id -> failure group and tries of a delivery under way (see bridge/delivery/outcomes.lua)."""
    return f"ab:{{{partition}}}:tries:{subscription}"


def failure_groups(subscription: str, partition: int = 0) -> str:
    """Hash fingerprint -> JSON of a failure group of a subscription."""
    return f"ab:{{{partition}}}:groups:{subscription}"


def settled(subscription: str, partition: int = 0) -> str:
    """Stream of the deliveries that have ended; its index by event id is `<this>:ids:<class>:<number>`."""
    return f"ab:{{{partition}}}:settled:{subscription}"


def letter_index(subscription: str, partition: int = 0) -> str:
    """Sorted set `e<event id>|<entry>` and `g<fingerprint>|<entry>`: the dead letters by event and by failure group."""
    return f"ab:{{{partition}}}:letters:{subscription}"


def ended_tries(which: str = "ended") -> str:
    """Stream of the tries that ended lately; with `watched` a string with an expiry: somebody watches."""
    return f"ab:{{tries}}:{which}"


def replays(which: str = "made") -> str:
    """Sorted set id of a replay job -> UNIX time when it was made; with `running` the set of those that run."""
    return f"ab:{{replays}}:{which}"


def replay_job(ident: str) -> str:
    """Hash: `job` -> JSON of what a replay job replays; `state`, `updated`, `waits`, `error`."""
    return f"ab:{{replays}}:job:{ident}"


def replay_progress(ident: str, partition: int) -> str:
    """Hash: how far a replay job got in a partition, and its counts, by subscription; `epoch` counts erasures."""
    return f"ab:{{{partition}}}:replay:{ident}"


def asked_tests() -> str:
    """List of the tests of subscriptions that no dispatch process has taken yet, by id; expires."""
    return "ab:{tests}:asked"


def asked_test(ident: str) -> str:
    """String with an expiry: one test of a subscription, JSON; it is deleted when it is taken or no longer wanted."""
    return f"ab:{{tests}}:test:{ident}"


def test_report(ident: str) -> str:
    """List with an expiry: the report of a test, JSON."""
    return f"ab:{{tests}}:report:{ident}"


def tested(subscription: str) -> str:
    """String with an expiry: a test of the subscription is under way."""
    return f"ab:{{tests}}:of:{subscription}"


def subscription_alarm(subscription: str) -> str:
    """Hash `record` -> JSON of what was announced last about a subscription."""
    return f"ab:{{0}}:alarm:{subscription}"
