"""A bridge in which every place holds something of two persons, brought there the way it comes there in production."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import redis
from flask.testing import FlaskClient

from bridge.audit import Change
from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.group_store import FailureGroups
from bridge.errors import DeliveryFailed
from bridge.ingest.intake import read_body
from bridge.ingest.notices import subscription_submission
from bridge.ingest.pipeline import ingest
from bridge.journal import Entry
from bridge.monitoring.alarms import Alarm, Alarms
from bridge.monitoring.subscription_alarms import Facts, SubscriptionAlarms, alarm_notice, next_alarm
from bridge.polling.backfill_jobs import Backfill, Backfills
from bridge.polling.cursors import RoundReport
from bridge.polling.reconciliation import Reconciliation, Reconciliations
from bridge.polling.vendor_memory import VendorMemory
from bridge.polling.worker_jobs import TEST, WorkerJob, WorkerJobs
from bridge.sdk.records import NormalisedAttempt, Record, Watch
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from schemas.event import Assessment, Candidate, Result
from tests.support.dispatch import Receiver, send_due
from tests.support.watches_api import TOKENS, OpenGate, access_of, build
from tests.support.web import sign
from workers.dispatch.erasures import ErasureRunner
from workers.transports.contract import Outcome, Outgoing

__all__ = [
    "OTHER",
    "SAM",
    "Named",
    "contents",
    "fill",
    "finish",
    "job_number",
    "make_client",
    "make_services",
    "named_keys",
    "places_of",
    "receive",
    "traces",
]

#: Every failure is final, is retried, is never made.
SUBSCRIPTIONS = {
    "crm": Subscription(name="crm", transport="http", retry=RetryPolicy(schedule=())),
    "book": Subscription(name="book", transport="http"),
    "desk": Subscription(name="desk", transport="http"),
}


@dataclass(frozen=True)
class Named:
    """One person, with ids of things that belong to no other."""

    user: str
    first: str
    last: str
    email: str
    started: int

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def attempt(self) -> str:
        return f"group:{self.user}:90011:50721:{self.started}"


SAM = Named("8841337", "Sámuel", "Reyes", "Sam.Reyes@example.org", 1_767_261_600)
OTHER = Named("9952448", "Ines", "Moura", "ines@example.org", 1_767_261_777)


def make_services(state: redis.Redis, folder: Path) -> Services:
    services = build(state, folder, access=access_of(TOKENS))
    return replace(services, config=replace(services.config, subscriptions=SUBSCRIPTIONS))


def make_client(services: Services) -> FlaskClient:
    made = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['operator']}"
    return made


def body_of(person: Named, **changes: Any) -> bytes:
    """A webhook of ClassMarker about a result in a group."""
    result = {
        "user_id": person.user,
        "first": person.first,
        "last": person.last,
        "email": person.email,
        "percentage": 66.7,
        "points_scored": 4.0,
        "points_available": 6.0,
        "requires_grading": "No",
        "time_started": person.started,
        "time_finished": person.started + 900,
        "duration": "00:15:00",
        "percentage_passmark": 70,
        "passed": False,
        "view_results_url": "",
        **changes,
    }
    document = {
        "payload_type": "single_user_test_results_group",
        "payload_status": "live",
        "test": {"test_id": 90011, "test_name": "Forklift basics"},
        "group": {"group_id": 50721, "group_name": "Warehouse B"},
        "result": result,
    }
    return json.dumps(document).encode()


def fill(services: Services, client: FlaskClient, person: Named) -> None:
    """Bring something of the person to every place."""
    receive(services, client, person)
    deliver(services, person)
    announce(services, person)
    operate(services, client, person)
    remember(services, person)


def receive(services: Services, client: FlaskClient, person: Named) -> None:
    """By webhook, by poll, unreadable, and refused."""
    send(client, body_of(person))
    context = services.ingest_context("eu")
    content = read_body(context, body_of(person, time_started=person.started + 60))
    ingest(context, cast("list[Record]", content), now=services.now())
    for unreadable in (
        body_of(person, points_scored="?"),
        f"payload=%7B%22who%22%3A%22{person.email.replace('@', '%40')}%22".encode(),
        f'{{"payload_type": "single_user_test_results_group", "user": {person.user}}}'.encode(),
    ):
        send(client, unreadable)
    send(client, body_of(person), signature="wrong")


def send(client: FlaskClient, body: bytes, signature: str | None = None) -> None:
    headers = {"X-Classmarker-Hmac-Sha256": signature or sign(body, "w")}
    client.post("/webhooks/eu", data=body, headers=headers, content_type="application/json")


def deliver(services: Services, person: Named) -> None:
    """To one that gives up, to one that retries, to one that takes it; all their answers quote the person."""

    def refuse(_: Outgoing) -> Outcome:
        return DeliveryFailed(f"receiver says: no {person.email} here", reason="receiver_error")

    answer = f"unknown: {person.name} <{person.email}>".encode()
    for name, outcome in (("crm", refuse), ("book", refuse), ("desk", None)):
        receiver = Receiver(outcome, status=400 if outcome else 200, body=answer)
        send_due(services.state, receiver, SUBSCRIPTIONS[name], services.now(), steps=1000)


def announce(services: Services, person: Named) -> None:
    """Alarms that quote an error."""
    now = services.now()
    alarms, groups = SubscriptionAlarms(services.state), FailureGroups(services.deliveries)
    facts = Facts(name="crm", now=now, state=services.deliveries.state("crm", now=now), groups=groups.of("crm"))
    failing = next_alarm(None, facts)
    assert failing is not None
    failing = alarms.compare_and_set("crm", alarms.of("crm"), failing)
    notice = subscription_submission(services.config.bridge, "crm", alarm_notice("crm", failing), now=now)
    services.journal.publish(Entry(submissions=(notice,)), now=now)
    raised = Alarm(
        kind="source.poll_failing",
        state="raised",
        since=now,
        raised_at=now,
        at=now,
        repeats=0,
        published=True,
        fact="polls fail",
        value=f"odd: {person.email}",
        remedy="none",
    )
    Alarms(services.state).compare_and_set("eu", Alarms(services.state).of("eu").get(raised.kind), raised)


def operate(services: Services, client: FlaskClient, person: Named) -> None:
    """An expectation with a label, registered with a key that makes repeating it harmless; and a replay by filter."""
    reference = {"stream": "group", "user": person.user, "test": "90012", "group": "50721"}
    watch = {"source": "eu", "reference": reference, "label": f"for {person.name}"}
    answer = client.post("/api/v1/watches", json=watch, headers={"Idempotency-Key": f"key-{person.user}"})
    assert answer.status_code in (200, 201), answer.json
    other = {"source": "eu", "reference": {"stream": "link", "result": person.user[:3]}, "label": f"asks {person.name}"}
    assert client.post("/api/v1/watches", json=other).status_code in (200, 201)
    replay = {"what": "dead_letters", "subscriptions": ["crm"], "filter": f'attempt:"{person.attempt}"'}
    answer = client.post("/api/v1/replays", json=replay)
    assert answer.status_code == 201, answer.json
    services.replays.change(answer.json["replay"]["id"], "stopped", ("running",), now=services.now())
    change = Change(f"case of {person.name}", {"note": f"{person.name} called"}, {"attempt": person.attempt})
    services.audit.record(
        change, actor="ops", role="operator", action="noted", now=services.now(), call_id=person.first
    )


def remember(services: Services, person: Named) -> None:
    """What vendors with other habits bring: second sittings, consent, spellings; and reports."""
    now = services.now()
    services.sittings.resolve("eu", [(person.attempt, "sitting-1", None)], now=now)
    watch = Watch(reference={"stream": "group"}, due_in=60, give_up_at=now + 900)
    services.watches.open("eu", person.attempt, watch, now=now)
    attempt = NormalisedAttempt(
        attempt_id=person.attempt,
        status="completed",
        candidate=Candidate(id=person.user),
        assessment=Assessment(id="90011"),
        result=Result(),
        consent=(f"consent:{person.started}",),
    )
    services.consents.register_attempts("eu", [attempt])
    VendorMemory(services.state, "eu").remember("attempts", {person.attempt: person.attempt}, seconds=900)
    reconciliation = Reconciliation(source="eu", since=0.0, until=now, made=now, ids={"missing": [person.attempt]})
    Reconciliations(services.state).keep(reconciliation)
    report = RoundReport(stream="groups", from_cursor="1", to_cursor="2", started=now, error=f"odd: {person.email}")
    services.cursors.record_round("eu", report)
    number, why = f"eu/{job_number(person)}", f"odd: {person.email}"
    failed = Backfill(id=number, source="eu", first=0.0, last=1.0, streams=["groups"], state="failed", error=why)
    Backfills(services.state).save(failed, now)
    step = {"name": "groups", "status": "warning", "text": why, "records": {}, "problems": [why]}
    WorkerJobs(services.state).save(WorkerJob(id=number, kind=TEST, source="eu", state="done", steps=[step]), now)


def job_number(person: Named) -> str:
    """Of the backfill and of the source's test whose errors quote the person."""
    return hashlib.sha256(person.email.encode()).hexdigest()[:8]


