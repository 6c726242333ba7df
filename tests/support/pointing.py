"""A made-up vendor with pointers, expectations, consent and second sittings. Webhooks name a sitting or a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis

from bridge.ingest.context import ReceiveResult, WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.sdk.vendor import Consent, NormalisedAttempt, Pointer, Record, Vendor, WebhookContent
from tests.support.polling import DAY, START, Api, Client, journal_events, make_services, make_vendor
from workers.polling.overdue import announce_overdue
from workers.polling.recheck import recheck

NAME = "eu-little"


def person_of(sitting: str) -> str:
    return sitting.partition("-")[0]


def split(body: Any, _options: Mapping[str, Any]) -> WebhookContent:
    if "consent" in body:
        key = f"person:{body['person']}"
        return [
            Consent(
                key=key, given=body["consent"], at=body["at"] and float(body["at"]), subject={"person": body["person"]}
            )
        ]
    if "person" in body:
        return [Pointer(key=f"?person:{body['person']}", reference={"person": body["person"]})]
    reference = {name: body[name] for name in ("sitting", "instance") if name in body}
    return [Pointer(key=f"a:{body['sitting']}", reference=reference, sitting=body.get("instance"))]


def recheck_of(api: Api) -> Any:
    def listed(client: Client, wanted: Callable[[str], bool]) -> list[Record]:
        names = [row.id for rows in api.streams.values() for row in rows if wanted(row.id)]
        return [record for name in names for record in client.sitting({"sitting": name})]

    def look(client: Client, reference: Mapping[str, str]) -> Sequence[Record | Pointer]:
        if "schedule" in reference:
            return [Pointer(key=f"a:{name}", reference={"sitting": name}) for name in reference["schedule"].split()]
        if "sitting" in reference:
            result = listed(client, lambda name: name == reference["sitting"])
            return [Record(item.kind, {**item.body, "instance": reference.get("instance")}) for item in result]
        return listed(client, lambda name: person_of(name) == reference["person"])

    return look


class World:
    """`vendor` may be changed before the first use of `services`."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.moment = START
        self.api = Api(clock=lambda: self.moment)
        self.rechecks = 0
        plain = make_vendor(self.api)

        def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
            person = person_of(record.body["id"])
            attempt = plain.normalise(record, now, options)
            return replace(
                attempt,
                aliases=(f"?person:{person}",),
                sitting=record.body.get("instance"),
                consent=(f"person:{person}",),
            )

        asks = recheck_of(self.api)

        def counted(client: Client, reference: Mapping[str, str]) -> Sequence[Record | Pointer]:
            self.rechecks += 1
            return asks(client, reference)  # type: ignore[no-any-return]

        self.use(replace(plain, split=split, normalise=normalise, recheck=counted))

    def use(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.services = make_services(self.client, vendor, lambda: self.moment)

    def webhook(self, **body: Any) -> ReceiveResult:
        raw = json.dumps(body).encode()
        request = WebhookRequest(id=f"r{self.moment}", body=raw, headers={}, kept_headers={}, received_at=self.moment)
        return receive(self.services.ingest_context(NAME), request)

    def expect(
        self, reference: Mapping[str, str], key: str, *, due: float = 0.0, deadline: float = DAY, label: str = "HR-7"
    ) -> None:
        """`due`, `deadline`: seconds from now."""
        self.services.expectations.expect(
            NAME,
            [Pointer(key=key, reference=reference)],
            label=label,
            due=self.moment + due,
            deadline=self.moment + deadline,
            now=self.moment,
        )

    def run(self, seconds: float) -> list[float]:
        """Recheck whenever something is due, for some time; the moments of the vendor's calls, seconds from now."""
        began, calls = self.moment, []
        while (watches := self.services.watches.list(NAME)) and watches[0].due <= began + seconds:
            self.moment = max(self.moment, watches[0].due)
            made = self.rechecks
            recheck(self.services, NAME)
            announce_overdue(self.services)
            calls += [self.moment - began] * (self.rechecks - made)
            self.moment += 0.001
        self.moment = began + seconds
        announce_overdue(self.services)
        return [round(moment, 1) for moment in calls]

    @property
    def watched(self) -> list[tuple[str, str]]:
        return [(watch.kind, watch.key) for watch in self.services.watches.list(NAME)]

    @property
    def labels(self) -> list[str | None]:
        events = journal_events(self.client)
        return [event["data"]["extensions"].get("expectation") for event in events if "attempt" in event["data"]]
