"""Every Redis key of the bridge; those of access and of deliveries have their own files. No other module contains one.

Keys of one partition share the hash tag `{p}`, those of one source `{source}`: one script uses all of them, on a
cluster too. A source's name may look like a partition's number, so no word after the tag is used for both.
"""

from __future__ import annotations

from bridge.state.access_keys import audit, audit_copy, failed_logins, session, sign_in_code
from bridge.state.delivery_keys import (
    alive,
    asked_test,
    asked_tests,
    claims,
    dead,
    deliveries,
    ended_tries,
    failure_groups,
    letter_index,
    pauses,
    rate,
    replay_job,
    replay_progress,
    replays,
    retry,
    settled,
    subscription_alarm,
    subscription_state,
    test_report,
    tested,
    tries,
)

# fmt: off
__all__ = [
    "BRIDGE", "CONFIRMED",
    "alarms", "alive", "asked_test", "asked_tests", "audit", "audit_copy", "backfill_requests", "backfills",
    "broker_in_use", "budget", "claims", "configurations", "confirmed_on_node", "consent", "consented",
    "counts", "cursor", "cursor_history",
    "cursor_items", "dead", "deadlines", "deliveries", "delivery_counts", "ended_tries", "erasure_found", "erasure_job",
    "erasure_traces", "erasures", "event_ids", "expected", "expected_spellings", "failed_logins",
    "failed_reconciliations", "failure_groups", "group", "heartbeat", "idempotent_call", "journal", "lease",
    "letter_index", "paused", "pauses", "quarantine", "rate", "reconciliations", "refused", "rejected",
    "replay_job", "replay_progress", "replays", "requests", "retry", "rhythm", "seen", "session", "settled",
    "sign_in_code", "sittings", "source_clock", "stuck_reading", "subscription_alarm", "subscription_state",
    "subscriptions", "test_report", "tested", "tries", "vendor_limit", "vendor_memory", "watch", "watch_due",
    "watch_version", "worker_jobs",
]
# fmt: on

#: Hash of what is fixed at the first start: `name`, `partitions`; and `layout`, the version of these names (layout.py).
BRIDGE = "ab:bridge"
#: String, always empty: written after what replicas are to confirm (confirming_client.py).
CONFIRMED = "ab:confirmed"


def confirmed_on_node(number: int) -> str:
    """The same on a cluster, where each node has its own: `number` is chosen so that the key's slot is on that node."""
    return f"{CONFIRMED}:{number}"


def idempotent_call(digest: str) -> str:
    """String with an expiry: the answer to a POST with an `Idempotency-Key`, JSON."""
    return f"ab:call:{digest}"


def journal(partition: int) -> str:
    """Stream of events: fields `id`, `type`, `source`, `attempt`, `event`."""
    return f"ab:{{{partition}}}:journal"


def event_ids(partition: int) -> str:
    """Hashes `<this>:<day>:<first two characters>`: rest of an event id -> its journal entry (see publish_once.lua)."""
    return f"ab:{{{partition}}}:ids"


def seen(partition: int) -> str:
    """Hash `n` (attempts remembered), `b` (buckets); the buckets are `<this>:<number>` (see publish_once.lua)."""
    return f"ab:{{{partition}}}:seen"


def requests(partition: int) -> str:
    """Stream of requests that were authentic, with raw body and outcome."""
    return f"ab:{{{partition}}}:requests"


def rejected(partition: int) -> str:
    """Stream of requests that were refused, capped in number because anybody can cause one."""
    return f"ab:{{{partition}}}:rejected"


def quarantine(partition: int) -> str:
    """Stream of webhooks and polled records that could not be read."""
    return f"ab:{{{partition}}}:quarantine"


def counts(partition: int, number: int, step: str = "") -> str:
    """Hash `<source>|<origin>|<outcome>` -> number, of a UTC day, an hour (`step` `h`) or a minute (`m`) since 1970."""
    return f"ab:{{{partition}}}:counts:{step}{number}"


def delivery_counts(partition: int, number: int, step: str = "") -> str:
    """Hash `<subscription>|<outcome>` -> number; one for each step, as in `counts`."""
    return f"ab:{{{partition}}}:delivered:{step}{number}"


def cursor(source: str, stream: str) -> str:
    """Hash: the position of polling in one stream."""
    return f"ab:{{{source}}}:cursor:{stream}"


def cursor_history(source: str) -> str:
    """List of the last poll rounds of a source, newest first, JSON."""
    return f"ab:{{{source}}}:rounds"


def cursor_items(source: str) -> str:
    """Set: the streams of a source that belong to a listed item and may have a position."""
    return f"ab:{{{source}}}:cursors"


def budget(source: str) -> str:
    """Sorted set of the calls made for a source."""
    return f"ab:{{{source}}}:budget"


def polls_asked() -> str:
    """Set: names of the sources that an operator wants to be polled now."""
    return "ab:polls:asked"


def paused(source: str) -> str:
    """String: UNIX time until which the source makes no calls, or `inf` with the reason after a space."""
    return f"ab:{{{source}}}:budget:paused"


def source_clock(source: str) -> str:
    """String: the latest moment that was seen while reading from a source, UNIX seconds."""
    return f"ab:{{{source}}}:clock"


