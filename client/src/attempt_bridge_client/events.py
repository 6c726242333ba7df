"""Events and their parts. Written by `client/generate_types.py` from the JSON Schemas 1.0: do not edit.

Members that a later minor version adds are in `extra`. Times are timezone-aware, in UTC. None means unknown, or not
among the fields that the subscription gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Optional, Union

from attempt_bridge_client.reading import Members, json_object, unreadable

__all__ = [
    "ATTEMPT_TYPES",
    "NOTICE_TYPES",
    "SCHEMA_VERSION",
    "Alarm",
    "Assessment",
    "Attempt",
    "AttemptData",
    "AttemptEvent",
    "Candidate",
    "Consent",
    "Event",
    "Group",
    "Links",
    "Notice",
    "NoticeData",
    "Previous",
    "Result",
    "Section",
    "SubscriptionNotice",
    "SubscriptionTest",
    "VendorFacts",
    "Watch",
]

#: The versions of the schemas that these types were written from.
SCHEMA_VERSION = "1.0"
#: Types of events that carry a result.
ATTEMPT_TYPES = frozenset(
    {
        "attempt.completed",
        "attempt.revised",
        "attempt.voided",
    }
)
#: Types of events without a result that this version knows.
NOTICE_TYPES = frozenset(
    {
        "attempt.overdue",
        "consent.withdrawn",
        "source.webhooks_silent",
        "source.poll_failing",
        "source.budget_exhausted",
        "source.credentials_rejected",
        "subscription.failing",
        "subscription.recovered",
        "subscription.disabled",
        "bridge.test",
    }
)


@dataclass(frozen=True)
class Attempt:
    """`Attempt` of the schema."""

    id: str
    """Unique within its source; the same by webhook and poll."""
    revision: int
    """1, then one higher with each change of the result. Keep the highest."""
    status: str
    """Whether the attempt counts. One of completed, voided; later versions may add more."""
    started_at: Optional[datetime]
    """When the candidate started."""
    completed_at: Optional[datetime]
    """When the candidate finished, by the vendor's clock."""
    duration_seconds: Optional[int]
    """Time taken, whole seconds."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Attempt:
        members = Members(value, path, sparse=True)
        return cls(
            id=members.text("id"),
            revision=members.whole("revision"),
            status=members.text("status"),
            started_at=members.optional("started_at", members.moment),
            completed_at=members.optional("completed_at", members.moment),
            duration_seconds=members.optional("duration_seconds", members.whole),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Candidate:
    """`Candidate` of the schema."""

    id: Optional[str]
    """The vendor's id of the candidate."""
    external_id: Optional[str]
    """Your id of the candidate, if the vendor was given it."""
    email: Optional[str]
    """Null in the minimal projection."""
    name: Optional[str]
    """Null in the minimal projection."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Candidate:
        members = Members(value, path, sparse=True)
        return cls(
            id=members.optional("id", members.text),
            external_id=members.optional("external_id", members.text),
            email=members.optional("email", members.text),
            name=members.optional("name", members.text),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Group:
    """`Group` of the schema."""

    kind: Optional[str]
    """link, group, schedule, course: the vendor's kind of group."""
    id: Optional[str]
    """The vendor's id of the group."""
    name: Optional[str]
    """Its name."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Group:
        members = Members(value, path, sparse=True)
        return cls(
            kind=members.optional("kind", members.text),
            id=members.optional("id", members.text),
            name=members.optional("name", members.text),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Assessment:
    """`Assessment` of the schema."""

    id: Optional[str]
    """The vendor's id of the test."""
    name: Optional[str]
    """Its name."""
    group: Optional[Group]
    """Where it was given."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Assessment:
        members = Members(value, path, sparse=True)
        return cls(
            id=members.optional("id", members.text),
            name=members.optional("name", members.text),
            group=members.optional_part("group", Group._read),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Previous:
    """`Previous` of the schema."""

    score: Optional[float]
    """Points reached."""
    max_score: Optional[float]
    """Points that can be reached."""
    percentage: Optional[float]
    """0 to 100, as the vendor calculates it."""
    pass_mark_percentage: Optional[float]
    """The lowest percentage that passes."""
    passed: Optional[bool]
    """The vendor's decision."""
    grade: Optional[str]
    """The vendor's grade."""
    grading: Optional[str]
    """How final it was. One of final, provisional, pending, not_scored; later versions may add more."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Previous:
        members = Members(value, path, sparse=True)
        return cls(
            score=members.optional("score", members.number),
            max_score=members.optional("max_score", members.number),
            percentage=members.optional("percentage", members.number),
            pass_mark_percentage=members.optional("pass_mark_percentage", members.number),
            passed=members.optional("passed", members.boolean),
            grade=members.optional("grade", members.text),
            grading=members.optional("grading", members.text),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Result:
    """`Result` of the schema."""

    score: Optional[float]
    """Points reached."""
    max_score: Optional[float]
    """Points that can be reached."""
    percentage: Optional[float]
    """0 to 100, as the vendor calculates it."""
    pass_mark_percentage: Optional[float]
    """The lowest percentage that passes."""
    passed: Optional[bool]
    """The vendor's decision; null without a pass mark."""
    grade: Optional[str]
    """The vendor's grade."""
    grading: Optional[str]
    """How final the result is; anything but final may be revised. One of final, provisional, pending, not_scored;
    later versions may add more.
    """
    previous: Optional[Previous]
    """On attempt.revised: the result that this one replaces."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Result:
        members = Members(value, path, sparse=True)
        return cls(
            score=members.optional("score", members.number),
            max_score=members.optional("max_score", members.number),
            percentage=members.optional("percentage", members.number),
            pass_mark_percentage=members.optional("pass_mark_percentage", members.number),
            passed=members.optional("passed", members.boolean),
            grade=members.optional("grade", members.text),
            grading=members.optional("grading", members.text),
            previous=members.optional_part("previous", Previous._read),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Section:
    """`Section` of the schema."""

    id: Optional[str]
    """The vendor's id of the section."""
    name: Optional[str]
    """Its name."""
    score: Optional[float]
    """Points reached."""
    max_score: Optional[float]
    """Points that can be reached."""
    percentage: Optional[float]
    """0 to 100, as the vendor calculates it."""
    passed: Optional[bool]
    """The vendor's decision."""
    sections: tuple[Section, ...]
    """Its parts."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Section:
        members = Members(value, path, sparse=True)
        return cls(
            id=members.optional("id", members.text),
            name=members.optional("name", members.text),
            score=members.optional("score", members.number),
            max_score=members.optional("max_score", members.number),
            percentage=members.optional("percentage", members.number),
            passed=members.optional("passed", members.boolean),
            sections=members.parts("sections", Section._read),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class VendorFacts:
    """`VendorFacts` of the schema."""

    name: Optional[str]
    """The vendor."""
    source: Optional[str]
    """The configured vendor account."""
    status: Optional[str]
    """The vendor's own status."""
    ids: Mapping[str, str]
    """The vendor's ids of the attempt."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> VendorFacts:
        members = Members(value, path, sparse=True)
        return cls(
            name=members.optional("name", members.text),
            source=members.optional("source", members.text),
            status=members.optional("status", members.text),
            ids=members.text_mapping("ids"),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Links:
    """`Links` of the schema."""

    report: Optional[str]
    """The vendor's report."""
    certificate: Optional[str]
    """The vendor's certificate."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Links:
        members = Members(value, path, sparse=True)
        return cls(
            report=members.optional("report", members.text),
            certificate=members.optional("certificate", members.text),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class AttemptData:
    """`Data` of the schema."""

    attempt: Attempt
    """One sitting of one test by one candidate."""
    candidate: Candidate
    """Who took it; the only personal data of the event."""
    assessment: Assessment
    """The test."""
    result: Result
    """The result; unknown is null, never a guess."""
    sections: tuple[Section, ...]
    """Scored parts of the test."""
    flags: tuple[str, ...]
    """The vendor's remarks, such as proctoring incidents."""
    vendor: VendorFacts
    """Where the attempt came from."""
    links: Links
    """Addresses."""
    extensions: Mapping[str, Any]
    """Facts that only this vendor has, and the label of an expectation."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> AttemptData:
        members = Members(value, path, sparse=True)
        return cls(
            attempt=members.part("attempt", Attempt._read),
            candidate=members.part("candidate", Candidate._read),
            assessment=members.part("assessment", Assessment._read),
            result=members.part("result", Result._read),
            sections=members.parts("sections", Section._read),
            flags=members.texts("flags"),
            vendor=members.part("vendor", VendorFacts._read),
            links=members.part("links", Links._read),
            extensions=members.mapping("extensions"),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Watch:
    """`Watch` of the schema."""

    key: str
    """The attempt id; with a leading `?` a key that may mean several attempts."""
    kind: str
    """An open attempt, an operator's expectation, a pointer from a webhook, or an attempt not graded yet. One of
    attempt, expectation, pointer, ungraded; later versions may add more.
    """
    reference: Mapping[str, str]
    """What the vendor's API was asked for, without e-mail addresses."""
    label: Optional[str]
    """Your label of the expectation."""
    opened_at: datetime
    """When the watch was opened."""
    due: datetime
    """When it was expected, or rechecked last."""
    deadline: datetime
    """When rechecking ended."""
    looks: int
    """How often the vendor was asked."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Watch:
        members = Members(value, path)
        return cls(
            key=members.text("key"),
            kind=members.text("kind"),
            reference=members.text_mapping("reference"),
            label=members.optional("label", members.text),
            opened_at=members.moment("opened_at"),
            due=members.moment("due"),
            deadline=members.moment("deadline"),
            looks=members.whole("looks"),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Consent:
    """`Consent` of the schema."""

    subject: Mapping[str, str]
    """The person, by ids of the vendor only."""
    withdrawn_at: datetime
    """When it was withdrawn, by the vendor's clock."""
    attempts_voided: int
    """Number of published attempts that were voided; each has an event of its own."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Consent:
        members = Members(value, path)
        return cls(
            subject=members.text_mapping("subject"),
            withdrawn_at=members.moment("withdrawn_at"),
            attempts_voided=members.whole("attempts_voided"),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Alarm:
    """`Alarm` of the schema."""

    state: str
    """raised when it begins and every day while it lasts, recovered when it is over. One of raised, recovered;
    later versions may add more.
    """
    since: datetime
    """When the problem began."""
    fact: str
    """What is wrong."""
    value: str
    """What was measured."""
    remedy: str
    """What to do about it."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> Alarm:
        members = Members(value, path)
        return cls(
            state=members.text("state"),
            since=members.moment("since"),
            fact=members.text("fact"),
            value=members.text("value"),
            remedy=members.text("remedy"),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class SubscriptionNotice:
    """`SubscriptionNotice` of the schema."""

    name: str
    """Name of the subscription."""
    since: datetime
    """When the problem began."""
    fact: str
    """What is or was wrong."""
    value: str
    """What was measured."""
    remedy: str
    """What to do about it."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> SubscriptionNotice:
        members = Members(value, path)
        return cls(
            name=members.text("name"),
            since=members.moment("since"),
            fact=members.text("fact"),
            value=members.text("value"),
            remedy=members.text("remedy"),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class SubscriptionTest:
    """`SubscriptionTest` of the schema."""

    subscription: str
    """Name of the subscription."""
    text: str
    """What this is, for people."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> SubscriptionTest:
        members = Members(value, path)
        return cls(
            subscription=members.text("subscription"),
            text=members.text("text"),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class NoticeData:
    """`NoticeData` of the schema."""

    watch: Optional[Watch]
    """On attempt.overdue."""
    consent: Optional[Consent]
    """On consent.withdrawn."""
    alarm: Optional[Alarm]
    """On source.*."""
    subscription: Optional[SubscriptionNotice]
    """On subscription.*."""
    test: Optional[SubscriptionTest]
    """On bridge.test."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Members that this version does not know."""

    @classmethod
    def _read(cls, value: object, path: str) -> NoticeData:
        members = Members(value, path)
        return cls(
            watch=members.optional_part("watch", Watch._read),
            consent=members.optional_part("consent", Consent._read),
            alarm=members.optional_part("alarm", Alarm._read),
            subscription=members.optional_part("subscription", SubscriptionNotice._read),
            test=members.optional_part("test", SubscriptionTest._read),
            extra=members.rest(),
        )


@dataclass(frozen=True)
class Event:
    """A CloudEvents 1.0 event of the bridge: an `AttemptEvent`, a `Notice`, or of a type that a later version adds.

    Ask with `isinstance`; of an unknown type, `data` is the JSON object.
    """

    specversion: str
    """Version of CloudEvents."""
    id: str
    """The same for every copy of an event; drop copies by `source` and `id`."""
    source: str
    """The configured vendor account: /<bridge>/sources/<source>; or /<bridge>/subscriptions/<name>."""
    type: str
    """What happened. One of attempt.completed, attempt.revised, attempt.voided; later versions may add more."""
    subject: str
    """The attempt id."""
    time: datetime
    """When the attempt was completed, or when the bridge first saw it."""
    datacontenttype: str
    """Media type of `data`."""
    dataschema: str
    """Where the schema of `data` can be read."""
    recordedtime: datetime
    """When the bridge built the event."""
    partitionkey: str
    """Events of one subject share it: <source>/<subject>."""
    bridgevendor: str
    """The vendor; of subscription.* and bridge.test `bridge`."""
    bridgeorigin: str
    """The path by which it came first; `bridge`: the bridge itself says so. One of webhook, poll, backfill, bridge;
    later versions may add more.
    """
    bridgetest: bool
    """True: a test, such as one with an invented attempt; do not act on it. Otherwise absent."""
    traceparent: Optional[str]
    """W3C trace context of what published it. Absent if the bridge does not trace."""
    data: Any
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Attributes that this version does not know."""

    @staticmethod
    def from_json(body: Union[bytes, str]) -> Event:
        """The event in a JSON document. Raises `EventRejected` with reason `unreadable`.

        Verifies nothing: over HTTP use `verify`.
        """
        return Event.from_mapping(json_object(body))

    @staticmethod
    def from_mapping(value: Mapping[str, Any]) -> Event:
        """The event in a parsed document, such as the argument of a task. Raises `EventRejected`."""
        members = Members(value, "")
        kind = value.get("type")
        if value.get("specversion") != "1.0":
            raise unreadable("specversion: not 1.0")
        if kind in ATTEMPT_TYPES:
            return _attempt_event(members)
        return _notice(members) if kind in NOTICE_TYPES else _other(members)


@dataclass(frozen=True)
class AttemptEvent(Event):
    """An event about one attempt; its `data` carries the result."""

    data: AttemptData


@dataclass(frozen=True)
class Notice(Event):
    """An event about something other than a result."""

    data: NoticeData


def _attempt_event(members: Members) -> AttemptEvent:
    data = members.part("data", AttemptData._read)
    return AttemptEvent(data=data, **_attributes(members))


def _notice(members: Members) -> Notice:
    data = members.part("data", NoticeData._read)
    return Notice(data=data, **_attributes(members))


def _other(members: Members) -> Event:
    data = members.mapping("data")
    return Event(data=data, **_attributes(members))


def _attributes(members: Members) -> dict[str, Any]:
    return {
        "specversion": members.text("specversion"),
        "id": members.text("id"),
        "source": members.text("source"),
        "type": members.text("type"),
        "subject": members.text("subject"),
        "time": members.moment("time"),
        "datacontenttype": members.text("datacontenttype"),
        "dataschema": members.text("dataschema"),
        "recordedtime": members.moment("recordedtime"),
        "partitionkey": members.text("partitionkey"),
        "bridgevendor": members.text("bridgevendor"),
        "bridgeorigin": members.text("bridgeorigin"),
        "bridgetest": members.optional("bridgetest", members.boolean) or False,
        "traceparent": members.optional("traceparent", members.text),
        "extra": members.rest(),
    }
