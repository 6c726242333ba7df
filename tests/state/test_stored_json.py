"""Everything that is stored as JSON: of a later version, of an earlier one, and what is not a record at all."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from bridge.config.model import Token
from bridge.delivery.group_store import FailureGroups
from bridge.delivery.groups import FailureGroup
from bridge.delivery.record import Delivery
from bridge.delivery.replay_jobs import DEAD_LETTERS, Part, Replay
from bridge.delivery.replay_store import Replays
from bridge.delivery.store import Deliveries
from bridge.delivery.subscription_test import AskedTest, Report, SubscriptionTests
from bridge.delivery.try_feed import EndedTry, TryFeed, TryReader
from bridge.erasure.jobs import Erasure, Erasures, Found
from bridge.erasure.person import Person
from bridge.errors import VendorFault
from bridge.ingest.consent import Consents
from bridge.journal.reading import Reader
from bridge.journal.requests import RequestStore
from bridge.monitoring.alarms import Alarm, Alarms
from bridge.monitoring.subscription_alarms import SubscriptionAlarm, SubscriptionAlarms
from bridge.monitoring.traffic_baseline import TrafficBaselines, TrafficState
from bridge.polling.backfill_jobs import Backfill, Backfills
from bridge.polling.cursors import Cursors, RoundReport
from bridge.polling.expectations import Expectations
from bridge.polling.reconciliation import Reconciliation, Reconciliations
from bridge.polling.turns import StuckReading, StuckReadings
from bridge.polling.watches import Watches
from bridge.polling.worker_jobs import RECONCILIATION, WorkerJob, WorkerJobs
from bridge.sdk.records import NormalisedAttempt, Pointer
from bridge.state import keys
from bridge.state.running import Running, RunningProcesses
from bridge.state.stored_json import UnreadableRecord, log_unreadable, read_record, to_members
from bridge.vendors.thought_industries.cursor import Cursor
from bridge.web.sessions import Sessions
from schemas.event import Assessment, Candidate, Group, Result

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
LATER = {"of_a_later_version": {"list": [1, "two"]}}
#: No record of anything: the last one is more nested than a parser goes.
JUNK = (b"", b"not JSON", b"[1]", b"null", b'"text"', b"\xff\xfe", b"{}", b'{"state":7,"id":[]}', b"[" * 100_000)

TOKEN = Token(name="ops", role="operator", sha256="a" * 64)
BACKFILL = Backfill(id="eu/1", source="eu", first=1.0, last=2.0, streams=["list"], created=NOW)
JOB = WorkerJob(id="eu/2", kind=RECONCILIATION, source="eu", created=NOW)
REPORT = RoundReport(stream="list", from_cursor="1", to_cursor="2", started=NOW)
RESULT = Reconciliation(source="eu", since=1.0, until=2.0, made=NOW)
STUCK = StuckReading(source="eu", since=NOW, where="a.py:1 f")
GROUP = FailureGroup(
    fingerprint="aaaaaaaaaaaa",
    reason="http",
    status=500,
    message="m",
    state="open",
    since=NOW,
    failing=1,
    dead=0,
    failures=1,
    first=NOW,
    last=NOW,
    example="e",
    acknowledged=0,
    reopened=0,
)
DELIVERY = Delivery(id="event", type="attempt.completed", source="eu", attempt="a", entry="1-1")
REPLAY = Replay(id="replay-1", kind=DEAD_LETTERS, parts=(Part("crm", 0, "1-1", "2-2", ("1-1",)),), created=NOW)
ENDED = EndedTry(
    at=NOW,
    subscription="crm",
    event_id="e",
    type="t",
    source="eu",
    outcome="delivered",
    reason="",
    status=200,
    seconds=0.1,
    tries=1,
)
ASKED = AskedTest("ident", "crm", "digest")
PERSON = Person(source="eu", candidate="c-1")
ERASURE = Erasure(id="erasure-1", source="eu", digest="d", dry_run=False, created=NOW, by="ann")
ASSESSMENT = Assessment(id="1", name="Fire", group=Group(kind="link", id="2", name="B"))
ALARM = Alarm(
    kind="source.poll_failing",
    state="raised",
    since=1.0,
    raised_at=2.0,
    at=2.0,
    repeats=0,
    published=False,
    fact="f",
    value="v",
    remedy="r",
)
SUBSCRIPTION_ALARM = SubscriptionAlarm(
    kind="subscription.failing",
    number=1,
    at=2.0,
    since=1.0,
    causes=("circuit",),
    published=False,
    fact="f",
    value="v",
    remedy="r",
)
TRAFFIC = TrafficState(
    watched_since=1.0,
    checked_at=2.0,
    day=3,
    day_count=4,
    webhooks=5,
    found_by_polling=6,
    rounds_read_until=7.0,
    last_webhook_at=None,
    quiet_since=8.0,
    found_before_quiet=0,
    rounds_with_finds=0,
)
#: Every class that is read by `stored_json`.
RECORDS: dict[str, Any] = {
    type(record).__name__: record
    for record in (
        *(BACKFILL, JOB, REPORT, RESULT, STUCK, GROUP, DELIVERY, REPLAY, ENDED, ASKED, PERSON, ERASURE, ASSESSMENT),
        *(ALARM, SUBSCRIPTION_ALARM, TRAFFIC, Report(event_id="e"), Found({"events": 1}), Running(process="web:a:1")),
    )
}
#: Fields without a default: every version has written them. A new one would make records of an earlier one unreadable.
REQUIRED = {
    "Alarm": "kind state since raised_at at repeats published fact value remedy",
    "AskedTest": "ident subscription digest",
    "Assessment": "id",
    "Backfill": "id source first last streams",
    "Delivery": "id type source attempt entry",
    "EndedTry": "at subscription event_id type source outcome reason status seconds tries",
    "Erasure": "id source digest dry_run created by",
    "FailureGroup": "fingerprint reason status message state since failing dead failures first last example"
    " acknowledged reopened",
    "Found": "",
    "Person": "source",
    "Reconciliation": "source since until made",
    "Replay": "id kind parts",
    "Report": "",
    "RoundReport": "stream from_cursor to_cursor started",
    "Running": "process",
    "StuckReading": "source since where",
    "SubscriptionAlarm": "kind number at since causes published fact value remedy",
    "TrafficState": "watched_since checked_at day day_count webhooks found_by_polling rounds_read_until"
    " last_webhook_at quiet_since found_before_quiet rounds_with_finds",
    "WorkerJob": "id kind source",
}
#: They are read, changed and written back by processes of all versions.
WRITTEN_BACK = {"Alarm", "Backfill", "Delivery", "SubscriptionAlarm", "TrafficState", "WorkerJob"}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_read_with_members_of_a_later_version_and_without_those_of_this_one(name: str) -> None:
    record = RECORDS[name]
    kind, members = type(record), json.loads(json.dumps(to_members(record)))
    read = read_record(kind, json.dumps(members | LATER))
    assert read == record
    assert {
        field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING
    } == set(REQUIRED[name].split())
    for missing in members:
        rest = json.dumps({member: value for member, value in members.items() if member != missing})
        if missing in REQUIRED[name].split():
            with pytest.raises(UnreadableRecord, match=f"^{missing}: missing$"):
                read_record(kind, rest)
        else:
            own = next(field for field in fields(kind) if field.name == missing)
            default = own.default if own.default_factory is MISSING else own.default_factory()
            assert read_record(kind, rest) == replace(record, **{missing: default})


@pytest.mark.parametrize("name", RECORDS)
def test_members_of_a_later_version_are_kept_where_a_record_is_written_back(name: str) -> None:
    read = read_record(type(RECORDS[name]), json.dumps(to_members(RECORDS[name]) | LATER))
    kept = to_members(read).keys() & LATER.keys()
    assert kept == (LATER.keys() if name in WRITTEN_BACK else set())


@pytest.mark.parametrize("junk", [*JUNK, b'{"source":"eu","since":NaN,"where":"w"}', b'{"source":"eu","since":1e999}'])
def test_what_is_no_record_is_one_error(junk: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        read_record(StuckReading, junk)


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("first", "1", "not a number"),
        ("first", True, "not a number"),
        ("first", 10**400, "not a number"),
        ("pages", 1.5, "not a whole number"),
        ("dry_run", 1, "neither true nor false"),
        ("streams", "list", "not a list"),
        ("streams", [1], "not a text"),
        ("cursors", ["a"], "not an object"),
        ("outcomes", {"published": "1"}, "not a number"),
        ("by", "\ud800", "not a text in Unicode"),
    ],
)
def test_a_member_of_another_type_is_named_without_its_value(member: str, value: Any, problem: str) -> None:
    with pytest.raises(UnreadableRecord, match=f"^{member}: {problem}$"):
        read_record(Backfill, json.dumps({**asdict(BACKFILL), member: value}))


@dataclass(frozen=True)
class Store:
    """A store: writes one record, says where its JSON is, and reads it."""

    write: Callable[[redis.Redis], object]
    #: Key, and the field of a hash or stream; None: a string or a list.
    place: tuple[str, str | None]
    read: Callable[[redis.Redis], Any]
    #: What is read where there is junk.
    otherwise: Any
    #: Whether the junk is logged.
    logs: bool = True

    def text(self, client: redis.Redis) -> bytes:
        key, field = self.place
        kind = client.type(key)
        if kind == b"hash":
            return client.hget(key, field or "") or b""
        if kind == b"list":
            return client.lindex(key, 0) or b""
        if kind == b"stream":
            return client.xrange(key)[0][1][(field or "").encode()]
        return client.get(key) or b""

    def put(self, client: redis.Redis, text: bytes) -> None:
        key, field = self.place
        kind = client.type(key)
        if kind == b"hash":
            client.hset(key, field or "", text)
        elif kind == b"list":
            client.lset(key, 0, text)
        elif kind == b"stream":
            entry, members = client.xrange(key)[0]
            client.delete(key)
            client.xadd(key, {**members, (field or "").encode(): text}, id=entry)
        else:
            client.set(key, text, keepttl=True)


def expectations(client: redis.Redis) -> Expectations:
    return Expectations(client, Watches(client))


def consents(client: redis.Redis) -> Consents:
    return Consents(client, Reader(client, partitions=1), remember_seconds=60.0)


def governed() -> NormalisedAttempt:
    return NormalisedAttempt(
        attempt_id="a",
        status="completed",
        candidate=Candidate(),
        assessment=ASSESSMENT,
        result=Result(),
        consent=("c",),
    )


def requested(client: redis.Redis) -> Any:
    (request,) = RequestStore(client).list()
    return request.headers


def refuse_request(client: redis.Redis) -> None:
    RequestStore(client).reject(
        request_id="r", source="eu", received_at=NOW, reason="bad", headers={"host": "a"}, body=b""
    )


def shown(client: redis.Redis) -> EndedTry | None:
    reader = TryReader(client)
    return next(iter(reader.read(0.001)), None)


def asked(client: redis.Redis) -> AskedTest | None:
    """The test that is taken; it is there again for the next."""
    text = client.get(keys.asked_test("ident")) or b""
    taken = SubscriptionTests(client, client).take(1.0)
    client.set(keys.asked_test("ident"), text)
    client.rpush(keys.asked_tests(), "ident")
    return taken


def replayed(client: redis.Redis) -> Replay | None:
    jobs, replay = list(Replays(client).newest_first()), Replays(client).get(REPLAY.id)
    assert [each.job for each in jobs] == ([] if replay is None else [replay.job])
    return None if replay is None else replay.job


def stored_session(client: redis.Redis) -> Any:
    return Sessions(client).find("secret", [TOKEN])


def open_session(client: redis.Redis) -> None:
    secret, _ = Sessions(client).open(TOKEN)
    (key,) = client.scan_iter("ab:session:*")
    client.set(SESSION, client.get(key))
    assert secret


SESSION = keys.session("2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b")

STORES: dict[str, Store] = {
    "rounds": Store(
        lambda c: Cursors(c).record_round("eu", REPORT),
        (keys.cursor_history("eu"), None),
        lambda c: (Cursors(c).history("eu"), Cursors(c).last_rounds(["eu"])["eu"]),
        ([], None),
    ),
    "stuck reading": Store(
        lambda c: StuckReadings(c).report(STUCK),
        (keys.stuck_reading("eu"), None),
        lambda c: StuckReadings(c).of("eu"),
        None,
    ),
    "jobs of the worker": Store(
        lambda c: WorkerJobs(c).add(JOB),
        (keys.worker_jobs("all"), JOB.id),
        lambda c: (WorkerJobs(c).get(JOB.id), WorkerJobs(c).list(RECONCILIATION)),
        (None, []),
    ),
    "backfills": Store(
        lambda c: Backfills(c).add(BACKFILL, NOW),
        (keys.backfills(), BACKFILL.id),
        lambda c: (Backfills(c).get(BACKFILL.id), Backfills(c).list()),
        (None, []),
    ),
    "reconciliations": Store(
        lambda c: Reconciliations(c).keep(RESULT),
        (keys.reconciliations("eu"), None),
        lambda c: (Reconciliations(c).last("eu"), Reconciliations(c).last_of(["eu"])["eu"]),
        (None, None),
    ),
    "traffic": Store(
        lambda c: TrafficBaselines(c).save("eu", TRAFFIC),
        (keys.rhythm("eu"), "ledger"),
        lambda c: TrafficBaselines(c).traffic("eu"),
        None,
    ),
    "alarms": Store(
        lambda c: Alarms(c).compare_and_set("eu", None, ALARM),
        (keys.alarms("eu"), ALARM.kind),
        lambda c: Alarms(c).of("eu").get(ALARM.kind),
        None,
    ),
    "alarms of subscriptions": Store(
        lambda c: SubscriptionAlarms(c).compare_and_set("crm", None, SUBSCRIPTION_ALARM),
        (keys.subscription_alarm("crm"), "record"),
        lambda c: SubscriptionAlarms(c).of("crm"),
        None,
    ),
    "failure groups": Store(
        lambda c: c.hset(keys.failure_groups("crm"), GROUP.fingerprint, json.dumps(asdict(GROUP))),
        (keys.failure_groups("crm"), GROUP.fingerprint),
        lambda c: FailureGroups(Deliveries(c)).of("crm"),
        [],
    ),
    "deliveries": Store(
        lambda c: c.hset(keys.deliveries("crm"), DELIVERY.id, DELIVERY.to_json()),
        (keys.deliveries("crm"), DELIVERY.id),
        lambda c: Deliveries(c).under_way("crm", DELIVERY.id),
        (0, Delivery.for_display(b"", DELIVERY.id), 0.0),
        logs=False,
    ),
    "replays": Store(lambda c: Replays(c).add(REPLAY), (keys.replay_job(REPLAY.id), "job"), replayed, None),
    "ended tries": Store(lambda c: TryFeed(c).show([ENDED]), (keys.ended_tries(), "try"), shown, None),
    "tests of subscriptions": Store(
        lambda c: SubscriptionTests(c, c).ask(ASKED), (keys.asked_test("ident"), None), asked, None
    ),
    "erasures": Store(
        lambda c: Erasures(c).add(ERASURE, PERSON),
        (keys.erasure_job(ERASURE.id), "job"),
        lambda c: (Erasures(c).get(ERASURE.id), list(Erasures(c).newest_first())),
        (None, []),
    ),
    "persons of erasures": Store(
        lambda c: Erasures(c).add(ERASURE, PERSON),
        (keys.erasure_job(ERASURE.id), "person"),
        lambda c: Erasures(c).get(ERASURE.id),
        None,
    ),
    "attempts of a consent": Store(
        lambda c: consents(c).register_attempts("eu", [governed()]),
        (keys.consented("eu", "c"), "a"),
        lambda c: consents(c).registered_attempts("eu", "c"),
        {"a": Assessment(id="")},
    ),
    "headers of requests": Store(refuse_request, (keys.rejected(0), "headers"), requested, {}),
    "sessions": Store(open_session, (SESSION, None), stored_session, None, logs=False),
    "processes": Store(
        lambda c: RunningProcesses(c).report("web:a:1", "d", NOW, NOW),
        (keys.configurations(), "running:web:a:1"),
        lambda c: RunningProcesses(c).read(NOW),
        [],
    ),
}
#: A JSON object in which any member may be missing is read, such as headers.
FREE = {"headers of requests", "processes"}


@pytest.fixture(autouse=True)
def _nothing_was_logged() -> None:
    log_unreadable.cache_clear()


@pytest.mark.parametrize("name", STORES)
def test_a_store_reads_what_other_versions_have_written(state: redis.Redis, name: str) -> None:
    store = STORES[name]
    store.write(state)
    before, text = store.read(state), store.text(state)
    assert before != store.otherwise
    members = json.loads(text)
    if name != "headers of requests":
        store.put(state, json.dumps({**members, **LATER}).encode())
        assert store.read(state) == before
    for missing in members:
        rest = {member: value for member, value in members.items() if member != missing}
        store.put(state, json.dumps(rest).encode())
        store.read(state)
        if not state.exists(store.place[0]):
            store.write(state)  # a process that was last seen in 1970 is forgotten


@pytest.mark.parametrize("name", STORES)
def test_junk_in_a_store_concerns_itself_alone_and_is_logged_once(state: redis.Redis, name: str) -> None:
    store = STORES[name]
    store.write(state)
    for junk in JUNK:
        if name in FREE and junk.startswith(b"{"):
            continue
        store.put(state, junk)
        with capture_logs() as logs:
            assert store.read(state) == store.otherwise
            store.read(state)
        log_unreadable.cache_clear()
        written = [line for line in logs if line["event"] == "stored_record_unreadable"]
        assert len(written) == store.logs, junk


def test_an_expectation_of_a_later_version_keeps_its_members_and_junk_is_left_out(state: redis.Redis) -> None:
    store = expectations(state)
    for key in ("one", "two"):
        store.expect("eu", [Pointer(key=key, reference={"id": key})], label="l", due=NOW, deadline=NOW + 1, now=NOW)
    name = keys.expected("eu")
    members = json.loads(state.hget(name, "one") or b"")
    state.hset(name, "one", json.dumps({**members, **LATER}))
    (late,) = [each for each in store.overdue("eu", before=NOW + 2) if each.key == "one"]
    assert store.set_state("eu", late, "overdue")
    assert json.loads(state.hget(name, "one") or b"") == {**members, **LATER, "state": "overdue"}
    for junk in JUNK[:6]:
        state.hset(name, "two", junk)
        log_unreadable.cache_clear()
        with capture_logs() as logs:
            assert [each.key for each in store.list("eu")] == ["one"]
        assert [line["event"] for line in logs] == ["stored_record_unreadable"]


@pytest.mark.parametrize("members", [{}, {"start": "x"}, {"start": None}, {"start": 1, "newest": "x"}])
def test_a_cursor_that_is_none_is_a_fault_of_that_cursor(members: dict[str, Any]) -> None:
    for text in (json.dumps(members), "", "[]", "7", "[" * 100_000):
        with pytest.raises(VendorFault) as raised:
            Cursor.read(text)
        assert raised.value.reason == "bad_cursor"
    assert Cursor.read(json.dumps({"start": 1, "page": "p", **LATER})) == Cursor(start=1, page="p")


#: Modules that parse JSON by themselves, and what they parse. What the state holds is read by `stored_json`.
PARSERS = {
    "bridge/audit.py": "changes, whose members are free",
    "bridge/cli/": "answers of the API, and files",
    "bridge/delivery/letters.py": "one text out of a record",
    "bridge/delivery/listing.py": "positions that callers send",
    "bridge/delivery/replay_archive.py": "events out of tables",
    "bridge/delivery/subscription_filter.py": "events",
    "bridge/delivery/tries.py": "lines of tries, each by itself",
    "bridge/erasure/": "what is rewritten without knowing what it is",
    "bridge/journal/event_fields.py": "events",
    "bridge/journal/waiting_events.py": "records that are completed with all their members",
    "bridge/notify/messages.py": "events",
    "bridge/polling/open_watch.py": "watches, which have a format of their own",
    "bridge/runtime/up.py": "lines of logs",
    "bridge/sandbox/": "events",
    "bridge/sql/rows.py": "events",
    "bridge/state/stored_json.py": "everything else",
    "bridge/vendors/": "answers of vendors; cursors and names, see above",
    "bridge/web/api/dead_letters.py": "events",
    "bridge/web/api/paging.py": "positions that callers send",
    "bridge/web/ui/": "answers of the API",
    "workers/dispatch/": "events",
    "workers/inbound/celery_guard.py": "messages of a broker",
    "workers/polling/reconcile.py": "events",
    "workers/transports/kafka_topic.py": "events",
}


READERS = {"read_record": 0, "record_or_none": 0, "AgreedRecords": 1}


def calls(*wanted: str) -> Iterator[tuple[str, str, ast.Call]]:
    """(file, dotted name, call) of every call of these functions."""
    for folder in ("bridge", "workers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if any(name in text for name in wanted):
                for node in ast.walk(ast.parse(text)):
                    if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in wanted:
                        yield path.relative_to(ROOT).as_posix(), name, node


def test_every_class_that_is_stored_is_in_the_list() -> None:
    stored = {
        ast.unparse(call.args[READERS[name]])
        for file, name, call in calls(*READERS)
        if file.startswith("bridge/") and file != "bridge/state/stored_json.py"
    }
    assert stored - {"context", "self._kind", "_Answer"} == RECORDS.keys()
    assert REQUIRED.keys() == RECORDS.keys()


def test_every_module_that_parses_json_says_what_it_parses() -> None:
    parsing = {file for file, _, _ in calls("json.loads")}
    assert {file for file in parsing if not file.startswith(tuple(PARSERS))} == set()
    assert {start for start in PARSERS if not any(file.startswith(start) for file in parsing)} == set()