def lease(name: str) -> str:
    """String with an expiry: the only process that may do `name` now."""
    return f"ab:lease:{name}"


def watch(source: str) -> str:
    """Hash key of a watch -> rechecks, opening, kind, version, times and reference (see watch_queues.lua)."""
    return f"ab:{{{source}}}:watch"


def watch_due(source: str, queue: str = "due") -> str:
    """Sorted set key of a watch -> UNIX time of the next recheck; one each for `due`, `pointers` and `rereads`."""
    return f"ab:{{{source}}}:watch:{queue}"


def watch_version(source: str) -> str:
    """String: how often watches of a source were urged, by webhook or by an operator."""
    return f"ab:{{{source}}}:watch:version"


def expected(source: str) -> str:
    """Hash key of a watch -> JSON of what an operator expects there."""
    return f"ab:{{{source}}}:watch:expected"


def expected_spellings(source: str) -> str:
    """Hash key of a watch, folded -> the key as it was registered last; an entry may outlive its expectation."""
    return f"ab:{{{source}}}:watch:spellings"


def deadlines(source: str) -> str:
    """Sorted set key of a watch -> UNIX time of the deadline of an open expectation."""
    return f"ab:{{{source}}}:watch:deadlines"


def sittings(source: str) -> str:
    """Hash attempt id, or its digest -> sittings seen under it, for vendors whose second sittings have the same id."""
    return f"ab:{{{source}}}:sittings"


def consent(source: str) -> str:
    """Hash key of a consent -> its latest state and when it was given."""
    return f"ab:{{{source}}}:consent"


def consented(source: str, key: str) -> str:
    """Hash attempt id -> JSON of its assessment: the attempts that one consent governs."""
    return f"ab:{{{source}}}:consent:{key}"


def group(subscription: str) -> str:
    """Name of the consumer group of a subscription on every journal stream."""
    return f"ab:sub:{subscription}"


def subscriptions() -> str:
    """Set: names of all subscriptions that were ever served and not forgotten."""
    return "ab:subscriptions"


def stuck_reading(source: str) -> str:
    """String with an expiry: JSON about a worker's thread that hangs while reading from the source."""
    return f"ab:{{{source}}}:stuck"


def heartbeat(process: str) -> str:
    """String with an expiry: UNIX time of the last loop of a process."""
    return f"ab:heartbeat:{process}"


def broker_in_use(process: str) -> str:
    """String with an expiry: the broker's address that a process uses, without password."""
    return f"ab:heartbeat:{process}:broker"


def backfills() -> str:
    """Hash id of a backfill -> JSON of its position and results."""
    return "ab:{backfills}:jobs"


def backfill_requests() -> str:
    """Hash id of a backfill -> `stop` or `cancel`: an operator's request to the process that runs it."""
    return "ab:{backfills}:requests"


def worker_jobs(name: str = "open") -> str:
    """`open`: set `<kind>:<id>` of the jobs that the worker is to run; `all`, `requests`: hash id -> JSON, `stop`."""
    return f"ab:{{jobs}}:{name}"


def reconciliations(source: str) -> str:
    """List of the last reconciliations of a source, newest first, JSON."""
    return f"ab:{{{source}}}:reconciled"


def failed_reconciliations(source: str) -> str:
    """Hash with an expiry: night -> number of its reconciliations that a fault of the vendor ended."""
    return f"ab:{{{source}}}:reconciled:failed"


def vendor_limit(source: str) -> str:
    """Hash: calls left according to the vendor, and until when."""
    return f"ab:{{{source}}}:budget:learned"


def vendor_memory(source: str, topic: str) -> str:
    """Hash with an expiry: what a vendor's client remembers about one topic, such as names."""
    return f"ab:{{{source}}}:vendor:{topic}"


def alarms(source: str) -> str:
    """Hash type of alarm -> JSON of its state."""
    return f"ab:{{{source}}}:alarms"


def rhythm(source: str) -> str:
    """Hash: `ledger` -> JSON of the traffic so far; number -> the totals after an hour, in a ring of weeks."""
    return f"ab:{{{source}}}:rhythm"


def refused() -> str:
    """Hash `<queue>|<reason>` -> number of messages in the bridge's own queues that were refused."""
    return "ab:refused"


def configurations() -> str:
    """Hash: `request` -> number of the last request to reload; `running:<process>`, `answer:<process>` -> JSON."""
    return "ab:configurations"


def erasures(which: str = "made") -> str:
    """Sorted set id of an erasure -> UNIX time when it was made; with `running` the set of those that run."""
    return f"ab:{{erasures}}:{which}"


def erasure_job(ident: str) -> str:
    """Hash: `job` -> JSON of an erasure; its state and position; `person` while it runs, then `found` and `report`."""
    return f"ab:{{erasures}}:job:{ident}"


def erasure_found(ident: str) -> str:
    """Set `<place>|<reference>` of what an erasure that runs has found."""
    return f"ab:{{erasures}}:found:{ident}"


def erasure_traces(ident: str) -> str:
    """Set `<kind>|<value>` of what an erasure that runs has learned of its person."""
    return f"ab:{{erasures}}:traces:{ident}"
