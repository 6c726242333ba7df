"""Notices: their form, that each is published once, and that they do not affect attempts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from jsonschema import Draft7Validator, Draft202012Validator
from marshmallow import ValidationError

from bridge.config.model import BridgeConfig
from bridge.ingest import notices
from bridge.journal import BRIDGE, Entry, Journal, RequestRecord
from bridge.journal.reading import Reader
from bridge.polling import watches
from bridge.polling.watches import OpenWatch
from bridge.state import keys
from schemas import export
from schemas.envelope import event_id
from schemas.event import ATTEMPT_TYPES, minimal
from schemas.notice_shapes import MEMBERS, WATCH_KINDS, NoticeSchema
from schemas.notices import (
    ALARM_TYPES,
    CONSENT_WITHDRAWN,
    NOTICE_TYPES,
    OVERDUE,
    POLL_FAILING,
    SUBSCRIPTION_FAILING,
    SUBSCRIPTION_TYPES,
    TEST,
)
from tests.support.journal import DAY, NOW, make_submission, outcomes
from tests.support.partitions import entries
from tests.support.schemas import CLOUDEVENTS, compact, problems

BRIDGE_CONFIG = BridgeConfig(name="acme", public_url="https://bridge.example.test")
DOCUMENTS = export.documents()
OURS = Draft202012Validator(
    json.loads(DOCUMENTS["notice-event-1.0.schema.json"]), format_checker=Draft202012Validator.FORMAT_CHECKER
)
OUR_DATA = Draft202012Validator(
    json.loads(DOCUMENTS["notice-1.0.schema.json"]), format_checker=Draft7Validator.FORMAT_CHECKER
)
WATCH = OpenWatch(
    key="?a1b2c3",
    kind=watches.EXPECTATION,
    reference={"access_key": "k-77", "email": "sam@example.test", "external": "sam@example.test"},
    due=NOW - 7200.0,
    give_up_at=NOW - 60.0,
    opened_at=NOW - DAY,
    rechecks=3,
)


def alarm(kind: str, state: str = "raised", occasion: str = "1") -> notices.Notice:
    return notices.alarm(
        kind,
        "eu",
        occasion=occasion,
        time=NOW,
        state=state,
        since=NOW - 3600.0,
        fact="no calls are left",
        value="30 of 30 calls per 1h used",
        remedy="poll less often",
    )


def about_subscription(kind: str) -> notices.Notice:
    facts = {"fact": "deliveries were given up", "value": "3 dead letters", "remedy": "replay them"}
    return notices.subscription_alarm(kind, "crm", occasion="1:7", time=NOW, since=NOW - 60, **facts)


def withdrawn(number: int = 1, at: float = NOW) -> notices.Notice:
    people = {"person_id": "1"}
    return notices.consent_withdrawn(key="?person:1", number=number, at=at, subject=people, attempts_voided=2)


EVERY = [notices.overdue(WATCH, label="E-17"), notices.overdue(WATCH), withdrawn(), *map(alarm, ALARM_TYPES)]
EVERY += map(about_subscription, SUBSCRIPTION_TYPES)


def offer(journal: Journal, *offered: notices.Notice, now: float = NOW) -> list[str]:
    return outcomes(journal, *(notices.submission(BRIDGE_CONFIG, "eu", "mettl", item, now=now) for item in offered))


def newest(state: redis.Redis) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(next(Reader(state).events()).event)
    return document


@pytest.mark.parametrize("notice", EVERY, ids=lambda notice: notice.type)
def test_a_notice_is_valid_against_our_schemas_and_that_of_cloudevents(
    notice: notices.Notice, state: redis.Redis
) -> None:
    assert offer(Journal(state), notice) == ["published"]
    stored = next(Reader(state).events())
    document = json.loads(stored.event)
    assert problems(OURS, document) == problems(CLOUDEVENTS, document) == problems(OUR_DATA, document["data"]) == []
    assert compact(NoticeSchema().dump(NoticeSchema().load(document))) == stored.event
    assert document["bridgeorigin"] == BRIDGE
    assert document["dataschema"] == "https://bridge.example.test/schemas/notice/1.0.json"
    assert document["subject"] == stored.attempt == notice.subject
    assert minimal(document) == document


def test_every_notice_type_has_an_example() -> None:
    assert {notice.type for notice in EVERY} == set(NOTICE_TYPES) == set(MEMBERS) - {TEST}
    # A watch of a settled attempt ends without a notice.
    assert set(WATCH_KINDS) == {watches.ATTEMPT, watches.EXPECTATION, watches.POINTER, watches.UNGRADED}


@pytest.mark.parametrize("change", [{"data": {}}, {"type": OVERDUE}, {"bridgeorigin": "rumour"}], ids=str)
def test_a_notice_without_the_member_of_its_type_is_refused(change: dict[str, Any], state: redis.Redis) -> None:
    offer(Journal(state), alarm(ALARM_TYPES[0]))
    document = {**newest(state), **change}
    assert problems(OURS, document)
    with pytest.raises(ValidationError):
        NoticeSchema().load(document)


@pytest.mark.parametrize("notice", EVERY, ids=lambda notice: notice.type)
def test_a_notice_is_published_once_however_often_and_whenever_it_is_submitted(
    notice: notices.Notice, state: redis.Redis
) -> None:
    first, second = Journal(state), Journal(state)
    assert offer(first, notice) == ["published"]
    assert offer(second, notice, notice, now=NOW + 5) == ["duplicate", "duplicate"]
    assert len(list(Reader(state).events())) == 1


def test_the_next_occasion_is_another_notice(state: redis.Redis) -> None:
    journal = Journal(state)
    assert offer(journal, withdrawn(), withdrawn(2), withdrawn(at=NOW + 5)) == ["published", "published", "duplicate"]
    assert offer(journal, *(alarm(ALARM_TYPES[0], occasion=word) for word in ("1", "2"))) == ["published"] * 2
    later = replace(WATCH, give_up_at=NOW + DAY)
    assert offer(journal, notices.overdue(WATCH), notices.overdue(later)) == ["published"] * 2
    ids = [event.id for event in Reader(state).events()]
    assert len(set(ids)) == len(ids) == 6


def test_the_id_of_a_notice_is_deterministic(state: redis.Redis) -> None:
    offer(Journal(state), withdrawn())
    memory = f"notice:{CONSENT_WITHDRAWN}:?person:1:1"
    assert newest(state)["id"] == event_id("/acme/sources/eu", memory, CONSENT_WITHDRAWN, 1)


def test_a_notice_contains_no_email_address(state: redis.Redis) -> None:
    people = {"person_id": "1", "user_email": "sam%40example.test", "login": "sam@example.test"}
    withdrawal = notices.consent_withdrawn(key="?p", number=1, at=NOW, subject=people, attempts_voided=0)
    offer(Journal(state), notices.overdue(WATCH), withdrawal)
    for event in Reader(state).events():
        assert b"example.test" not in event.event.replace(b"bridge.example.test", b"")
    assert newest(state)["data"]["consent"]["subject"] == {"person_id": "1"}


def test_an_overdue_watch_says_what_was_expected_and_until_when(state: redis.Redis) -> None:
    offer(Journal(state), notices.overdue(WATCH, label="E-17"))
    document = newest(state)
    assert document["time"] == document["data"]["watch"]["deadline"] == "2024-10-04T00:59:00.000Z"
    assert document["data"]["watch"] == {
        "key": "?a1b2c3",
        "kind": "expectation",
        "reference": {"access_key": "k-77"},
        "label": "E-17",
        "opened_at": "2024-10-03T01:00:00.000Z",
        "due": "2024-10-03T23:00:00.000Z",
        "deadline": "2024-10-04T00:59:00.000Z",
        "looks": 3,
    }


@pytest.mark.parametrize("partitions", [1, 5])
def test_a_notice_about_an_attempt_is_in_its_partition_and_does_not_change_its_memory(
    state: redis.Redis, partitions: int
) -> None:
    journal, reader = Journal(state, partitions=partitions), Reader(state, partitions=partitions)
    for number in range(8):
        attempt = f"link:{number}"
        outcomes(journal, make_submission(attempt))
        memory = reader.attempt("eu", attempt)
        offer(journal, notices.overdue(replace(WATCH, key=attempt)))
        assert reader.attempt("eu", attempt) == memory
        places = {event.partition for event in reader.events(attempt=attempt)}
        assert places == {*reader.with_events("eu", attempt)}
        assert len(list(reader.events(attempt=attempt))) == 2


def test_notices_do_not_change_the_counts_of_webhooks_and_polls(state: redis.Redis) -> None:
    offer(Journal(state), withdrawn(), withdrawn())
    assert Reader(state).counts(20_000, 20_000) == {
        ("eu", "bridge", "published"): 1,
        ("eu", "bridge", "duplicate"): 1,
    }


def test_the_bridge_itself_does_not_count_as_a_path_that_saw_an_attempt(state: redis.Redis) -> None:
    journal, reader = Journal(state), Reader(state)
    outcomes(journal, make_submission(score=1))
    assert outcomes(journal, make_submission(score=2, origin=BRIDGE), now=NOW + DAY) == ["revised"]
    memory = reader.attempt("eu", "link:1")
    assert memory is not None
    assert (memory.webhook_day, memory.poll_day) == (20_000, None)


def test_a_stored_request_with_a_notice_lists_only_attempts(state: redis.Redis) -> None:
    submissions = (make_submission(), notices.submission(BRIDGE_CONFIG, "eu", "coremetrix", withdrawn(), now=NOW))
    request = RequestRecord(id="r-1", source="eu", received_at=NOW, headers={}, body=b"{}")
    written = Journal(state).publish(Entry(submissions=submissions, request=request), now=NOW)
    assert written.outcome == "published"
    ((_, fields),) = entries(state, keys.requests)
    assert fields[b"attempts"] == b"link:1"


@pytest.mark.parametrize("change", [lambda item: replace(item, reference={}), lambda item: replace(item, rechecks=9)])
def test_a_notice_that_another_process_words_differently_is_a_duplicate(
    change: Callable[[OpenWatch], OpenWatch], state: redis.Redis
) -> None:
    assert offer(Journal(state), notices.overdue(WATCH), notices.overdue(change(WATCH))) == [
        "published",
        "duplicate",
    ]


def test_the_examples_in_the_guide_for_subscribers_are_valid() -> None:
    guide = (Path(__file__).parents[2] / "docs/subscribing.md").read_text()
    text = guide[guide.index('{"type": "attempt.overdue"') :].split("```")[0]
    decoder, result = json.JSONDecoder(), []
    while text.strip():
        document, end = decoder.raw_decode(text.strip())
        result.append(document)
        text = text.strip()[end:]
    assert [document["type"] for document in result] == [OVERDUE, POLL_FAILING, SUBSCRIPTION_FAILING]
    for document in result:
        assert problems(OUR_DATA, document["data"]) == []
        assert MEMBERS[document["type"]] in document["data"]
    for kind in (*ATTEMPT_TYPES, *NOTICE_TYPES):
        assert f"`{kind}`" in guide
