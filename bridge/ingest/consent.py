"""Whose results may be passed on: withdrawals that a vendor tells of, and the attempts that they govern."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import redis

from bridge.ingest.event_builder import WITHDRAWN
from bridge.journal.reading import Reader
from bridge.sdk.records import Consent, NormalisedAttempt
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from schemas.event import Assessment, Candidate, Group, Result

__all__ = ["Consents", "voided_attempt"]

#: Above every vendor's own order: what comes later about a withdrawn attempt is stale.
_LAST_ORDER = 2**40 - 1


class Consents:
    """Consent of all sources. Every method raises `StateUnavailable`."""

    def __init__(self, client: redis.Redis, reader: Reader, *, remember_seconds: float) -> None:
        self.client = client
        self._reader = reader
        self._record = scripts.register(client, __file__, "record_consent")
        self._remember = math.ceil(remember_seconds)

    def record(self, source: str, consent: Consent, *, now: float) -> int:
        """Keep what was said of a consent. Copies and older words change nothing.

        The number of the withdrawal that holds now, the same however often it is said; 0 while the consent holds.
        """
        # A word from the future would outlive every later one.
        at = now if consent.at is None else min(consent.at, now)
        args = [consent.key, "g" if consent.given else "w", repr(at)]
        with state_errors():
            return cast("int", self._record(keys=[keys.consent(source)], args=args))

    def forget_given(self, source: str, *, before: float) -> int:
        """Drop consent that was given before a moment; a withdrawal is never forgotten. How many."""
        dropped = 0
        with state_errors():
            for key, value in self.client.hscan_iter(keys.consent(source), count=500):
                what, at, _ = value.split(b"|")
                if what == b"g" and float(at) < before:
                    dropped += self.client.hdel(keys.consent(source), key)
        return dropped

    def withdrawn(self, source: str, found: Iterable[tuple[str, ...]]) -> set[str]:
        """Those of the keys, some for each attempt, whose consent was withdrawn."""
        asked = list({key for governing in found for key in governing})
        if not asked:
            return set()
        with state_errors():
            values = cast("list[bytes | None]", self.client.hmget(keys.consent(source), asked))
        return _withdrawn(asked, values)

    def govern(self, source: str, news: Sequence[NormalisedAttempt]) -> set[str]:
        """Keep which attempts a consent governs; those of their keys that are withdrawn, as `withdrawn` has them.

        Before the attempts are published: a later withdrawal then finds them all. One round trip, or none where the
        vendor tells of no consent.
        """
        governed = [(key, one) for one in news for key in one.consent]
        if not governed:
            return set()
        asked = list(dict(governed))
        with state_errors():
            pipe = self.client.pipeline(transaction=False)
            for key, one in governed:
                name = keys.consented(source, key)
                pipe.hset(name, one.attempt_id, _json(one.assessment))
                pipe.expire(name, self._remember)
            pipe.hmget(keys.consent(source), asked)
            values = cast("list[bytes | None]", pipe.execute()[-1])
        return _withdrawn(asked, values)

    def governed(self, source: str, key: str) -> dict[str, Assessment]:
        """The attempts under one consent, published or still open, with what was sat."""
        with state_errors():
            found = cast("dict[bytes, bytes]", self.client.hgetall(keys.consented(source, key)))
        return {attempt_id.decode(): _assessment(value) for attempt_id, value in found.items()}

    def published(self, source: str, attempts: Mapping[str, Assessment]) -> dict[str, Assessment]:
        """Those of the attempts that were published."""
        return {name: what for name, what in attempts.items() if self._reader.attempt(source, name) is not None}


def voided_attempt(attempt_id: str, assessment: Assessment) -> NormalisedAttempt:
    """What becomes of a published attempt whose consent is gone: no result, nobody's name."""
    return NormalisedAttempt(
        attempt_id=attempt_id,
        status="voided",
        candidate=Candidate(),
        assessment=assessment,
        result=Result(grading="not_scored"),
        flags=(WITHDRAWN,),
        order=_LAST_ORDER,
    )


def _withdrawn(asked: Sequence[str], values: Sequence[bytes | None]) -> set[str]:
    return {key for key, value in zip(asked, values, strict=True) if value and value.startswith(b"w")}


def _json(assessment: Assessment) -> str:
    group = assessment.group
    return json.dumps(
        {
            "id": assessment.id,
            "name": assessment.name,
            "group": None if group is None else {"kind": group.kind, "id": group.id, "name": group.name},
        }
    )


def _assessment(value: bytes) -> Assessment:
    facts = json.loads(value)
    group = facts["group"]
    return Assessment(id=facts["id"], name=facts["name"], group=None if group is None else Group(**group))