def finish(
    services: Services, crash: Callable[[str], None] = lambda point: None, steps: int = 200, token: str = "test"
) -> None:
    """Run all erasures to their end."""
    runner = ErasureRunner(services, token, crash=crash)
    for _ in range(steps):
        if not services.erasures.running():
            return
        runner.step(services.now)
    raise AssertionError("still running")


def contents(state: redis.Redis) -> dict[str, bytes]:
    """Key -> its name and everything in it, as one text."""
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"string": state.get,  # type: ignore[dict-item]
        b"hash": state.hgetall,  # type: ignore[dict-item]
        b"set": state.smembers,  # type: ignore[dict-item]
        b"zset": lambda key: state.zrange(cast("str", key), 0, -1, withscores=True),
        b"list": lambda key: state.lrange(cast("str", key), 0, -1),
        b"stream": lambda key: state.xrange(cast("str", key)),
    }
    stored = {}
    for key in cast("list[bytes]", list(state.scan_iter(count=1000))):
        stored[key.decode()] = repr((key, read[cast("bytes", state.type(cast("str", key)))](key))).encode()
    return stored


def traces(person: Named) -> Iterator[bytes]:
    """What names the person, as it is stored and as `contents` shows it."""
    for text in (person.user, person.email, person.email.replace("@", "%40"), person.last, person.attempt):
        yield text.encode()


def places_of(state: redis.Redis, person: Named) -> dict[str, int]:
    """Key -> how often it names the person."""
    needles = list(traces(person))
    counted = {key: sum(text.count(needle) for needle in needles) for key, text in contents(state).items()}
    return {key: number for key, number in counted.items() if number}


def named_keys(person: Named) -> set[str]:
    """The keys that name the person after `fill`."""
    return {
        *(keys.journal(0), keys.requests(0), keys.rejected(0), keys.quarantine(0), keys.audit()),
        *(keys.deliveries("book"), keys.tries("book"), keys.dead("crm"), keys.settled("desk")),
        *(keys.watch("eu"), keys.expected("eu"), keys.expected_spellings("eu"), keys.deadlines("eu")),
        *(keys.sittings("eu"), keys.consented("eu", f"consent:{person.started}")),
        *(keys.vendor_memory("eu", "attempts"), keys.reconciliations("eu"), keys.cursor_history("eu")),
        *(keys.worker_jobs("all"), keys.backfills()),
    }
